//! A plan as parts of a word.

use super::{Parts, Word};
use crate::vocabulary::{Plan, Stage};
use alloc::string::String;

/// A plan is the last in its word: parts that a later version adds are left out by an older one.
impl Word for Plan {
    fn write(&self, word: &mut String) {
        let Self {
            workers,
            mode,
            readiness,
            probe,
            soak,
            probation,
            watchdog,
            max_generations,
            rolling,
            lanes,
            linger,
        } = self;
        workers.write(word);
        mode.write(word);
        readiness.write(word);
        [probe, soak, probation, watchdog]
            .into_iter()
            .for_each(|stage| stage.write(word));
        max_generations.write(word);
        // As it was written before there were these settings.
        if *rolling > 0 || *lanes > 0 {
            rolling.write(word);
        }
        if *lanes > 0 {
            lanes.write(word);
            match linger {
                Stage::Kept => linger.write(word),
                Stage::Skipped => {}
            }
        }
    }

    fn read(parts: &mut Parts<'_>) -> Option<Self> {
        Some(Self {
            workers: Word::read(parts)?,
            mode: Word::read(parts)?,
            readiness: Word::read(parts)?,
            probe: Word::read(parts)?,
            soak: Word::read(parts)?,
            probation: Word::read(parts)?,
            watchdog: Word::read(parts)?,
            max_generations: Word::read(parts)?,
            rolling: match parts.next() {
                Some(rolling) => rolling.parse().ok()?,
                None => 0,
            },
            lanes: match parts.next() {
                Some(lanes) => lanes.parse().ok()?,
                None => 0,
            },
            linger: match parts.clone().next() {
                Some(_) => Word::read(parts)?,
                None => Stage::Skipped,
            },
        })
    }
}

//! When a supervisor that did not answer is asked again, and for how long.

use std::time::{Duration, Instant};

/// The first pause: an own supervisor has only just started.
const FIRST: Duration = Duration::from_millis(200);

/// The pauses grow up to this one: another's supervisor may be away for hours, and each question is a process.
const LONGEST: Duration = Duration::from_secs(10);

/// What is known of the questions of one round.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// When nobody answered for the first time, and the last pause.
    asked: Option<(Instant, Duration)>,
}

impl Patience {
    /// Nobody has answered: when to ask again, unless that is later than `limit` after the first time. The next one is the first
    /// of another round then.
    pub(super) fn ask_again(&mut self, now: Instant, limit: Option<Duration>) -> Option<Instant> {
        let (first, pause) = self
            .asked
            .map_or((now, FIRST), |(first, pause)| (first, (pause * 2).min(LONGEST)));
        let again = now + pause;
        let is_late = limit.is_some_and(|limit| again > first + limit);
        self.asked = (!is_late).then_some((first, pause));
        (!is_late).then_some(again)
    }

    /// The round is over.
    pub(super) fn end_round(&mut self) {
        self.asked = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses in milliseconds, if each question is answered by nobody at once.
    fn pauses(patience: &mut Patience, limit: Option<Duration>, most: usize) -> Vec<u128> {
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        while let Some(again) = patience.ask_again(now, limit) {
            pauses.push((again - now).as_millis());
            now = again;
            if pauses.len() == most {
                break;
            }
        }
        pauses
    }

    #[test]
    fn the_pauses_grow_and_have_an_end_if_there_is_a_limit() {
        let mut patience = Patience::default();
        let all = [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000];
        assert_eq!(pauses(&mut patience, None, 8), all);
        patience.end_round();
        let limit = Some(Duration::from_secs(60));
        for _ in 0..2 {
            let limited = pauses(&mut patience, limit, 100);
            assert_eq!(limited[..8], all);
            assert!(limited.iter().sum::<u128>() <= 60_000, "{limited:?}");
        }
    }
}

//! Events, timers and the rest as words: for the state that outlives a supervisor, and for the journal.
//!
//! A word has no blank in it. Its parts are joined by colons: the name of the variant, then its fields, as in `ready:4.0.2`
//! (generation 4, slot 0, the third start) or `due:drain:4.0.2`. One table for each enum gives both directions, so that they
//! cannot drift apart. A word that was written once is read for ever: variants may come, their names stay.

mod plan;

use crate::generation::{Leader, Life, Role, SlotState, Standing};
use crate::handoff::{Handoff, Progress};
use crate::stop::Phase;
use crate::token::Token;
use crate::vocabulary::{
    Cause, Effect, Ending, Event, Fact, LingerEnd, Mode, Number, Outcome, Readiness, Record, Signal, Stage,
    Ticket, Timer, Until, Wait, Worker,
};
use alloc::string::String;
use core::fmt;
use core::str::{FromStr, Split};

/// The parts of a word, one after the other.
pub(crate) type Parts<'a> = Split<'a, char>;

/// What can be written as parts of a word and read back.
pub(crate) trait Word: Sized {
    /// Adds its parts, each behind a colon unless it is the first of the word.
    fn write(&self, word: &mut String);
    /// Takes its parts; `None` if they mean nothing.
    fn read(parts: &mut Parts<'_>) -> Option<Self>;
}

/// Adds one part.
fn part(word: &mut String, text: &str) {
    if word
        .as_bytes()
        .last()
        .is_some_and(|last| !matches!(last, b'=' | b' ' | b','))
    {
        word.push(':');
    }
    word.push_str(text);
}

/// Adds a number to the part that was begun.
pub(crate) fn push_number(word: &mut String, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        if let (Some(digit), Ok(value)) = (digits.get_mut(first), u8::try_from(number % 10)) {
            *digit = b'0' + value;
        }
        number /= 10;
        if number == 0 {
            break;
        }
    }
    let digits = digits
        .get(first..)
        .and_then(|digits| core::str::from_utf8(digits).ok());
    word.push_str(digits.unwrap_or_default());
}

/// The whole word means something, and nothing is left of it.
pub(crate) fn read_whole<W: Word>(word: &str) -> Option<W> {
    let mut parts = word.split(':');
    let value = W::read(&mut parts)?;
    parts.next().is_none().then_some(value)
}

/// Numbers of all sizes are one part.
macro_rules! numbers {
    ($($type:ty),+) => {$(
        impl Word for $type {
            fn write(&self, word: &mut String) {
                part(word, "");
                push_number(word, u64::from(*self));
            }
            fn read(parts: &mut Parts<'_>) -> Option<Self> {
                parts.next()?.parse().ok()
            }
        }
    )+};
}

numbers!(u8, u16, u32, u64);

impl Word for Worker {
    fn write(&self, word: &mut String) {
        part(word, "");
        push_number(word, self.generation);
        word.push('.');
        push_number(word, self.slot.into());
        word.push('.');
        push_number(word, self.start.into());
    }

    fn read(parts: &mut Parts<'_>) -> Option<Self> {
        let mut numbers = parts.next()?.split('.');
        let worker = Self {
            generation: numbers.next()?.parse().ok()?,
            slot: numbers.next()?.parse().ok()?,
            start: numbers.next()?.parse().ok()?,
        };
        numbers.next().is_none().then_some(worker)
    }
}

impl Word for Record {
    fn write(&self, word: &mut String) {
        self.0.write(word);
    }

    fn read(parts: &mut Parts<'_>) -> Option<Self> {
        Number::read(parts).map(Self)
    }
}

impl Word for Ticket {
    fn write(&self, word: &mut String) {
        self.0.write(word);
    }

    fn read(parts: &mut Parts<'_>) -> Option<Self> {
        u64::read(parts).map(Self)
    }
}

/// The generation that was the incumbent, if one was. Only the last part of a word may be left out.
impl Word for Option<Number> {
    fn write(&self, word: &mut String) {
        if let Some(number) = self {
            number.write(word);
        }
    }

    fn read(parts: &mut Parts<'_>) -> Option<Self> {
        match parts.next() {
            Some(number) => number.parse().ok().map(Some),
            None => Some(None),
        }
    }
}

/// How far it has come, then whose it is: `starting:4`.
impl Word for Handoff {
    fn write(&self, word: &mut String) {
        match self {
            Handoff::Idle => part(word, "idle"),
            Handoff::Waiting => part(word, "waiting"),
            Handoff::Candidate(number, progress) => {
                progress.write(word);
                number.write(word);
            }
        }
    }

    fn read(parts: &mut Parts<'_>) -> Option<Self> {
        let mut ahead = parts.clone();
        match ahead.next()? {
            "idle" => parts.next().map(|_| Handoff::Idle),
            "waiting" => parts.next().map(|_| Handoff::Waiting),
            _ => {
                let progress = Progress::read(parts)?;
                Some(Handoff::Candidate(Number::read(parts)?, progress))
            }
        }
    }
}

/// One table for both directions.
macro_rules! words {
    ($($type:ident { $($name:literal $variant:ident $(($($field:ident),+))?;)+ })+) => {$(
        impl Word for $type {
            fn write(&self, word: &mut String) {
                match self {
                    $(Self::$variant $(($($field),+))? => {
                        part(word, $name);
                        $($($field.write(word);)+)?
                    })+
                }
            }

            fn read(parts: &mut Parts<'_>) -> Option<Self> {
                match parts.next()? {
                    $($name => Some(Self::$variant $(($({
                        // The field's type says what is read.
                        let $field = Word::read(parts)?;
                        $field
                    }),+))?),)+
                    _ => None,
                }
            }
        }
    )+};
}

words! {
    Until { "takeover" Takeover; "settled" Settled; "drained" Drained; }
    Mode { "overlap" Overlap; "queue" Queue; }
    Stage { "kept" Kept; "skipped" Skipped; }
    Readiness { "notify" Notify; "alive" Alive; "accepting" Accepting; "auto" Auto; }
    Role { "candidate" Candidate; "incumbent" Incumbent; "lingering" Lingering; "retired" Retired; "relief" Relief; }
    Standing { "untried" Untried; "proven" Proven; }
    Life { "starting" Starting; "serving" Serving; "draining" Draining; "killed" Killed; }
    Token { "unasked" Unasked; "asked" Asked; "placed" Placed; "accepted" Accepted; "excused" Excused; }
    Leader { "running" Running; "exited" Exited; }
    SlotState { "wanted" Wanted; "running" Running(start); "backing-off" BackingOff; "yielded" Yielded; }
    Phase { "running" Running; "stopping" Stopping(ending); "killing" Killing(ending); "finished" Finished; }
    Progress {
        "preparing" Preparing; "seeking" Seeking; "starting" Starting; "probing" Probing;
        "soaking" Soaking; "confirming" Confirming; "switching" Switching;
    }
    LingerEnd { "unused" Unused; "time" Time; "room" Room; }
    Ending { "stopped" Stopped; "never-served" NeverServed(cause); }
    Cause {
        "not-prepared" NotPrepared;
        "not-spawned" NotSpawned(worker);
        "exited" Exited(worker);
        "not-ready" NotReady(worker);
        "stuck" Stuck(worker);
        "probe" Probe;
        "unheld" Unheld(number);
        "deaf" Deaf(number);
        "not-switched" NotSwitched(number);
        "unaccepted" Unaccepted(number);
    }
    Timer {
        "start" Start(worker);
        "hint" Hint(worker);
        "alive" Alive(worker);
        "silent" Silent(worker);
        "watchdog" Watchdog(worker);
        "drain" Drain(worker);
        "kill" Kill(worker);
        "probe" Probe(number);
        "probe-again" ProbeAgain(number);
        "soak" Soak(number);
        "look" Look(number);
        "await" Await(number);
        "switch" Switch;
        "relieve" Relieve(lane);
        "linger" Linger(number);
        "count" Count(number);
        "probation" Probation(number);
        "back-off" BackOff(number, slot);
        "calm" Calm(number, slot);
        "stop" Stop;
    }
    Event {
        "reload" Reload(ticket, until);
        "prepared" Prepared(number, plan);
        "prepare-failed" PrepareFailed(number);
        "spawn-failed" SpawnFailed(worker);
        "executed" Executed(worker);
        "ready" Ready(worker);
        "accepts" Accepts(worker);
        "more-time" MoreTime(worker);
        "alive" Alive(worker);
        "stuck" Stuck(worker);
        "exited" Exited(worker);
        "gone" Gone(worker);
        "probe-passed" ProbePassed(number); "probe-failed" ProbeFailed(number);
        "confirmed" Confirmed(number);
        "unawaited" Unawaited(number);
        "unheld" Unheld(number);
        "deaf" Deaf(number);
        "switched" Switched(number);
        "not-switched" NotSwitched(number);
        "token-placed" TokenPlaced(number); "token-excused" TokenExcused(number); "token-accepted" TokenAccepted(number);
        "stranded" Stranded(lane); "relieved" Relieved(lane);
        "unused" Unused(number);
        "in-use" InUse(number);
        "room-wanted" RoomWanted;
        "due" Due(timer);
        "workers" Workers(count);
        "stop" Stop;
    }
    Signal { "stop" Stop; "stop-group" StopGroup; "abort" Abort; "kill" Kill; }
    Wait {
        "start" Start;
        "hint" Hint;
        "alive" Alive;
        "silent" Silent;
        "watchdog" Watchdog;
        "drain" Drain;
        "abort" Abort;
        "kill" Kill;
        "probe" Probe;
        "probe-again" ProbeAgain;
        "soak" Soak;
        "look" Look;
        "await" Await;
        "switch" Switch;
        "relieve" Relieve; "relieve-again" RelieveAgain; "relief" Relief;
        "linger" Linger;
        "count" Count;
        "probation" Probation;
        "back-off" BackOff(nth);
        "calm" Calm;
        "stop" Stop;
    }
    Outcome {
        "took-over" TookOver(number);
        "settled" Settled(number);
        "drained" Drained(number);
        "replaced" Replaced(old, new);
        "failed" Failed(number, cause);
        "rolled-back" RolledBack(failed, number, cause);
        "no-way-back" NoWayBack(number, cause);
        "stopping" Stopping;
    }
    Fact {
        "handoff-began" HandoffBegan(number);
        "waiting-for-room" WaitingForRoom;
        "reload-over" ReloadOver;
        "still-waiting" StillWaiting(worker);
        "worker-ready" WorkerReady(worker);
        "took-over" TookOver(number, old);
        "settled" Settled(number);
        "stepped" Stepped(number, count);
        "candidate-failed" CandidateFailed(number, cause);
        "rolled-back" RolledBack(failed, number, cause);
        "switched-back" SwitchedBack(failed, number, cause);
        "linger-over" LingerOver(number, why);
        "no-way-back" NoWayBack(number, cause);
        "deaf" Deaf(number);
        "relief" Relief(number, lane);
        "relief-failed" ReliefFailed(number, cause);
        "not-switched" NotSwitched(number); "unaccepted" Unaccepted(number);
        "crashed" Crashed(worker, cause);
        "restarted" Restarted(worker);
        "overran" Overran(worker);
        "unkillable" Unkillable(worker);
        "ended" Ended(number);
        "stopping" Stopping;
    }
    Effect {
        "prepare" Prepare(number);
        "spawn" Spawn(worker, record);
        "signal" Signal(worker, signal);
        "arm" Arm(timer, wait);
        "disarm" Disarm(timer);
        "extend" Extend(timer, worker);
        "probe" Probe(number);
        "end-probe" EndProbe(number);
        "confirm" Confirm(number);
        "confirm-anyway" ConfirmAnyway(number);
        "note-ready" NoteReady(worker);
        "take-over" TakeOver(number);
        "take-back" TakeBack(number);
        "roll-back" RollBack(number, record);
        "abandon" Abandon(worker);
        "bury" Bury(number);
        "switch" Switch(number); "place-token" PlaceToken(number);
        "count" Count(number);
        "answer" Answer(ticket, outcome);
        "tell" Tell(fact);
        "forget" Forget(record);
        "finish" Finish(ending);
    }
}

/// What is not a word of the kind that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchWord;

impl fmt::Display for NoSuchWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such word")
    }
}

impl core::error::Error for NoSuchWord {}

/// `Display` and `FromStr` for those of which others speak.
macro_rules! as_text {
    ($($type:ident),+) => {$(
        impl fmt::Display for $type {
            /// One word without a blank.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut word = String::new();
                self.write(&mut word);
                f.write_str(&word)
            }
        }

        impl FromStr for $type {
            type Err = NoSuchWord;

            /// Reads what `Display` writes.
            fn from_str(word: &str) -> Result<Self, NoSuchWord> {
                read_whole(word).ok_or(NoSuchWord)
            }
        }
    )+};
}

as_text!(Worker, Timer, Until, Event, Effect);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Plan;

    const WORKER: Worker = Worker {
        generation: u64::MAX,
        slot: 65_535,
        start: 7,
    };

    const PLAN: Plan = Plan {
        workers: 3,
        mode: Mode::Queue,
        readiness: Readiness::Alive,
        probe: Stage::Kept,
        soak: Stage::Skipped,
        probation: Stage::Kept,
        watchdog: Stage::Skipped,
        max_generations: 8,
        rolling: 0,
        lanes: 0,
        linger: Stage::Skipped,
    };

    #[test]
    fn words_are_short_and_come_back() {
        for (event, word) in [
            (Event::Reload(Ticket(17), Until::Settled), "reload:17:settled"),
            (
                Event::Prepared(4, PLAN),
                "prepared:4:3:queue:alive:kept:skipped:kept:skipped:8",
            ),
            (
                Event::Prepared(4, Plan { rolling: 2, ..PLAN }),
                "prepared:4:3:queue:alive:kept:skipped:kept:skipped:8:2",
            ),
            (
                Event::Prepared(4, Plan { lanes: 4, ..PLAN }),
                "prepared:4:3:queue:alive:kept:skipped:kept:skipped:8:0:4",
            ),
            (
                Event::Prepared(
                    4,
                    Plan {
                        lanes: 4,
                        linger: Stage::Kept,
                        ..PLAN
                    },
                ),
                "prepared:4:3:queue:alive:kept:skipped:kept:skipped:8:0:4:kept",
            ),
            (Event::Ready(WORKER), "ready:18446744073709551615.65535.7"),
            (Event::Due(Timer::BackOff(0, 10)), "due:back-off:0:10"),
            (Event::Workers(3), "workers:3"),
            (Event::Stop, "stop"),
        ] {
            assert_eq!(event.to_string(), word);
            assert_eq!(word.parse(), Ok(event));
        }
        let rolled_back = Outcome::RolledBack(4, 5, Cause::Exited(WORKER));
        for (effect, word) in [
            (
                Effect::Answer(Ticket(0), rolled_back),
                "answer:0:rolled-back:4:5:exited:18446744073709551615.65535.7",
            ),
            (Effect::Tell(Fact::TookOver(2, Some(1))), "tell:took-over:2:1"),
            (Effect::Tell(Fact::TookOver(2, None)), "tell:took-over:2"),
            (
                Effect::Finish(Ending::NeverServed(Cause::Probe)),
                "finish:never-served:probe",
            ),
            (
                Effect::Arm(Timer::Probation(3), Wait::BackOff(255)),
                "arm:probation:3:back-off:255",
            ),
        ] {
            assert_eq!(effect.to_string(), word);
            assert_eq!(word.parse(), Ok(effect));
        }
    }

    #[test]
    fn garbage_means_nothing() {
        for word in [
            "",
            ":",
            "ready",
            "ready:",
            "ready:1.2",
            "ready:1.2.3.4",
            "ready:1.2.3:4",
            "ready:1.70000.3",
            "ready:-1.0.0",
            "Ready:1.0.0",
            "due:drain",
            "due:nothing:1",
            "stop:",
            "workers:65536",
            "reload:1:never",
        ] {
            assert_eq!(word.parse::<Event>(), Err(NoSuchWord), "{word}");
        }
    }
}

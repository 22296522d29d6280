//! How long each wait of the core is, and the pauses between looks.

use std::time::Duration;

use segue_lifecycle::{Number, Timer, Wait};

use crate::clock::{self, Timers};
use crate::config::{Config, Ready};
use crate::shell::Alarm;

/// The time without readiness after which people are told how to help it.
pub(crate) const HINT: Duration = Duration::from_secs(5);

/// The time that a stuck worker has to write its core dump after SIGABRT before it is killed.
const ABORT_GRACE: Duration = Duration::from_secs(5);

/// The time after SIGKILL in which the kernel ends any process that does not hang in a driver or on dead storage.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// The pause between two runs of the probe command: short enough not to delay a takeover noticeably, long
/// enough that a hundred runs in ten seconds are the most.
const PROBE_PAUSE: Duration = Duration::from_millis(100);

/// The pause between two looks at a candidate on whose listeners nobody waits yet: little beside the time that an app needs
/// to come to its loop, and some hundred looks at most.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// The time in which somebody should be seen waiting on the listeners of a candidate that is ready: an app that says READY=1
/// before its workers are up (Gunicorn does) has it for their start. After that it takes over, with a note.
const AWAIT: Duration = Duration::from_secs(2);

/// How long a client waits in a slot to which new clients do not go before a relief worker is started: the owner of the slot may be about
/// to accept.
const RELIEVE: Duration = Duration::from_millis(250);

/// The pause before the kernel is asked again to send clients to the incumbent, after it has refused (for lack of memory, say).
const SWITCH_AGAIN: Duration = Duration::from_secs(1);

/// The pause before another one is started, after one that failed or while nobody serves.
const RELIEVE_AGAIN: Duration = Duration::from_secs(2);

/// The time that a relief worker has to accept those who wait in its slot, beside `--start-timeout`. New clients do not come
/// there, so that one at work is done much sooner; one that is not is of no help.
const RELIEF: Duration = Duration::from_secs(30);

/// The first pause before the connections of a generation that lingers are looked for, and the longest: each pause is half as long as
/// it has lingered by then. A handshake that was half done at the switch is over within the first; the longest is what a generation
/// without connections is kept at most, at the price of one look at its processes.
const FIRST_COUNT: Duration = Duration::from_secs(1);
const LONGEST_COUNT: Duration = Duration::from_secs(5);

/// The first back-off; each further one is twice as long.
const FIRST_BACK_OFF: Duration = Duration::from_millis(250);

/// The longest back-off: a broken app is tried twice a minute, so that it is back soon after it is mended.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// The time without a crash after which earlier ones are forgiven.
const CALM: Duration = Duration::from_secs(60);

/// The first pause before something is looked at again that does not tell us when it changes, and the longest; each
/// pause is twice the one before. So it is with members of a process group that are not our children, and with the
/// manager's queue.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The growing pause between looks at something.
#[derive(Debug)]
pub(crate) struct Pauses {
    pause: Option<Duration>,
}

impl Pauses {
    pub(crate) const fn new() -> Self {
        Self { pause: None }
    }

    pub(crate) fn grow(&mut self) -> Duration {
        let pause = self
            .pause
            .map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        self.pause = Some(pause);
        pause
    }
}

/// The settings by which a timer runs: those of the generation that it is about, or of the newest one.
pub(crate) fn of_timer(timer: Timer, newest: Option<Number>) -> Option<Number> {
    match timer {
        Timer::Start(worker)
        | Timer::Hint(worker)
        | Timer::Alive(worker)
        | Timer::Silent(worker)
        | Timer::Watchdog(worker)
        | Timer::Drain(worker)
        | Timer::Kill(worker) => Some(worker.generation),
        Timer::Probe(number)
        | Timer::ProbeAgain(number)
        | Timer::Soak(number)
        | Timer::Look(number)
        | Timer::Await(number)
        | Timer::Linger(number)
        | Timer::Count(number)
        | Timer::Probation(number)
        | Timer::BackOff(number, _)
        | Timer::Calm(number, _) => Some(number),
        Timer::Switch | Timer::Relieve(_) => None,
        Timer::Stop => newest,
    }
}

/// The wait for which a timer runs if nothing else is known about it.
pub(crate) const fn of(timer: Timer) -> Wait {
    match timer {
        Timer::Start(_) => Wait::Start,
        Timer::Hint(_) => Wait::Hint,
        Timer::Alive(_) => Wait::Alive,
        Timer::Silent(_) => Wait::Silent,
        Timer::Watchdog(_) => Wait::Watchdog,
        Timer::Drain(_) => Wait::Drain,
        Timer::Kill(_) => Wait::Kill,
        Timer::Probe(_) => Wait::Probe,
        Timer::ProbeAgain(_) => Wait::ProbeAgain,
        Timer::Soak(_) => Wait::Soak,
        Timer::Look(_) => Wait::Look,
        Timer::Await(_) => Wait::Await,
        Timer::Switch => Wait::Switch,
        Timer::Relieve(_) => Wait::Relieve,
        Timer::Linger(_) => Wait::Linger,
        Timer::Count(_) => Wait::Count,
        Timer::Probation(_) => Wait::Probation,
        Timer::BackOff(..) => Wait::BackOff(1),
        Timer::Calm(..) => Wait::Calm,
        Timer::Stop => Wait::Stop,
    }
}

/// How long a timer is to run from now on. The looks at a generation that lingers become rare.
pub(crate) fn from_now(
    timer: Timer,
    wait: Wait,
    config: &Config,
    timers: &Timers<Alarm>,
) -> Option<Duration> {
    let Timer::Count(number) = timer else {
        return length(wait, config);
    };
    let since = timers.since(Alarm::Core(Timer::Linger(number)));
    let lingered = since.map(|since| clock::now().saturating_duration_since(since));
    Some(count_pause(lingered.unwrap_or_default()))
}

/// How long a wait of the core is by these settings; `None` is without end.
fn length(wait: Wait, config: &Config) -> Option<Duration> {
    match wait {
        Wait::Start => config.start_timeout,
        Wait::Hint => Some(HINT),
        Wait::Alive => match config.ready {
            Ready::Exec(duration) => Some(duration),
            Ready::Notify | Ready::Accepting | Ready::Auto => Some(Duration::ZERO),
        },
        Wait::Silent => Some(config.ready_after),
        Wait::Watchdog => config.watchdog,
        Wait::Drain => config.drain_timeout,
        Wait::Abort => Some(ABORT_GRACE),
        Wait::Kill => Some(KILL_GRACE),
        Wait::Probe => config.probe_timeout,
        Wait::ProbeAgain => Some(PROBE_PAUSE),
        Wait::Soak => Some(config.soak),
        Wait::Look => Some(LOOK_PAUSE),
        Wait::Await => Some(AWAIT),
        Wait::Switch => Some(SWITCH_AGAIN),
        Wait::Relieve => Some(RELIEVE),
        Wait::RelieveAgain => Some(RELIEVE_AGAIN),
        Wait::Relief => config.start_timeout.map(|start| start.saturating_add(RELIEF)),
        Wait::Linger => Some(config.linger),
        Wait::Count => Some(count_pause(Duration::ZERO)),
        Wait::Probation => config.probation,
        Wait::BackOff(nth) => Some(back_off(nth)),
        Wait::Calm => Some(CALM),
        Wait::Stop => config.stop_timeout,
    }
}

/// The pause before the next look at the connections of a generation that has lingered so long.
fn count_pause(lingered: Duration) -> Duration {
    (lingered / 2).clamp(FIRST_COUNT, LONGEST_COUNT)
}

fn back_off(nth: u8) -> Duration {
    let doublings = u32::from(nth.saturating_sub(1)).min(16);
    FIRST_BACK_OFF
        .saturating_mul(1 << doublings)
        .min(LONGEST_BACK_OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_its_cap() {
        let millis: Vec<_> = [1, 2, 3, 7, 8, 9, 255]
            .map(|nth| back_off(nth).as_millis())
            .into();
        assert_eq!(millis, [250, 500, 1_000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn looks_at_connections_become_rare() {
        let mut lingered = Duration::ZERO;
        let looks: Vec<_> = (0..8)
            .map(|_| {
                lingered += count_pause(lingered);
                lingered.as_millis()
            })
            .collect();
        assert_eq!(looks, [1_000, 2_000, 3_000, 4_500, 6_750, 10_125, 15_125, 20_125]);
    }

    #[test]
    fn pauses_for_lingering_groups_grow_to_a_second() {
        let mut linger = Pauses::new();
        let pauses: Vec<_> = (0..9).map(|_| linger.grow().as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
    }
}

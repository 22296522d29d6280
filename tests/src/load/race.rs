//! Single requests aimed at the instant at which the old app is told to drain.
//!
//! The instant is not known beforehand, so each round starts the handoff in another thread and fires its requests spread
//! over a window around the expected instant; [`Aim`] learns from round to round how long after the start the instant
//! comes. A trial counts as *near* if it was sent within [`NEAR`] of the instant: only those are reported as trials.

use std::time::{Duration, Instant};

use crate::http::{self, Client, Target};
use crate::ledger::{Entry, Ledger};

/// Half the width of the window in which a request races the drain.
pub const NEAR: Duration = Duration::from_millis(5);

/// Which race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Race {
    /// The second request on an idle keep-alive connection.
    Idle,
    /// Connect and send.
    Fresh,
}

/// The expected delay from the start of a handoff to the stop signal, learnt from the rounds before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aim {
    delay: Option<Duration>,
}

/// What one round brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Requests sent within [`NEAR`] of the stop signal.
    pub near: usize,
    /// Requests sent.
    pub fired: usize,
}

/// A connection that waits for its shot. Fresh ones have no client yet.
struct Shot {
    at: Duration,
    client: Option<Client>,
}

/// A shot that was fired.
struct Flying {
    entry: Entry,
    client: Client,
    sent: Instant,
}

impl Aim {
    /// Runs one round: prepares `count` connections, calls `handoff` in another thread, fires. `handoff` must return the
    /// instant at which the old app was told to drain (or said that it drains).
    ///
    /// # Panics
    /// When `handoff` panics.
    pub fn round<F>(
        &mut self,
        race: Race,
        target: &Target,
        ledger: &Ledger,
        count: usize,
        handoff: F,
    ) -> Round
    where
        F: FnOnce() -> Instant + Send,
    {
        let mut random = fastrand::Rng::new();
        // Before the first round nothing is known: spread widely.
        let (from, width) = match self.delay {
            Some(delay) => (delay.saturating_sub(NEAR), NEAR * 2),
            None => (Duration::ZERO, Duration::from_millis(60)),
        };
        let mut offsets: Vec<Duration> = (0..count).map(|_| from + width.mul_f64(random.f64())).collect();
        offsets.sort_unstable();
        let shots: Vec<Shot> = offsets
            .into_iter()
            .filter_map(|at| prepare(race, target, ledger, at))
            .collect();
        std::thread::scope(|scope| {
            let start = Instant::now();
            let handoff = scope.spawn(handoff);
            let flying: Vec<Flying> = shots
                .into_iter()
                .filter_map(|shot| fire(shot, start, target, ledger))
                .collect();
            let sent: Vec<Instant> = flying.iter().map(|shot| shot.sent).collect();
            for mut shot in flying {
                match shot.client.response() {
                    Ok(response) => shot.entry.judge(super::http1::is_ping(&response)),
                    Err(loss) => shot.entry.lost(loss),
                }
            }
            let instant = handoff
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            self.learn(instant.saturating_duration_since(start));
            let near = sent
                .iter()
                .filter(|sent| sent.max(&&instant).duration_since(**sent.min(&&instant)) <= NEAR)
                .count();
            Round {
                near,
                fired: sent.len(),
            }
        })
    }

    fn learn(&mut self, delay: Duration) {
        self.delay = Some(self.delay.map_or(delay, |before| (before * 3 + delay) / 4));
    }
}

fn prepare(race: Race, target: &Target, ledger: &Ledger, at: Duration) -> Option<Shot> {
    match race {
        Race::Fresh => Some(Shot { at, client: None }),
        Race::Idle => {
            let entry = ledger.send("first request of the idle race");
            match target
                .connect()
                .and_then(|mut client| Ok((client.ask(&http::get("/ping"))?, client)))
            {
                Ok((response, client)) => {
                    entry.judge(super::http1::is_ping(&response));
                    // An answer that announces the end leaves no idle connection to race on.
                    (!response.close).then_some(Shot {
                        at,
                        client: Some(client),
                    })
                }
                Err(loss) => {
                    entry.lost(loss);
                    None
                }
            }
        }
    }
}

fn fire(shot: Shot, start: Instant, target: &Target, ledger: &Ledger) -> Option<Flying> {
    wait_for(start + shot.at);
    let idle = shot.client.is_some();
    if let Some(mut client) = shot.client {
        // What was closed before the request was written has lost nothing: any client looks first.
        if client.is_closed() {
            ledger.closed_idle();
            return None;
        }
        return send(client, ledger, idle);
    }
    match target.connect() {
        Ok(client) => send(client, ledger, idle),
        Err(loss) => {
            ledger.send("fresh race: connect").lost(loss);
            None
        }
    }
}

fn send(mut client: Client, ledger: &Ledger, idle: bool) -> Option<Flying> {
    let entry = ledger.send(if idle { "idle race" } else { "fresh race" });
    let request = if idle {
        http::get("/ping")
    } else {
        http::get_and_close("/ping")
    };
    // A failed write shows in the answer that does not come.
    let _ = client.write(&request);
    Some(Flying {
        entry,
        client,
        sent: Instant::now(),
    })
}

/// Sleeps most of the way and spins the rest: a window of a few milliseconds needs better than a timer's slack.
fn wait_for(instant: Instant) {
    let left = instant.saturating_duration_since(Instant::now());
    if left > Duration::from_millis(1) {
        std::thread::sleep(left - Duration::from_millis(1));
    }
    while Instant::now() < instant {
        std::hint::spin_loop();
    }
}

//! Generators of load. Each accounts for every request in a [`Ledger`]; none retries behind the account's back.
//!
//! [`Load`] runs a [`Kind`] in threads until it is stopped, finishing what it has begun. [`parked`] holds requests half
//! sent across a takeover; [`race`] aims single requests at the instant of the drain; [`knocks`] finds out whether a path is there.

mod http1;
mod http2;
pub mod knocks;
pub mod parked;
pub mod race;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::http::Target;
use crate::ledger::{Ledger, Tally};

/// What a load sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `GET /ping`, a new connection for each.
    Fresh,
    /// `GET /ping` on kept connections, with short idle times in between.
    KeepAlive,
    /// `GET /ping` twice on a kept connection, and then nothing until the server closes it: as clients do whose pauses are longer
    /// than the server keeps an idle connection.
    Pausing,
    /// Batches of 2 to 8 requests in one write.
    Pipelined,
    /// `POST /echo` with up to 64 KiB, cut at a random place by a pause.
    Post,
    /// `GET /slow?ms=` of 1 to 50.
    Slow,
    /// `GET /bytes?n=` of up to 300,000 bytes, read slowly.
    Streamed,
    /// HTTP/2 without TLS: 16 streams at a time on each connection, `GET /ping` and `POST /echo`.
    Http2,
}

impl Kind {
    /// Every kind but [`Kind::Pausing`], which wants a server that closes idle connections.
    pub const ALL: [Self; 7] = [
        Self::Fresh,
        Self::KeepAlive,
        Self::Pipelined,
        Self::Post,
        Self::Slow,
        Self::Streamed,
        Self::Http2,
    ];

    /// Every kind that speaks HTTP/1.1: what the fixtures serve.
    pub const HTTP1: [Self; 6] = [
        Self::Fresh,
        Self::KeepAlive,
        Self::Pipelined,
        Self::Post,
        Self::Slow,
        Self::Streamed,
    ];
}

/// The pause of a generator between two requests of one connection, so that a test measures loss and not the machine.
const PACE: Duration = Duration::from_millis(4);

/// What bodies consist of, longer than any of them.
static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| random.alphanumeric() as u8)
        .take(256 * 1024)
        .collect()
});

/// A load that runs.
pub struct Load {
    ledger: Ledger,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `connections` threads of one kind and waits until every one can have been answered at least once.
    ///
    /// # Panics
    /// When no answer comes at all.
    #[must_use]
    #[track_caller]
    pub fn start(kind: Kind, target: &Target, connections: usize) -> Self {
        let load = Self::start_unchecked(kind, target, connections);
        let enough = connections as u64;
        load.ledger
            .wait_until("first answers", |tally| tally.answered >= enough);
        load
    }

    /// Starts without waiting for an answer: for loads that begin before the server.
    #[must_use]
    pub fn start_unchecked(kind: Kind, target: &Target, connections: usize) -> Self {
        let ledger = Ledger::default();
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..connections)
            .map(|number| {
                let (ledger, stop, target) = (ledger.clone(), Arc::clone(&stop), target.clone());
                std::thread::spawn(move || {
                    let mut worker = Worker {
                        ledger,
                        stop,
                        target,
                        random: fastrand::Rng::with_seed(number as u64),
                    };
                    match kind {
                        Kind::Fresh => http1::fresh(&mut worker),
                        Kind::KeepAlive => http1::keep_alive(&mut worker),
                        Kind::Pausing => http1::pausing(&mut worker),
                        Kind::Pipelined => http1::pipelined(&mut worker),
                        Kind::Post => http1::post(&mut worker),
                        Kind::Slow => http1::slow(&mut worker),
                        Kind::Streamed => http1::streamed(&mut worker),
                        Kind::Http2 => http2::run(&mut worker),
                    }
                })
            })
            .collect();
        Self {
            ledger,
            stop,
            threads,
        }
    }

    /// The account, for waiting on.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Waits until `count` more requests have been answered.
    ///
    /// # Panics
    /// When they are not.
    #[track_caller]
    pub fn wait_for_more(&self, count: u64) {
        let goal = self.ledger.tally().answered + count;
        self.ledger
            .wait_until("more answers", |tally| tally.answered >= goal);
    }

    /// Waits until a request has been lost: for negative controls.
    ///
    /// # Panics
    /// When none is.
    #[track_caller]
    pub fn wait_for_loss(&self) {
        self.ledger.wait_until("a loss", |tally| !tally.lost.is_empty());
    }

    /// Waits until that generation has answered.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn wait_for_generation(&self, generation: u64) {
        let key = generation.to_string();
        self.ledger
            .wait_until(&format!("generation {generation}"), |tally| {
                tally.by_generation.contains_key(&key)
            });
    }

    /// Ends the load: no new requests, those begun are finished. Returns the account.
    ///
    /// # Panics
    /// When a generator panicked.
    #[must_use]
    #[track_caller]
    pub fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok(), "a load generator panicked");
        }
        self.ledger.tally()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// What one generator thread holds.
struct Worker {
    ledger: Ledger,
    stop: Arc<AtomicBool>,
    target: Target,
    random: fastrand::Rng,
}

impl Worker {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    /// The pause between requests; while nobody serves (negative controls) it keeps a refused generator from spinning.
    fn pause(&mut self) {
        std::thread::sleep(PACE.mul_f64(self.random.f64() * 2.0));
    }

    /// A part of [`TEXT`] that begins anywhere: letters made one by one would cost more than everything else that a load
    /// does.
    fn body(&mut self, most: usize) -> Vec<u8> {
        let length = self.random.usize(..=most);
        let start = self.random.usize(..=TEXT.len() - length);
        TEXT[start..start + length].to_vec()
    }
}

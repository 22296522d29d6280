//! How soon a reload has taken over, and how briefly two versions answer.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use segue_tests::binaries::Binary;
use segue_tests::http::{Target, get_and_close};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

use crate::bare::Bare;
use crate::stats::{median, ms, ratio};
use crate::{Extent, Row};

/// New connections a second while a handoff is watched.
pub(crate) const RATE: u32 = 2000;

/// The threads that make them.
const THREADS: u32 = 4;

pub(crate) fn rows(extent: Extent) -> Vec<Row> {
    vec![command(extent), first_answer(extent), mixed(extent)]
}

fn supervised() -> Segue {
    Setup::new(Program::app()).flags(["--probation", "0s"]).start()
}

/// `segue reload`, from the start of the command to its end, beyond spawn, exec and READY of the same app.
fn command(extent: Extent) -> Row {
    let mut bare = Bare::start();
    let floor: Vec<_> = (0..extent.reloads).map(|_| bare.handoff()).collect();
    drop(bare);
    let segue = supervised();
    let reloads: Vec<_> = (0..extent.reloads).map(|_| timed(&segue, "reload")).collect();
    segue.stop();
    let (reload, floor) = (median(&reloads), median(&floor));
    Row {
        what: "reload command beyond spawn, exec, READY=1 (median)".to_owned(),
        measured: ms(reload.saturating_sub(floor)),
        beside: format!("command {}, floor {}", ms(reload), ms(floor)),
        goal: "under 2 ms",
    }
}

/// `segue WORD`, from the start of the command to its end.
pub(crate) fn timed(segue: &Segue, word: &str) -> Duration {
    let mut command = Command::new(Binary::Segue.path());
    command
        .args([word, "--control"])
        .arg(segue.control())
        .stdout(Stdio::null());
    let start = Instant::now();
    assert!(command.status().unwrap().success(), "segue {word} failed");
    start.elapsed()
}

/// From SIGHUP to the first answer of the new version, beside the barest loop.
fn first_answer(extent: Extent) -> Row {
    let mut bare = Bare::start();
    let floor: Vec<_> = (0..extent.handoffs)
        .map(|_| {
            let next = bare.generation() + 1;
            let watch = Watch::start(bare.address());
            let begin = Instant::now();
            bare.handoff();
            watch.first_of(next, begin)
        })
        .collect();
    drop(bare);
    let segue = supervised();
    let ours: Vec<_> = (0..extent.handoffs)
        .map(|_| {
            let next = segue.status().generation() + 1;
            let watch = Watch::start(address(&segue));
            let begin = Instant::now();
            segue.signal(Signal::SIGHUP);
            watch.first_of(next, begin)
        })
        .collect();
    segue.stop();
    Row {
        what: format!("SIGHUP to first new answer at {RATE} a second (median)"),
        measured: format!(
            "{}, {} times",
            ms(median(&ours)),
            ratio(median(&ours), median(&floor))
        ),
        beside: format!("barest loop {}", ms(median(&floor))),
        goal: "under 1.5 times",
    }
}

/// The last answer of the old version on a new connection, after the first of the new one.
fn mixed(extent: Extent) -> Row {
    let segue = supervised();
    let overlaps: Vec<_> = (0..extent.handoffs)
        .map(|_| {
            let old = segue.status().generation();
            let watch = Watch::start(address(&segue));
            segue.signal(Signal::SIGHUP);
            watch.handoff(old, Instant::now()).overlap
        })
        .collect();
    segue.stop();
    Row {
        what: "last old answer after the first new one, `--soak 0` (median, worst)".to_owned(),
        measured: format!(
            "{}, {}",
            ms(median(&overlaps)),
            ms(overlaps.iter().max().copied().unwrap_or_default())
        ),
        beside: "-".to_owned(),
        goal: "under 2 ms",
    }
}

pub(crate) fn address(segue: &Segue) -> SocketAddr {
    match segue.target() {
        Target::Tcp(address) => address,
        Target::Unix(_) | Target::Abstract(_) => unreachable!("the bench listens on TCP"),
    }
}

/// An answer: when it had come, and from which generation.
type Answer = (Instant, u64);

/// New connections at a fixed rate, each with one request.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Answer>>>,
    newest: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

/// What a handoff looked like from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handoff {
    /// From its beginning to the first answer of the new version.
    pub(crate) first: Duration,
    /// From that to the last answer of the old one.
    pub(crate) overlap: Duration,
    /// How many connections were made.
    pub(crate) asked: u64,
    /// How many of them had no answer.
    pub(crate) lost: u64,
}

impl Watch {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (newest, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let threads = (0..THREADS)
            .map(|_| {
                let (stop, newest, lost) = (Arc::clone(&stop), Arc::clone(&newest), Arc::clone(&lost));
                std::thread::spawn(move || ask(address, &stop, &newest, &lost))
            })
            .collect();
        let watch = Self {
            stop,
            threads,
            newest,
            lost,
        };
        watch.wait_for(1);
        watch
    }

    /// Wait until this generation (or a later one) has answered.
    fn wait_for(&self, generation: u64) {
        let deadline = Instant::now() + segue_tests::patience();
        while self.newest.load(Ordering::SeqCst) < generation {
            assert!(
                Instant::now() < deadline,
                "generation {generation} never answered"
            );
            std::thread::yield_now();
        }
    }

    fn answers(self) -> Vec<Answer> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a load thread"))
            .collect()
    }

    fn first_of(self, generation: u64, begin: Instant) -> Duration {
        self.wait_for(generation);
        let answers = self.answers();
        let first = answers
            .iter()
            .filter(|(_, from)| *from == generation)
            .map(|(at, _)| *at)
            .min();
        first.expect("it answered").saturating_duration_since(begin)
    }

    /// The handoff from this generation to the next one, which began then.
    pub(crate) fn handoff(self, old: u64, begin: Instant) -> Handoff {
        // As many answers again as a tenth of a second brings: the old one would have been heard among them.
        self.handoff_until(old, begin, Duration::from_millis(100))
    }

    /// The same, where the old generation may be heard for so long.
    pub(crate) fn handoff_until(self, old: u64, begin: Instant, rest: Duration) -> Handoff {
        let new = old + 1;
        self.wait_for(new);
        std::thread::sleep(rest);
        let lost = Arc::clone(&self.lost);
        let answers = self.answers();
        let of = |generation| {
            answers
                .iter()
                .filter(move |(_, from)| *from == generation)
                .map(|(at, _)| *at)
        };
        let first = of(new).min().expect("the new one answered");
        let overlap = of(old)
            .max()
            .map_or(Duration::ZERO, |last| last.saturating_duration_since(first));
        let lost = lost.load(Ordering::SeqCst);
        Handoff {
            first: first.saturating_duration_since(begin),
            overlap,
            asked: answers.len() as u64 + lost,
            lost,
        }
    }
}

fn ask(address: SocketAddr, stop: &AtomicBool, newest: &AtomicU64, lost: &AtomicU64) -> Vec<Answer> {
    let target = Target::Tcp(address);
    let pause = Duration::from_secs(1) / RATE * THREADS;
    let mut next = Instant::now();
    let mut answers = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let answer = target
            .connect()
            .and_then(|mut client| client.ask(&get_and_close("/ping")));
        let generation = answer
            .ok()
            .and_then(|one| one.header("x-segue-generation").parse().ok());
        if let Some(generation) = generation {
            answers.push((Instant::now(), generation));
            newest.fetch_max(generation, Ordering::SeqCst);
        } else {
            lost.fetch_add(1, Ordering::SeqCst);
        }
        next += pause;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    answers
}

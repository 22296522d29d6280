//! What many of everything cost: each figure with as many as Segue is made for, beside the same with a quarter of them.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use segue_tests::crowd::{self, Crowd};
use segue_tests::proc::Footprint;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

use crate::bare::Bare;
use crate::stats::{median, ms, ratio};
use crate::takeover::timed;
use crate::{Extent, Row};

/// How often each duration is measured; the median counts.
const TIMES: usize = 5;

/// How many more are compared.
const FEWER: usize = 4;

/// A cost for each one, and as much again as chance has its part in.
const GROWTH: &str = "4.3 times";

const LISTENERS: usize = 1_000;

const WORKERS: usize = 256;

/// Starts a supervisor that has so many of something.
type Make = fn(usize) -> Many;

pub(crate) fn rows(_: Extent) -> Vec<Row> {
    let kinds: [(&str, usize, Make); 4] = [
        ("listeners", LISTENERS, listeners),
        ("workers", WORKERS, workers),
        ("draining connections", 10_000, draining),
        ("retired generations", 50, retired),
    ];
    let grown = kinds
        .into_iter()
        .flat_map(|(what, count, make)| compare(what, count, make));
    let beside = [
        beside_the_barest("listeners", LISTENERS, 1, "1.5 times"),
        beside_the_barest("workers", 1, WORKERS, "1.3 times"),
    ];
    grown.chain(beside).collect()
}

/// A reload beside a handoff of the barest loop with as many listeners and workers, in turn.
fn beside_the_barest(what: &str, listeners: usize, workers: usize, goal: &'static str) -> Row {
    // The sample app names each listener that it serves; neither loop reads that.
    let setup = Setup::new(Program::app()).flags(["--probation", "0s", "--stderr", "/dev/null"]);
    let setup = (0..listeners).fold(setup, |setup, number| setup.listen(format!("unix:l{number}")));
    let segue = setup.flags(["--workers", &workers.to_string()]).start();
    let mut bare = Bare::many(Program::app(), listeners, workers);
    let (mut ours, mut barest) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        barest.push(bare.handoff());
        ours.push(reload(&segue, 0));
    }
    drop(bare);
    segue.stop();
    let (ours, barest) = (median(&ours), median(&barest));
    Row {
        what: format!(
            "{} {what}: `segue reload` beside the barest loop",
            listeners.max(workers)
        ),
        measured: format!("{}, {} times", ms(ours), ratio(ours, barest)),
        beside: format!("barest loop {}", ms(barest)),
        goal,
    }
}

/// A supervisor, and the connections that keep its retired generations.
struct Many {
    segue: Segue,
    crowds: Vec<Crowd>,
}

fn setup() -> Setup {
    Setup::new(Program::fixture("good")).flags(["--probation", "0s"])
}

fn listeners(count: usize) -> Many {
    let setup = (0..count).fold(setup(), |setup, number| setup.listen(format!("unix:l{number}")));
    Many {
        segue: setup.start(),
        crowds: Vec::new(),
    }
}

fn workers(count: usize) -> Many {
    Many {
        segue: setup().flags(["--workers", &count.to_string()]).start(),
        crowds: Vec::new(),
    }
}

fn draining(count: usize) -> Many {
    Crowd::make_room(count);
    let segue = crowd::patient(Setup::new(Program::app())).start();
    let crowds = vec![crowd::drain(&segue, count)];
    Many { segue, crowds }
}

fn retired(count: usize) -> Many {
    let segue = crowd::patient(Setup::new(Program::app()))
        .flags(["--max-generations", &(count + 2).to_string()])
        .start();
    let crowds = crowd::retire(&segue, count);
    Many { segue, crowds }
}

/// One figure of a supervisor.
struct Cost {
    what: &'static str,
    shown: String,
    amount: f64,
}

impl Cost {
    fn time(what: &'static str, samples: &[Duration]) -> Self {
        let median = median(samples);
        Self {
            what,
            shown: ms(median),
            amount: median.as_secs_f64(),
        }
    }
}

fn compare(what: &str, count: usize, make: Make) -> Vec<Row> {
    let fewer = count / FEWER;
    let pairs = costs(make(fewer)).into_iter().zip(costs(make(count)));
    let row = |(few, many): (Cost, Cost)| Row {
        what: format!("{count} {what}: {}", many.what),
        measured: many.shown,
        beside: format!("{fewer}: {}, {:.2} times", few.shown, many.amount / few.amount),
        goal: GROWTH,
    };
    pairs.map(row).collect()
}

fn costs(many: Many) -> [Cost; 5] {
    let Many { mut segue, crowds } = many;
    let reloads = times(|| reload(&segue, crowds.len()));
    let memory = Footprint::of(segue.process().pid()).pss_kib;
    let costs = [
        Cost::time("`segue reload`", &reloads),
        Cost {
            what: "memory (PSS)",
            shown: format!("{memory} KiB"),
            amount: memory as f64,
        },
        Cost::time("`segue status`", &times(|| timed(&segue, "status"))),
        Cost::time("`segue upgrade`", &times(|| timed(&segue, "upgrade"))),
        Cost::time("kill -9: start to first answer", &times(|| adopt(&mut segue))),
    ];
    drop(crowds);
    segue.stop();
    costs
}

fn times(measure: impl FnMut() -> Duration) -> Vec<Duration> {
    std::iter::repeat_with(measure).take(TIMES).collect()
}

/// The next one begins when the generation that this one retires is gone.
fn reload(segue: &Segue, kept: usize) -> Duration {
    let took = timed(segue, "reload");
    segue.wait_until("every process that may go has gone", |status| {
        status.in_role("retired").len() == kept
    });
    took
}

/// The next supervisor answers when it has adopted everything.
fn adopt(segue: &mut Segue) -> Duration {
    segue.kill();
    let start = Instant::now();
    segue.start_again();
    let deadline = start + segue_tests::patience();
    while ask(segue).is_none() {
        assert!(
            Instant::now() < deadline,
            "no answer: {}",
            segue.process().stderr()
        );
        std::thread::yield_now();
    }
    start.elapsed()
}

/// The first byte of an answer. As long as the socket is that of the dead one, nobody answers.
fn ask(segue: &Segue) -> Option<u8> {
    let mut stream = UnixStream::connect(segue.control()).ok()?;
    stream.write_all(b"{\"request\":\"status\"}\n").ok()?;
    let mut first = [0];
    stream.read_exact(&mut first).ok()?;
    Some(first[0])
}

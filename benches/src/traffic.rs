//! Throughput and latency of an app under Segue, beside the same app alone, and around takeovers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use segue_tests::http::{Target, get};
use segue_tests::program::Program;
use segue_tests::segue::Setup;

use crate::bare::Bare;
use crate::stats::{median, ms, percentile, ratio};
use crate::{Extent, Row};

/// Kept connections of a load.
const CONNECTIONS: usize = 8;

/// How often alone and supervised are measured in turn, so that a slow moment of the machine hits both.
const TURNS: u32 = 4;

/// What counts as around a takeover: from the request for it to this long after it.
const AROUND: Duration = Duration::from_secs(1);

pub(crate) fn rows(extent: Extent) -> Vec<Row> {
    vec![beside_alone(extent), around_takeovers(extent)]
}

fn beside_alone(extent: Extent) -> Row {
    let bare = Bare::start();
    let segue = Setup::new(Program::app()).flags(["--probation", "0s"]).start();
    let (mut alone, mut supervised) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        alone.extend(latencies(&Target::Tcp(bare.address()), extent.load / TURNS));
        supervised.extend(latencies(&segue.target(), extent.load / TURNS));
    }
    segue.stop();
    Row {
        what: "throughput and p99, under Segue against alone".to_owned(),
        measured: compared(&supervised, &alone),
        beside: format!("alone {}", rate(&alone, extent.load)),
        goal: "1.00, within noise",
    }
}

/// Each takeover is compared with the quiet second before it, so that a slow moment of the machine hits one pair and not the
/// figure, which is the median.
fn around_takeovers(extent: Extent) -> Row {
    let segue = Setup::new(Program::app()).flags(["--probation", "0s"]).start();
    let pairs = reloads_under_load(&segue.target(), extent.handoffs, || segue.reload_ok(&[]));
    segue.stop();
    let mut ratios: Vec<f64> = pairs
        .iter()
        .map(|(around, quiet)| around.as_secs_f64() / quiet.as_secs_f64())
        .collect();
    ratios.sort_by(f64::total_cmp);
    let of =
        |which: fn(&(Duration, Duration)) -> Duration| median(&pairs.iter().map(which).collect::<Vec<_>>());
    Row {
        what: format!(
            "p99, second after a reload against before (median of {}, worst)",
            pairs.len()
        ),
        measured: format!(
            "{:.2}, {:.2}",
            ratios[ratios.len() / 2],
            ratios.last().copied().unwrap_or_default()
        ),
        beside: format!("{}, before {}", ms(of(|pair| pair.0)), ms(of(|pair| pair.1))),
        goal: "under 1.1",
    }
}

/// For each of some reloads, p99 from its beginning to a second after its end, and in the second before it.
pub(crate) fn reloads_under_load(
    target: &Target,
    reloads: usize,
    mut reload: impl FnMut(),
) -> Vec<(Duration, Duration)> {
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|_| generator(target.clone(), Arc::clone(&stop), PACED))
        .collect();
    let mut takeovers = Vec::new();
    for _ in 0..reloads {
        std::thread::sleep(AROUND);
        let asked = Instant::now();
        reload();
        takeovers.push((asked, Instant::now()));
        std::thread::sleep(AROUND);
    }
    stop.store(true, Ordering::SeqCst);
    let samples: Vec<Sample> = threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("a generator"))
        .collect();
    let within = |from: Instant, to: Instant| {
        let within = samples.iter().filter(|(at, _)| *at >= from && *at < to);
        p99(&within.copied().collect::<Vec<_>>())
    };
    takeovers
        .iter()
        .map(|(asked, done)| (within(*asked, *done + AROUND), within(*asked - AROUND, *asked)))
        .collect()
}

/// When a request was sent, and how long its answer took.
pub(crate) type Sample = (Instant, Duration);

/// Throughput and p99 of one load as ratios to those of another that lasted as long.
pub(crate) fn compared(load: &[Sample], reference: &[Sample]) -> String {
    format!(
        "{:.2} and {}",
        load.len() as f64 / reference.len().max(1) as f64,
        ratio(p99(load), p99(reference))
    )
}

/// Throughput and p99 of a load of this duration, in words.
pub(crate) fn rate(load: &[Sample], duration: Duration) -> String {
    format!(
        "{:.0} a second, {}",
        load.len() as f64 / duration.as_secs_f64(),
        ms(p99(load))
    )
}

pub(crate) fn p99(samples: &[Sample]) -> Duration {
    let took: Vec<_> = samples.iter().map(|(_, took)| *took).collect();
    percentile(&took, 0.99)
}

/// The pause between two requests of a paced generator: a server that is not saturated shows its own latency.
const PACED: Duration = Duration::from_millis(2);

pub(crate) fn latencies(target: &Target, duration: Duration) -> Vec<Sample> {
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|_| generator(target.clone(), Arc::clone(&stop), Duration::ZERO))
        .collect();
    std::thread::sleep(duration);
    stop.store(true, Ordering::SeqCst);
    threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("a generator"))
        .collect()
}

/// A kept connection that asks again and again; one that the server wants closed is replaced.
fn generator(target: Target, stop: Arc<AtomicBool>, pause: Duration) -> std::thread::JoinHandle<Vec<Sample>> {
    std::thread::spawn(move || {
        let mut samples = Vec::new();
        let mut client = target.connect().expect("connect");
        while !stop.load(Ordering::SeqCst) {
            let start = Instant::now();
            match client.ask(&get("/ping")) {
                Ok(response) => {
                    samples.push((start, start.elapsed()));
                    if response.header("connection").eq_ignore_ascii_case("close") {
                        client = target.connect().expect("connect");
                    }
                }
                Err(_) => client = target.connect().expect("connect"),
            }
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
        samples
    })
}

//! Steered listeners beside a shared one and the barest loop, each in turn: the table of `docs/steering.md`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use segue_tests::http::Target;
use segue_tests::proc::Footprint;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

use crate::Extent;
use crate::bare::Bare;
use crate::stats::{median, ms, percentile};
use crate::takeover::{RATE, Watch, address, timed};
use crate::traffic::{Sample, latencies, p99, reloads_under_load};

/// How often each of the three is measured in turn, so that a slow moment of the machine hits all of them.
const ROUNDS: usize = 4;

/// How clients come to a new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Bare,
    Shared,
    Steered,
}

impl Way {
    const ALL: [Self; 3] = [Self::Bare, Self::Shared, Self::Steered];
}

/// What is measured, running.
enum Subject {
    Bare(Box<Bare>),
    Segue(Box<Segue>),
}

impl Subject {
    fn start(way: Way) -> Self {
        let supervised = |listener: &str| {
            let setup = Setup::new(Program::app()).listen(listener);
            Self::Segue(Box::new(setup.flags(["--probation", "0s"]).start()))
        };
        match way {
            Way::Bare => Self::Bare(Box::new(Bare::start())),
            Way::Shared => supervised("127.0.0.1:0"),
            Way::Steered => supervised("127.0.0.1:0,steer"),
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Bare(bare) => bare.address(),
            Self::Segue(segue) => address(segue),
        }
    }

    fn generation(&self) -> u64 {
        match self {
            Self::Bare(bare) => bare.generation(),
            Self::Segue(segue) => segue.status().generation(),
        }
    }

    /// Asks for the next version, without waiting where somebody else does the work.
    fn ask_for_a_handoff(&mut self) {
        match self {
            Self::Bare(bare) => {
                bare.handoff();
            }
            Self::Segue(segue) => segue.signal(Signal::SIGHUP),
        }
    }

    /// `segue reload`, or as much as the barest loop does until READY=1.
    fn reload(&mut self) -> Duration {
        match self {
            Self::Bare(bare) => bare.handoff(),
            Self::Segue(segue) => timed(segue, "reload"),
        }
    }

    /// Waits until no old version is left, lest the next reload waits for its slot.
    fn rest(&self) {
        if let Self::Segue(segue) = self {
            segue.wait_until("the old version is gone", |status| {
                ["lingering", "retired", "relief", "candidate"]
                    .iter()
                    .all(|role| status.in_role(role).is_empty())
            });
        }
    }

    fn stop(self) {
        match self {
            Self::Bare(bare) => drop(bare),
            Self::Segue(segue) => segue.stop(),
        }
    }
}

/// What one of the three has shown.
#[derive(Default)]
struct Figures {
    asked: u64,
    lost: u64,
    first_answers: Vec<Duration>,
    /// The last answer of the old version after the first of the new one.
    mixed: Vec<Duration>,
    commands: Vec<Duration>,
    load: Vec<Sample>,
    lasted: Duration,
    /// p99 in the second after a reload, and in the second before it.
    around: Vec<(Duration, Duration)>,
    footprint: Option<Footprint>,
}

impl Figures {
    fn measure(&mut self, way: Way, extent: Extent) {
        let share = |count: usize| count.div_ceil(ROUNDS);
        let mut subject = Subject::start(way);
        for _ in 0..share(extent.handoffs) {
            self.watch_a_handoff(&mut subject);
        }
        for _ in 0..share(extent.reloads) {
            self.commands.push(subject.reload());
            subject.rest();
        }
        let target = Target::Tcp(subject.address());
        let lasts = extent.load / u32::try_from(ROUNDS).unwrap_or(1);
        self.load.extend(latencies(&target, lasts));
        self.lasted += lasts;
        if let Subject::Segue(segue) = &subject {
            self.footprint = Some(Footprint::of(segue.process().pid()));
        }
        let reload = || {
            let _ = subject.reload();
        };
        self.around
            .extend(reloads_under_load(&target, share(extent.handoffs), reload));
        subject.stop();
    }

    fn watch_a_handoff(&mut self, subject: &mut Subject) {
        let old = subject.generation();
        let watch = Watch::start(subject.address());
        let begin = Instant::now();
        subject.ask_for_a_handoff();
        let seen = watch.handoff(old, begin);
        self.first_answers.push(seen.first);
        self.mixed.push(seen.overlap);
        self.asked += seen.asked;
        self.lost += seen.lost;
        subject.rest();
    }

    fn a_second(&self) -> f64 {
        self.load.len() as f64 / self.lasted.as_secs_f64().max(f64::EPSILON)
    }

    /// p99 around reloads, as a ratio to the second before: the median, and the worst.
    fn disturbance(&self) -> (f64, f64) {
        let ratio = |(around, quiet): &(Duration, Duration)| {
            around.as_secs_f64() / quiet.as_secs_f64().max(f64::EPSILON)
        };
        let mut ratios: Vec<f64> = self.around.iter().map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        let middle = ratios.get(ratios.len() / 2).copied().unwrap_or_default();
        (middle, ratios.last().copied().unwrap_or_default())
    }
}

/// Prints the table.
pub(crate) fn print(extent: Extent) {
    let mut all = Way::ALL.map(|_| Figures::default());
    for _ in 0..ROUNDS {
        for (way, figures) in Way::ALL.into_iter().zip(&mut all) {
            figures.measure(way, extent);
        }
    }
    let [bare, shared, steered] = &all;
    println!("| figure | barest loop | shared | steered | steered to shared |\n|---|---|---|---|---|");
    let row = |what: String, of: &dyn Fn(&Figures) -> String, ratio: Option<f64>| {
        let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        println!(
            "| {what} | {} | {} | {} | {ratio} |",
            of(bare),
            of(shared),
            of(steered)
        );
    };
    let times = |of: &dyn Fn(&Figures) -> f64| Some(of(steered) / of(shared).max(f64::EPSILON));
    let seconds =
        |of: fn(&Figures) -> &Vec<Duration>| move |figures: &Figures| median(of(figures)).as_secs_f64();
    row(
        format!(
            "lost of new connections, {RATE} a second across {} reloads",
            steered.first_answers.len()
        ),
        &|figures| format!("{} of {}", figures.lost, figures.asked),
        None,
    );
    row(
        "last old answer after the first new one (median, worst)".to_owned(),
        &|figures| {
            let worst = figures.mixed.iter().max().copied().unwrap_or_default();
            format!("{}, {}", ms(median(&figures.mixed)), ms(worst))
        },
        None,
    );
    row(
        "SIGHUP to the first new answer (median, p90)".to_owned(),
        &|figures| spread(&figures.first_answers),
        times(&seconds(|figures| &figures.first_answers)),
    );
    row(
        format!("`segue reload` (median of {}, p90)", steered.commands.len()),
        &|figures| spread(&figures.commands),
        times(&seconds(|figures| &figures.commands)),
    );
    row(
        "requests a second on 8 kept connections".to_owned(),
        &|figures| format!("{:.0}", figures.a_second()),
        times(&Figures::a_second),
    );
    row(
        "their p99".to_owned(),
        &|figures| ms(p99(&figures.load)),
        times(&|figures| p99(&figures.load).as_secs_f64()),
    );
    row(
        "p99, second after a reload against before (median, worst)".to_owned(),
        &|figures| {
            let (middle, worst) = figures.disturbance();
            format!("{middle:.2}, {worst:.2}")
        },
        times(&|figures| figures.disturbance().0),
    );
    let of_footprint =
        |of: fn(&Footprint) -> usize| move |figures: &Figures| figures.footprint.as_ref().map_or(0, of);
    for (what, of) in [
        (
            "memory of the supervisor (PSS, KiB)",
            (|one| usize::try_from(one.pss_kib).unwrap_or(0)) as fn(&Footprint) -> usize,
        ),
        ("its open fds", |one| one.fds),
    ] {
        let value = of_footprint(of);
        row(
            what.to_owned(),
            &|figures| {
                figures
                    .footprint
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |one| of(one).to_string())
            },
            times(&|figures| value(figures) as f64),
        );
    }
}

fn spread(samples: &[Duration]) -> String {
    format!("{}, {}", ms(median(samples)), ms(percentile(samples, 0.9)))
}

//! Asks a server the same question again and again, and tells when the answer changes or fails to come.

mod client;
mod lanes;
mod picture;
mod print;
mod source;
mod stats;
mod timeline;

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use hyper::header::HeaderName;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::client::{Client, Target, Way};
use crate::print::Printer;
use crate::stats::{Entry, Stats};
use crate::timeline::Timeline;

const EXIT_CODES: &str = "\
Exit codes:
  0  every request was answered
  1  a request was DOWN, none was sent, or the picture could not be written
  2  the command line is wrong";

/// Polls a URL and prints UP, UP AND CHANGED or DOWN with the time (UTC); at the end a summary
#[derive(Debug, Parser)]
#[command(name = "segue-poll", version, after_help = EXIT_CODES)]
struct Arguments {
    /// The URL to ask; http only
    #[arg(default_value = "http://localhost:1234/ping")]
    url: String,

    /// Connect to this Unix socket (@NAME: abstract); without a PATH ask that of $SEGUE_PROBE once
    #[arg(long, value_name = "PATH", num_args = 0..=1)]
    unix: Option<Option<PathBuf>>,

    /// Connect from this address; without one ask $SEGUE_PROBE_ADDRESS from $SEGUE_PROBE_SOURCE once, and of the URL its path
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, conflicts_with = "unix")]
    source: Option<Option<String>>,

    /// How long an answer may take, connecting included (100ms, 2s)
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration)]
    timeout: Duration,

    /// Time from one question to the next on each connection; 0 asks without a pause
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration)]
    interval: Duration,

    /// Stop after so many questions
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// Stop after this time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,

    /// Ask again on the same connection; otherwise each question has a new one
    #[arg(long)]
    keep_alive: bool,

    /// Ask on so many connections at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,

    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,

    /// Print only changes, failures and the summary
    #[arg(long, short)]
    quiet: bool,

    /// At the end draw each request into this SVG file: time, latency (logarithmic), version, failures
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,

    /// Headline of the picture; without it the URL
    #[arg(long, value_name = "TEXT", requires = "picture")]
    title: Option<String>,

    /// Header of the answers by which a balancer names its servers: each is compared with itself, and the picture has a
    /// line for each server in place of the latency
    #[arg(long, value_name = "HEADER")]
    server_header: Option<HeaderName>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = match settings(arguments) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("segue-poll: {error}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("segue-poll: start the runtime: {}", segue_app::errno_text(&error));
            return ExitCode::FAILURE;
        }
    };
    match LocalSet::new().block_on(&runtime, poll(settings)) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// What the questions are to be, checked.
struct Settings {
    target: Rc<Target>,
    timeout: Duration,
    interval: Duration,
    count: Option<u64>,
    duration: Option<Duration>,
    keep_alive: bool,
    connections: u16,
    printer: Printer,
    picture: Option<Picture>,
}

/// The picture to draw at the end.
struct Picture {
    file: PathBuf,
    title: String,
    timeline: Timeline,
}

impl Picture {
    /// Begin the picture. Its file is opened now, so that a wrong path is told before the run and not after it.
    fn begin(file: PathBuf, title: String) -> Result<Picture, String> {
        let open = std::fs::OpenOptions::new().append(true).create(true).open(&file);
        match open {
            Ok(_) => Ok(Picture {
                file,
                title,
                timeline: Timeline::new(),
            }),
            Err(error) => Err(format!(
                "write the picture {}: {}",
                file.display(),
                segue_app::errno_text(&error)
            )),
        }
    }
}

/// What was taken for the value of an option was meant as the URL.
fn expected_before(url: &str, option: &str, value: &str) -> String {
    format!("{option} {url}: {value} is expected behind {option}; write the URL before it: {url} {option}")
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://")
}

/// How the server is reached, and whether it is asked once.
fn way(unix: Option<Option<PathBuf>>, from: Option<Option<String>>) -> Result<(Way, bool), String> {
    let probe = || std::env::var_os("SEGUE_PROBE").map(PathBuf::from);
    match (unix, from) {
        (None, None) => Ok((Way::OfUrl(None), false)),
        (Some(Some(path)), _) => match path.to_str().filter(|path| is_url(path)) {
            Some(url) => Err(expected_before(url, "--unix", "a PATH")),
            None => Ok((Way::Unix(path), false)),
        },
        (Some(None), _) => match probe() {
            Some(path) => Ok((Way::Unix(path), true)),
            None if std::env::var_os("SEGUE_PROBE_ADDRESS").is_some() => {
                Err("--unix without a PATH needs SEGUE_PROBE in the environment; a steered listener is probed by --source".to_owned())
            }
            None => Err("--unix without a PATH needs SEGUE_PROBE in the environment".to_owned()),
        },
        (None, Some(Some(text))) if is_url(&text) => Err(expected_before(&text, "--source", "an ADDRESS")),
        (None, Some(Some(text))) => Ok((Way::OfUrl(Some(text.parse()?)), false)),
        (None, Some(None)) => Ok((source::front_door()?, true)),
    }
}

fn settings(arguments: Arguments) -> Result<Settings, String> {
    let (way, once) = way(arguments.unix, arguments.source)?;
    let title = arguments.title.unwrap_or_else(|| arguments.url.clone());
    let picture = arguments
        .picture
        .map(|file| Picture::begin(file, title))
        .transpose()?;
    Ok(Settings {
        target: Rc::new(Target::new(&arguments.url, way, arguments.server_header)?),
        timeout: arguments.timeout,
        interval: arguments.interval,
        count: arguments.count.or(once.then_some(1)),
        duration: arguments.duration,
        keep_alive: arguments.keep_alive,
        connections: arguments.connections,
        printer: Printer::new(arguments.json, arguments.quiet),
        picture,
    })
}

/// What all connections share: they run on one thread.
struct Shared {
    stats: Stats,
    printer: Printer,
    picture: Option<Picture>,
    left: Option<u64>,
}

/// Polls until it is done or told to stop. True if every question was answered, and there was one.
async fn poll(settings: Settings) -> bool {
    let Settings {
        target,
        timeout,
        interval,
        count,
        duration,
        keep_alive,
        connections,
        printer,
        picture,
    } = settings;
    let shared = Rc::new(RefCell::new(Shared {
        stats: Stats::new(),
        printer,
        picture,
        left: count,
    }));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..connections {
        asking.spawn_local(ask(
            Client::new(Rc::clone(&target), keep_alive),
            Rc::clone(&shared),
            timeout,
            interval,
        ));
    }
    let all = async { while asking.join_next().await.is_some() {} };
    tokio::select! {
        () = all => {}
        () = after(duration) => {}
        () = told_to_stop() => {}
    }
    drop(asking);
    let mut shared = shared.borrow_mut();
    let Shared {
        stats,
        printer,
        picture,
        ..
    } = &mut *shared;
    stats.end();
    printer.summary(stats);
    let drawn = picture
        .as_ref()
        .map(|picture| picture::write(&picture.file, &picture.title, &picture.timeline, stats));
    if let Some(Err(error)) = drawn {
        eprintln!("segue-poll: {error}");
        return false;
    }
    stats.all_up()
}

async fn ask(mut client: Client, shared: Rc<RefCell<Shared>>, limit: Duration, every: Duration) {
    let mut ticks = interval(every.max(Duration::from_micros(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if !every.is_zero() {
            ticks.tick().await;
        }
        {
            let left = &mut shared.borrow_mut().left;
            match left {
                Some(0) => return,
                Some(left) => *left -= 1,
                None => {}
            }
        }
        let asked = Instant::now();
        let answer = match timeout(limit, client.ask()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {limit:?} (--timeout)")),
        };
        if answer.is_err() {
            client.forget();
        }
        let mut shared = shared.borrow_mut();
        let Shared {
            stats,
            printer,
            picture,
            ..
        } = &mut *shared;
        let entry = stats.enter(&answer, asked.elapsed());
        if let Some(picture) = picture {
            let server = answer.as_ref().ok().and_then(|answer| answer.server.as_deref());
            picture.timeline.enter(entry, asked, server);
        }
        printer.answer(&answer, matches!(entry, Entry::Changed(_)), asked.elapsed());
    }
}

async fn after(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

async fn told_to_stop() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end the program, only without a summary.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// `250ms`, `30s`, `0.1s`, `5m`, `1h`, or a bare 0.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" if number == "0" => 1.0,
        _ => return Err("a time needs a unit: us, ms, s, m or h".to_owned()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "a time is a number and a unit, such as 250ms".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "that time is too long".to_owned())
}

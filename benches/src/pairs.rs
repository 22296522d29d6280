//! This build against an older one, in pairs: a reload of the one, then a reload of the other, each with its own app.
//!
//! `SEGUE_BEFORE` names the older binary: `git worktree add /tmp/before COMMIT`, `cargo build --release -p segue` there. Without it
//! there is nothing to compare with, and no row.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use segue_tests::binaries::Binary;
use tempfile::TempDir;

use crate::stats::{median, ms, percentile, ratio};
use crate::{Extent, Row};

pub(crate) fn rows(extent: Extent) -> Vec<Row> {
    let Some(before) = std::env::var_os("SEGUE_BEFORE").map(PathBuf::from) else {
        return Vec::new();
    };
    let pairs = extent.reloads * 3;
    let (before, now) = (Instance::start(&before), Instance::start(&Binary::Segue.path()));
    let (mut olds, mut news) = (Figures::default(), Figures::default());
    for _ in 0..pairs {
        before.reload(&mut olds);
        now.reload(&mut news);
    }
    vec![
        row(
            "`segue reload`, from exec to its end",
            &olds.command,
            &news.command,
            pairs,
        ),
        row("CPU of the supervisor, a reload", &olds.cpu, &news.cpu, pairs),
        row(
            "`segue status`, from exec to its end",
            &olds.status,
            &news.status,
            pairs,
        ),
    ]
}

fn row(what: &str, before: &[Duration], now: &[Duration], pairs: usize) -> Row {
    let spread = |samples: &[Duration]| {
        let (low, high) = (percentile(samples, 0.1), percentile(samples, 0.9));
        format!("{} ({} to {})", ms(median(samples)), ms(low), ms(high))
    };
    Row {
        what: format!("{what} (median of {pairs} pairs, and from the tenth to the ninetieth percentile)"),
        measured: format!("{}, {} times", spread(now), ratio(median(now), median(before))),
        beside: format!("before {}", spread(before)),
        goal: "0.5 times",
    }
}

/// What was measured of one of the two.
#[derive(Default)]
struct Figures {
    command: Vec<Duration>,
    cpu: Vec<Duration>,
    status: Vec<Duration>,
}

/// A supervisor of some build, with the sample app.
struct Instance {
    binary: PathBuf,
    directory: TempDir,
    supervisor: Child,
}

impl Instance {
    fn start(binary: &Path) -> Self {
        let directory = segue_tests::segue::directory();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let supervisor = Command::new(binary)
            .current_dir(directory.path())
            .args(["run", "--control", "control", "--listen", "127.0.0.1:0", "--"])
            .arg(Binary::App.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let instance = Self {
            binary: binary.to_owned(),
            directory,
            supervisor,
        };
        let end = Instant::now() + segue_tests::patience();
        while !instance.tell("status", &[]) {
            assert!(Instant::now() < end, "{} never answered", binary.display());
        }
        // What is done once has been done by then.
        (0..3).for_each(|_| assert!(instance.tell("reload", &["--drained"])));
        instance
    }

    fn tell(&self, word: &str, words: &[&str]) -> bool {
        let mut command = Command::new(&self.binary);
        command.current_dir(self.directory.path()).arg(word).args(words);
        command.args(["--control", "control"]);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.unwrap().success()
    }

    /// The CPU of a reload until the old generation is gone (with the client that asks for it served), the time of one until it has taken
    /// over, and of a status.
    fn reload(&self, figures: &mut Figures) {
        let before = self.cpu();
        assert!(self.tell("reload", &["--drained"]), "a reload failed");
        figures.cpu.push(self.cpu().saturating_sub(before));
        let begin = Instant::now();
        assert!(self.tell("reload", &[]), "a reload failed");
        figures.command.push(begin.elapsed());
        let begin = Instant::now();
        assert!(self.tell("status", &[]), "a status failed");
        figures.status.push(begin.elapsed());
        // Until the retired generation is gone.
        assert!(self.tell("reload", &["--drained"]), "a reload failed");
    }

    /// How long the supervisor has run so far: the first number of /proc/PID/schedstat, nanoseconds.
    fn cpu(&self) -> Duration {
        let path = format!("/proc/{}/schedstat", self.supervisor.id());
        let text = std::fs::read_to_string(path).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.tell("stop", &[]);
        let _ = self.supervisor.wait();
    }
}

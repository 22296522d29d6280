//! Files that are written in place while somebody reloads: half of one is never taken.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use segue_tests::figures;
use segue_tests::process::Finished;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::version;

/// Between two pieces of a file.
const GAP: Duration = Duration::from_millis(20);

/// A file that nobody wrote to for so long counts as written (docs/man/segue-run.8); less, because a writer's own clock is
/// looked at a little later.
const NEARLY_RESTED: Duration = Duration::from_millis(150);

/// Writes a file in place, piece by piece, and does something after the first one. Returns the longest time between two.
fn write_in_pieces<T>(path: &Path, pieces: &[String], meanwhile: impl FnOnce() -> T) -> (T, Duration) {
    let mut file = File::create(path).unwrap();
    let (first, rest) = pieces.split_first().unwrap();
    let mut last = Instant::now();
    let mut longest = Duration::ZERO;
    file.write_all(first.as_bytes()).unwrap();
    let done = meanwhile();
    for piece in rest {
        std::thread::sleep(GAP);
        file.write_all(piece.as_bytes()).unwrap();
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    (done, longest)
}

/// Says that this machine was so busy that no round of a test proved anything: each was interrupted for so long that the file did
/// rest. That is no fault of Segue.
fn proved_nothing(test: &str) {
    figures::say(format_args!(
        "left out: {test}: this machine let no writer go on every {GAP:?}"
    ));
}

/// Reloads while a file is being written. A round in which this machine kept the writer from writing for so long that the file
/// did rest is repeated: it proves nothing.
fn reload_while_written(segue: &Segue, name: &str, pieces: &[String]) {
    let end = Instant::now() + segue_tests::patience();
    while Instant::now() < end {
        let begin = || segue.begin("reload", &[]);
        let (reload, longest) = write_in_pieces(&segue.path(name), pieces, begin);
        let done = reload.finish();
        if longest < NEARLY_RESTED {
            assert_eq!(done.code, Some(0), "{done:?}");
            return;
        }
        // Nobody writes any more: the next round begins with what this file says.
        segue.reload_ok(&[]);
    }
    proved_nothing(name);
}

fn env_file(last: &str) -> Vec<String> {
    let line = |number| format!("FIXTURE_MESSAGE=half-{number}\n");
    (0..8)
        .map(line)
        .chain([format!("FIXTURE_MESSAGE={last}\n")])
        .collect()
}

#[test]
fn half_an_env_file_is_never_taken() {
    let setup = Setup::new(Program::fixture("good")).flags(["--env-file", "env"]);
    std::fs::write(setup.path("env"), "").unwrap();
    let segue = setup.start();
    for round in 0..5 {
        let last = format!("whole-{round}");
        reload_while_written(&segue, "env", &env_file(&last));
        version::assert_only(&segue, &last);
    }
    segue.stop();
}

#[test]
fn half_a_segue_toml_is_never_taken() {
    let setup = Setup::from_config().flags(["--config", "segue.toml"]);
    let words = Program::fixture("good");
    let words: Vec<_> = words
        .words()
        .iter()
        .map(|word| format!("{:?}", word.to_str().unwrap()))
        .collect();
    let settings = |workers: u16| {
        let head = format!("listen = [\"127.0.0.1:0\"]\ncommand = [{}]\n", words.join(", "));
        let padding = (0..8).map(|number| format!("# line {number}\n"));
        let mut pieces = vec![head];
        pieces.extend(padding);
        pieces.push(format!("workers = {workers}\n"));
        pieces
    };
    std::fs::write(setup.path("segue.toml"), settings(2).concat()).unwrap();
    let segue = setup.start();
    for workers in [3, 2, 3] {
        reload_while_written(&segue, "segue.toml", &settings(workers));
        let status = segue.status();
        assert_eq!(
            status.pids(status.generation()).len(),
            usize::from(workers),
            "{workers}"
        );
    }
    segue.stop();
}

#[test]
fn half_an_env_file_is_not_taken_at_the_first_start_either() {
    let end = Instant::now() + segue_tests::patience();
    while Instant::now() < end {
        let setup = Setup::new(Program::fixture("good")).flags(["--env-file", "env"]);
        let path = setup.path("env");
        let (segue, longest) = write_in_pieces(&path, &env_file("whole"), || setup.spawn());
        segue.wait_until("a generation serves", |status| status.state() == "serving");
        let found = version::of(&segue.target()).unwrap();
        segue.stop();
        if longest < NEARLY_RESTED {
            assert_eq!(found, "whole");
            return;
        }
    }
    proved_nothing("a first start");
}

/// It is refused after 5 seconds, and meanwhile everybody else is answered.
#[test]
fn a_file_that_never_rests_is_refused_and_the_loop_goes_on() {
    let setup = Setup::new(Program::fixture("good")).flags(["--env-file", "env"]);
    std::fs::write(setup.path("env"), "FIXTURE_MESSAGE=old\n").unwrap();
    let segue = setup.start();
    let Some(done) = reload_while_written_for_ever(&segue) else {
        proved_nothing("a file that never rests");
        segue.stop();
        return;
    };
    assert_eq!(done.code, Some(1), "{done:?}");
    let told = "read env: it is being written, for 5s now (write beside it, then rename)";
    assert!(done.stderr.contains(told), "{done:?}");
    version::assert_only(&segue, "old");
    segue.stop();
}

/// Ends the writers when it is dropped.
struct Writing<'a>(&'a AtomicBool);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writers of one file: when this machine keeps one of them waiting, another writes.
const WRITERS: usize = 4;

/// When a file was written to last, and the longest time between two of those.
struct Written {
    last: Instant,
    longest: Duration,
}

/// Writes to a file until it is over.
fn write_on(mut file: &File, written: &Mutex<Written>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let mut written = written.lock().unwrap();
        writeln!(file, "FIXTURE_MESSAGE=old").unwrap();
        written.longest = written.longest.max(written.last.elapsed());
        written.last = Instant::now();
        drop(written);
        std::thread::sleep(GAP);
    }
}

/// Returns how the reload ended. Somebody else was answered while it waited. Nothing, if the file did rest in each round.
fn reload_while_written_for_ever(segue: &Segue) -> Option<Finished> {
    let end = Instant::now() + segue_tests::patience();
    let mut unanswered = 0;
    while Instant::now() < end {
        let over = AtomicBool::new(false);
        let file = File::create(segue.path("env")).unwrap();
        let written = Mutex::new(Written {
            last: Instant::now(),
            longest: Duration::ZERO,
        });
        let (done, answered) = std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| write_on(&file, &written, &over));
            }
            // A failed assertion ends the writers, too; else the scope would wait for them without end.
            let _writing = Writing(&over);
            let reload = segue.begin("reload", &[]);
            let mut answered = false;
            while reload.is_running() {
                answered |= segue.status().state() == "handing-off";
            }
            (reload.finish(), answered)
        });
        let written = written.into_inner().unwrap();
        if written.longest.max(written.last.elapsed()) < NEARLY_RESTED {
            if answered {
                return Some(done);
            }
            unanswered += 1;
            assert!(unanswered < 3, "nobody else was answered while the reload waited");
        }
    }
    None
}

#[test]
fn a_stop_ends_the_wait_for_a_file() {
    let setup = Setup::new(Program::fixture("good")).flags(["--env-file", "env"]);
    std::fs::write(setup.path("env"), "").unwrap();
    let segue = setup.start();
    let begin = || segue.begin("reload", &[]);
    let (reload, _) = write_in_pieces(&segue.path("env"), &env_file("whole"), begin);
    assert_eq!(segue.run("stop", &[]).code, Some(0));
    // It may have been done before the stop.
    assert!(matches!(reload.finish().code, Some(0 | 1)));
    segue.ended();
}

/// A clock that was set back, or a file server with another: such a file is looked at twice instead.
#[test]
fn a_file_of_the_future_is_taken() {
    let setup = Setup::new(Program::fixture("good")).flags(["--env-file", "env"]);
    std::fs::write(setup.path("env"), "FIXTURE_MESSAGE=tomorrow\n").unwrap();
    let file = File::options().append(true).open(setup.path("env")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(86_400))
        .unwrap();
    let segue = setup.start();
    segue.reload_ok(&[]);
    version::assert_only(&segue, "tomorrow");
    segue.stop();
}

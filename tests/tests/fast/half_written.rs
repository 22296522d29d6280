//! Files that are written in place while somebody reloads: half of one is never taken.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use segue_tests::http::get_and_close;
use segue_tests::process::Finished;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// Between two pieces of a file.
const GAP: Duration = Duration::from_millis(20);

/// A file that nobody wrote to for so long counts as written (docs/man/segue-run.8); less, because a writer's own clock is
/// looked at a little later.
const NEARLY_RESTED: Duration = Duration::from_millis(150);

fn message(segue: &Segue) -> String {
    let response = segue
        .target()
        .connect()
        .and_then(|mut client| client.ask(&get_and_close("/ping")));
    response.unwrap_or_else(|loss| panic!("ping: {loss:?}")).text()
}

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

/// Reloads while a file is being written. A round in which this machine kept the writer from writing for so long that the file
/// did rest is repeated: it proves nothing.
fn reload_while_written(segue: &Segue, name: &str, pieces: &[String]) {
    for _ in 0..10 {
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
    panic!("this machine does not let a test write every {GAP:?}");
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
        assert!(message(&segue).contains(&last), "{}", message(&segue));
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
    for _ in 0..10 {
        let setup = Setup::new(Program::fixture("good")).flags(["--env-file", "env"]);
        let path = setup.path("env");
        let (segue, longest) = write_in_pieces(&path, &env_file("whole"), || setup.spawn());
        segue.wait_until("a generation serves", |status| status.state() == "serving");
        let found = message(&segue);
        segue.stop();
        if longest < NEARLY_RESTED {
            assert!(found.contains("whole"), "{found}");
            return;
        }
    }
    panic!("this machine does not let a test write every {GAP:?}");
}

/// It is refused after 5 seconds, and meanwhile everybody else is answered.
#[test]
fn a_file_that_never_rests_is_refused_and_the_loop_goes_on() {
    let setup = Setup::new(Program::fixture("good")).flags(["--env-file", "env"]);
    std::fs::write(setup.path("env"), "FIXTURE_MESSAGE=old\n").unwrap();
    let segue = setup.start();
    let done = reload_while_written_for_ever(&segue);
    assert_eq!(done.code, Some(1), "{done:?}");
    let told = "read env: it is being written, for 5s now (write beside it, then rename)";
    assert!(done.stderr.contains(told), "{done:?}");
    assert!(message(&segue).contains("old"));
    segue.stop();
}

/// Ends the writer when it is dropped.
struct Writing<'a>(&'a AtomicBool);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns how the reload ended. Somebody else was answered while it waited.
fn reload_while_written_for_ever(segue: &Segue) -> Finished {
    let over = AtomicBool::new(false);
    for _ in 0..5 {
        over.store(false, Ordering::Relaxed);
        let mut file = File::create(segue.path("env")).unwrap();
        let (done, answered, longest) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
                while !over.load(Ordering::Relaxed) {
                    writeln!(file, "FIXTURE_MESSAGE=old").unwrap();
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                    std::thread::sleep(GAP);
                }
                longest.max(last.elapsed())
            });
            // A failed assertion ends the writer, too; else the scope would wait for it without end.
            let writing = Writing(&over);
            let reload = segue.begin("reload", &[]);
            let mut answered = false;
            while reload.is_running() {
                answered |= segue.status().state() == "handing-off";
            }
            drop(writing);
            (reload.finish(), answered, writer.join().unwrap())
        });
        if longest < NEARLY_RESTED && answered {
            return done;
        }
    }
    panic!("nobody else was answered, or this machine does not let a test write every {GAP:?}");
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
    assert!(message(&segue).contains("tomorrow"));
    segue.stop();
}

//! Counted: no connection that begins after a switch is answered by an older version.
//!
//! A version that has answered anybody was switched to before. So whoever connects once such an answer has come meets that version, or a
//! newer one. Each version says its number itself: a relief worker says that of the version that serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use segue_tests::figures::{say, scale};
use segue_tests::http::Target;
use segue_tests::program::Program;
use segue_tests::segue::Setup;
use segue_tests::{version, wait_until};

/// How many clients connect at the same time.
const THREADS: usize = 4;

/// How many connections there are: `SEGUE_CLIENTS`, or else so many.
fn clients() -> u64 {
    let asked = std::env::var("SEGUE_CLIENTS").ok();
    asked
        .and_then(|asked| asked.parse().ok())
        .unwrap_or_else(|| scale(2_000, 1_000_000))
}

/// What came of the connections so far.
#[derive(Default)]
struct Count {
    /// The newest version that has answered.
    newest: AtomicU64,
    answered: AtomicU64,
    /// Answers of a version that was older than the newest when the client began to connect.
    older: AtomicU64,
    lost: AtomicU64,
    over: AtomicBool,
}

impl Count {
    fn ask(&self, target: &Target) {
        let newest = self.newest.load(Ordering::SeqCst);
        match version::of(target).map(|answer| answer.parse::<u64>()) {
            Ok(Ok(version)) => {
                self.newest.fetch_max(version, Ordering::SeqCst);
                self.older
                    .fetch_add(u64::from(version < newest), Ordering::SeqCst);
                self.answered.fetch_add(1, Ordering::SeqCst);
            }
            Ok(Err(_)) | Err(_) => {
                self.lost.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst) + self.lost.load(Ordering::SeqCst)
    }
}

/// Reloads with this program while clients connect, so many in all, and so many to each version. Old versions serve on for as long as they
/// have a slot. Returns how many clients were answered by an older version.
fn answered_by_an_older(program: &str, listener: &str, clients: u64, each: u64) -> u64 {
    let setup = Setup::new(Program::new("./app")).listen(listener);
    let deployed = |number: u64| Program::fixture(&format!("{program} message={number}"));
    setup.deploy("app", &deployed(1));
    let directory = setup.path("").into_os_string();
    let segue = setup
        .flags(["--chdir".into(), directory])
        .flags([
            "--linger",
            "1h",
            "--drain-timeout",
            "1h",
            "--stop-timeout",
            "100ms",
        ])
        .start();
    let count = Arc::new(Count::default());
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (count, target) = (Arc::clone(&count), segue.target());
            thread::spawn(move || {
                while !count.over.load(Ordering::SeqCst) {
                    count.ask(&target);
                }
            })
        })
        .collect();
    let mut reloads = 0;
    while count.answered() < clients || reloads < 2 {
        let goal = count.answered() + each;
        segue.deploy("app", &deployed(reloads + 2));
        segue.reload_ok(&[]);
        reloads += 1;
        wait_until("more answers", || count.answered() >= goal);
    }
    count.over.store(true, Ordering::SeqCst);
    for thread in threads {
        assert!(thread.join().is_ok(), "a client panicked");
    }
    let older = count.older.load(Ordering::SeqCst);
    say(format_args!(
        "{listener}: of {} connections across {reloads} reloads, {older} that began after a switch were answered by an older version",
        count.answered()
    ));
    assert_eq!(
        count.lost.load(Ordering::SeqCst),
        0,
        "log:\n{}",
        segue.process().stderr()
    );
    segue.signal(Signal::SIGTERM);
    segue.ended();
    older
}

#[test]
fn nobody_who_connects_after_a_switch_meets_an_older_version() {
    let clients = clients();
    let older = answered_by_an_older(
        "good",
        "127.0.0.1:0,steer,slots=3",
        clients,
        (clients / 200).max(200),
    );
    assert_eq!(older, 0);
}

#[test]
fn control_on_a_shared_listener_some_do() {
    // Two old versions that serve on, whatever they are told, answer two thirds.
    assert_ne!(answered_by_an_older("ignores-term", "127.0.0.1:0", 400, 200), 0);
}

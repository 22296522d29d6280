//! Real processes; each test is a process of its own, for orphans must come to it.

use super::*;
use crate::sys::alone::alone;
use nix::sys::signal::{Signal, kill};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The script of a main process: it starts others in every way, tells their pids, and waits.
const SCRIPT: &str = r#"
sleep 1000 &
echo "group $!"
setsid sleep 1000 &
echo "parent $!"
(setsid sh -c 'echo "orphan $$"; exec sleep 1000' &)
(env -i setsid sh -c 'echo "bare $$"; exec sleep 1000' &)
(env -i sh -c 'echo "session $$"; exec sleep 1000' &)
echo "leader $$"
wait
"#;

/// How many lines it prints.
const TOLD: usize = 6;

/// The notify socket of this process's app. Each test is a process of its own, and the tests run side by side: who looks
/// everywhere must not find the apps of the others.
fn notify() -> String {
    format!("/run/test/{}/1.0.0", std::process::id())
}

struct App {
    child: Child,
    pids: BTreeMap<String, Pid>,
}

impl App {
    /// `sh -c SCRIPT` in a session of its own.
    fn start(notify: &str) -> App {
        sys::become_subreaper().unwrap();
        let mut child = Command::new("setsid")
            .args(["sh", "-c", SCRIPT])
            .env("NOTIFY_SOCKET", notify)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let pids = lines.take(TOLD).map(|line| {
            let line = line.unwrap();
            let (name, pid) = line.split_once(' ').unwrap();
            (name.to_owned(), Pid::from_raw(pid.parse().unwrap()))
        });
        let pids = pids.collect();
        App { child, pids }
    }

    fn pid(&self, name: &str) -> Pid {
        self.pids[name]
    }

    fn origin(&self, notify: &str) -> Origin<&'static str> {
        Origin {
            key: "app",
            leader: self.pid("leader"),
            notify: notify.into(),
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        for pid in self.pids.values() {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// What is found, once it is what it should be or time is up: orphans need a moment to become ours.
fn found(origin: &Origin<&'static str>, scope: Scope, expected: &[(Pid, Tie)]) -> Look<&'static str> {
    let begun = Instant::now();
    loop {
        let look = look(std::slice::from_ref(origin), scope);
        let mut ties: Vec<(Pid, Tie)> = look.members.iter().map(|one| (one.pid, one.tie)).collect();
        let mut expected = expected.to_vec();
        ties.sort_by_key(|(pid, _)| *pid);
        expected.sort_by_key(|(pid, _)| *pid);
        if ties == expected {
            return look;
        }
        assert!(begun.elapsed() < PATIENCE, "{ties:?} instead of {expected:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn every_process_of_a_worker_is_found_and_what_hides_its_birth_is_a_stranger() {
    alone(
        "descent::tests::every_process_of_a_worker_is_found_and_what_hides_its_birth_is_a_stranger",
        || {
            let app = App::start(&notify());
            let origin = app.origin(&notify());
            let ties = [
                (app.pid("leader"), Tie::Leader),
                (app.pid("group"), Tie::Group),
                (app.pid("parent"), Tie::Parent),
                (app.pid("orphan"), Tie::Birth),
                (app.pid("session"), Tie::Group),
            ];
            let look = found(&origin, Scope::Below, &ties);
            let strangers: Vec<Pid> = look.strangers.iter().map(|row| row.pid).collect();
            assert_eq!(strangers, [app.pid("bare")]);
            assert_eq!(
                look.members[0].began,
                sys::start_time(look.members[0].pid).unwrap()
            );
            let everywhere = found(&origin, Scope::Everywhere, &ties);
            assert_eq!(everywhere.members.len(), look.members.len());
        },
    );
}

#[test]
fn only_those_without_parents_are_orphans() {
    alone("descent::tests::only_those_without_parents_are_orphans", || {
        let app = App::start(&notify());
        let origin = [app.origin(&notify())];
        let expected = [app.pid("orphan"), app.pid("session")];
        for scope in [Scope::Below, Scope::Everywhere] {
            let begun = Instant::now();
            loop {
                let look = orphans(&origin, scope);
                let mut pids: Vec<Pid> = look.members.iter().map(|member| member.pid).collect();
                pids.sort();
                let mut expected = expected.to_vec();
                expected.sort();
                if pids == expected {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "{pids:?} instead of {expected:?}");
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    });
}

#[test]
fn another_worker_has_none_of_them() {
    alone("descent::tests::another_worker_has_none_of_them", || {
        let app = App::start(&notify());
        found(
            &app.origin(&notify()),
            Scope::Below,
            &[
                (app.pid("leader"), Tie::Leader),
                (app.pid("group"), Tie::Group),
                (app.pid("parent"), Tie::Parent),
                (app.pid("orphan"), Tie::Birth),
                (app.pid("session"), Tie::Group),
            ],
        );
        let other = Origin {
            key: "other",
            leader: Pid::from_raw(i32::MAX),
            notify: "/run/test/1.0.1".into(),
        };
        for scope in [Scope::Below, Scope::Everywhere] {
            assert_eq!(look(std::slice::from_ref(&other), scope).members, []);
        }
        // Both at once: each process is its own worker's.
        let both = look(&[other, app.origin(&notify())], Scope::Below);
        assert_eq!(both.members.len(), 5);
        assert!(both.members.iter().all(|member| member.key == "app"));
    });
}

#[test]
fn what_a_process_may_have_chosen_itself_is_no_descent() {
    alone(
        "descent::tests::what_a_process_may_have_chosen_itself_is_no_descent",
        || {
            let app = App::start(&notify());
            let origin = [app.origin(&notify())];
            for name in ["leader", "group", "parent", "session"] {
                assert_eq!(descendant_of(app.pid(name), &origin), Some("app"), "{name}");
                assert_eq!(owner_of(app.pid(name), &origin), Some("app"), "{name}");
            }
            let begun = Instant::now();
            while owner_of(app.pid("orphan"), &origin) != Some("app") {
                assert!(begun.elapsed() < PATIENCE);
                std::thread::sleep(Duration::from_millis(2));
            }
            assert_eq!(
                descendant_of(app.pid("orphan"), &origin),
                None,
                "its environment is its own"
            );
            assert_eq!(owner_of(app.pid("bare"), &origin), None);
            assert_eq!(owner_of(Pid::this(), &origin), None);
            assert_eq!(owner_of(Pid::from_raw(i32::MAX), &origin), None);
        },
    );
}

#[test]
fn what_outlives_its_main_process_is_found() {
    alone("descent::tests::what_outlives_its_main_process_is_found", || {
        let mut app = App::start(&notify());
        kill(app.pid("leader"), Signal::SIGKILL).unwrap();
        app.child.wait().unwrap();
        let origin = app.origin(&notify());
        let ties = [
            (app.pid("group"), Tie::Group),
            (app.pid("parent"), Tie::Birth),
            (app.pid("orphan"), Tie::Birth),
            (app.pid("session"), Tie::Group),
        ];
        found(&origin, Scope::Below, &ties);
        found(&origin, Scope::Everywhere, &ties);
    });
}

/// In the middle of execve(2) /proc shows no environment. Who was taken for a stranger then would be given to another worker, by a
/// listener that it has, or to nobody.
#[test]
fn one_that_executes_at_this_moment_is_no_stranger() {
    alone(
        "descent::tests::one_that_executes_at_this_moment_is_no_stranger",
        || {
            const AGAIN: &str = r#"[ "$1" -gt 0 ] && exec sh -c "$0" "$0" "$(($1 - 1))"; exec sleep 1000"#;
            let mut app = Command::new("setsid")
                .args(["sh", "-c", AGAIN, AGAIN, "400"])
                .env("NOTIFY_SOCKET", notify())
                // Nobody waits for its end where this fails.
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let origin = [Origin {
                key: "app",
                leader: Pid::from_raw(i32::MAX),
                notify: notify().into(),
            }];
            let command_line = format!("/proc/{}/cmdline", app.id());
            let is_over = || std::fs::read(&command_line).unwrap().starts_with(b"sleep");
            let begun = Instant::now();
            loop {
                let was_over = is_over();
                let look = look(&origin, Scope::Below);
                assert_eq!(look.strangers, []);
                assert!(look.members.len() + look.unseen.len() <= 1, "{look:?}");
                if was_over && look.members.len() == 1 {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "{look:?}");
            }
            app.kill().unwrap();
            app.wait().unwrap();
        },
    );
}

#[test]
fn without_the_files_of_children_the_list_of_all_processes_tells_the_same() {
    alone(
        "descent::tests::without_the_files_of_children_the_list_of_all_processes_tells_the_same",
        || {
            let app = App::start(&notify());
            let pids = |rows: Vec<ProcessRow>| {
                let mut pids: Vec<Pid> = rows.iter().map(|row| row.pid).collect();
                pids.sort();
                pids
            };
            let leader = app.pid("leader");
            // By then the shells in between have ended.
            let origin = app.origin(&notify());
            while look(std::slice::from_ref(&origin), Scope::Below).members.len() != 5 {
                std::thread::sleep(Duration::from_millis(2));
            }
            let (mut listed, mut as_needed) = (Everybody::read(), Everybody::AsNeeded);
            assert_eq!(
                pids(listed.children(leader, |_| true)),
                pids(as_needed.children(leader, |_| true))
            );
            assert!(matches!(as_needed, Everybody::AsNeeded));
        },
    );
}

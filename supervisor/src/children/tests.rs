//! Real processes; each test is a process of its own, for a sweep reaps every child that it does not know.

use super::*;
use crate::state::{Field, Row, Rows};
use crate::sys::alone::alone;
use nix::poll::{PollTimeout, poll};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Longer than anything here takes; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often to look again. (The test harness has a thread that would take SIGCHLD away from a signalfd.)
const RECHECK_MS: u8 = 5;

struct Nursery {
    children: Children<u32>,
    events: Vec<ChildEvent<u32>>,
}

impl Nursery {
    fn new() -> Nursery {
        sys::become_subreaper().unwrap();
        Nursery {
            children: Children::new(),
            events: Vec::new(),
        }
    }

    /// As on a kernel before 6.9.
    fn by_number() -> Nursery {
        let mut nursery = Nursery::new();
        nursery.children.groups = Groups::ByNumber;
        nursery
    }

    /// Both ways to name a group, or the one that this kernel knows.
    fn of_each_kind() -> Vec<Nursery> {
        let (new, old) = (Nursery::new(), Nursery::by_number());
        match new.children.groups {
            Groups::ByPidfd => vec![new, old],
            Groups::ByNumber => vec![old],
        }
    }

    /// Starts `sh -c script` in a group of its own and waits for its first line.
    fn start(&mut self, key: u32, script: &str) -> String {
        self.begin(key, Command::new("/bin/sh").args(["-c", script]).process_group(0))
    }

    #[expect(clippy::zombie_processes, reason = "reaping is what is tested")]
    fn begin(&mut self, key: u32, command: &mut Command) -> String {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        self.children.add(key, pid, sys::open_pidfd(pid).unwrap());
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        line.trim().to_owned()
    }

    /// Starts `sh -c script`, which says its pid first, in a session of its own and below a parent of ours that goes on as
    /// `parent`, and adopts it.
    #[expect(clippy::zombie_processes, reason = "the sweep reaps the parent, a stranger")]
    fn adopt(&mut self, key: u32, script: &str, parent: &str) -> Parent {
        let mut above = Command::new("/bin/sh")
            .args(["-c", &format!("setsid sh -c \"$0\" & {parent}"), script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = above.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        let pid = Pid::from_raw(line.trim().parse().unwrap());
        self.children.adopt(key, pid, sys::open_pidfd(pid).unwrap());
        Parent(Pid::from_raw(above.id() as i32))
    }

    /// Sweeps until `enough`.
    fn sweep_until(&mut self, enough: impl Fn(&Nursery) -> bool) {
        let begin = Instant::now();
        loop {
            self.events.extend(self.children.sweep());
            if enough(self) {
                return;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "still waiting after {:?}",
                self.events
            );
            poll(&mut [], PollTimeout::from(RECHECK_MS)).unwrap();
        }
    }

    /// Waits until the leader is a zombie, without a sweep.
    fn wait_for_death(&self, key: u32) {
        let pidfd = self.children.pidfd(key).unwrap();
        poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    }

    fn saw(&self, event: ChildEvent<u32>) -> bool {
        self.events.contains(&event)
    }
}

/// The parent of an adopted process; killed in the end.
struct Parent(Pid);

/// It reaps, as init does.
const REAPS: &str = "wait";

/// It never does.
const NEVER_REAPS: &str = "exec sleep 1000 >/dev/null";

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = sys::reap(Who::Process(self.0));
    }
}

fn killed_by(signal: Signal) -> ExitStatus {
    ExitStatus::Signal {
        number: signal as i32,
        core_dumped: false,
    }
}

/// What is told of an adopted process whose parent has reaped it.
fn told_or_unknown(status: ExitStatus) -> [ExitStatus; 2] {
    [status, ExitStatus::Unknown]
}

fn rows_of_children() -> Vec<ProcessRow> {
    let rows = sys::process_rows().unwrap();
    rows.into_iter().filter(|row| row.parent == Pid::this()).collect()
}

#[test]
fn an_exit_is_told_once_and_then_the_child_is_unknown() {
    alone(
        "children::tests::an_exit_is_told_once_and_then_the_child_is_unknown",
        || {
            for mut nursery in Nursery::of_each_kind() {
                nursery.start(1, "exit 7");
                nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Gone(1)));
                let expected = [ChildEvent::Exited(1, ExitStatus::Code(7)), ChildEvent::Gone(1)];
                assert_eq!(nursery.events, expected);
                assert_eq!(nursery.children.sweep(), []);
                assert_eq!(nursery.children.signal(1, Signal::SIGTERM), Err(Errno::ESRCH));
                assert_eq!(
                    nursery.children.signal_group(1, Signal::SIGTERM),
                    Err(Errno::ESRCH)
                );
                assert!(
                    nursery
                        .children
                        .any_dies_within(&[1], Duration::ZERO, &mut |_| false)
                        && nursery.children.is_empty()
                );
                assert_eq!(rows_of_children(), []);
            }
        },
    );
}

#[test]
fn a_signal_that_is_refused_by_pidfd_goes_by_number_while_that_is_safe() {
    alone(
        "children::tests::a_signal_that_is_refused_by_pidfd_goes_by_number_while_that_is_safe",
        || {
            let mut nursery = Nursery::new();
            type Way = fn(&Children<u32>, u32, Signal) -> Result<(), Errno>;
            let ways: [Way; 2] = [Children::signal, Children::signal_group];
            for (key, send) in (0..).zip(ways) {
                nursery.start(key, "echo up; exec sleep 1000");
                // What is no pidfd is refused: EBADF.
                let none = Some(fs::File::open("/dev/null").unwrap().into());
                let child = nursery.children.known.get_mut(&key).unwrap();
                let pidfd = std::mem::replace(&mut child.pidfd, none);
                assert_eq!(send(&nursery.children, key, Signal::SIGTERM), Ok(()));
                nursery.children.known.get_mut(&key).unwrap().pidfd = pidfd;
                let ended = ChildEvent::Exited(key, killed_by(Signal::SIGTERM));
                nursery.sweep_until(|nursery| nursery.saw(ended));
            }
            let none = fs::File::open("/dev/null").unwrap().into();
            nursery.children.adopt(7, Pid::parent(), none);
            assert_eq!(nursery.children.signal(7, Signal::SIGWINCH), Err(Errno::EBADF));
        },
    );
}

/// Just forked, and the supervisor cannot tell when it comes to make its group.
#[test]
fn a_leader_that_has_not_made_its_group_yet_is_all_of_it() {
    alone(
        "children::tests::a_leader_that_has_not_made_its_group_yet_is_all_of_it",
        || {
            for mut nursery in Nursery::of_each_kind() {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", "echo up; exec sleep 1000 >/dev/null"]);
                nursery.begin(1, &mut command);
                nursery.children.signal_group(1, Signal::SIGKILL).unwrap();
                nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Gone(1)));
                let killed = ChildEvent::Exited(1, killed_by(Signal::SIGKILL));
                assert_eq!(nursery.events, [killed, ChildEvent::Gone(1)]);
                nursery.begin(2, &mut command);
                let pid = nursery.children.pid(2).unwrap();
                group::signal_by_number(pid, Signal::SIGKILL).unwrap();
                nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Gone(2)));
                assert_eq!(rows_of_children(), []);
            }
        },
    );
}

/// Its leader had died before anybody who is left could open a pidfd, whether or not its parent has reaped it.
#[test]
fn a_group_is_adopted_by_its_number() {
    alone("children::tests::a_group_is_adopted_by_its_number", || {
        for reaps in [REAPS, NEVER_REAPS] {
            for mut nursery in Nursery::of_each_kind() {
                // It is alive at first, so that its beginning is known.
                let leaves = "sleep 1000 >/dev/null 2>&1 & echo $$; wait";
                let parent = nursery.adopt(1, leaves, reaps);
                let (leader, began) = (nursery.children.pid(1).unwrap(), nursery.children.began(1));
                nursery.children.signal(1, Signal::SIGKILL).unwrap();
                nursery.wait_for_death(1);
                nursery.children.known.remove(&1);

                nursery.children.adopt_group(2, leader, began);
                assert_eq!(nursery.children.sweep(), []);
                assert!(nursery.children.lingering() && !nursery.children.lives(leader));
                assert_eq!(nursery.children.signal(2, Signal::SIGTERM), Err(Errno::ESRCH));
                nursery.children.signal_group(2, Signal::SIGTERM).unwrap();
                nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Gone(2)));
                assert_eq!(nursery.events, [ChildEvent::Gone(2)]);
                drop(parent);
            }
        }
        // A number that another process has as its pid is no group of ours.
        let mut nursery = Nursery::new();
        nursery.children.adopt_group(3, Pid::this(), Some(1));
        let sent = nursery.children.signal_group(3, Signal::SIGKILL);
        assert_eq!(sent, Err(Errno::ESRCH));
        assert_eq!(nursery.children.sweep(), [ChildEvent::Gone(3)]);
    });
}

#[test]
fn a_dead_child_is_known_to_be_dead_before_the_sweep() {
    alone(
        "children::tests::a_dead_child_is_known_to_be_dead_before_the_sweep",
        || {
            let mut nursery = Nursery::new();
            nursery.start(1, "echo up; exec sleep 1000");
            assert!(
                !nursery
                    .children
                    .any_dies_within(&[1], Duration::ZERO, &mut |_| false)
            );
            nursery.children.signal(1, Signal::SIGKILL).unwrap();
            assert!(nursery.children.any_dies_within(&[1], PATIENCE, &mut |_| false));
            nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Gone(1)));
            let killed = ExitStatus::Signal {
                number: libc::SIGKILL,
                core_dumped: false,
            };
            assert_eq!(nursery.events[0], ChildEvent::Exited(1, killed));
        },
    );
}

#[test]
fn a_group_outlives_its_leader_whose_number_is_kept_where_it_matters() {
    alone(
        "children::tests::a_group_outlives_its_leader_whose_number_is_kept_where_it_matters",
        || {
            for mut nursery in Nursery::of_each_kind() {
                nursery.start(1, "sleep 1000 >/dev/null & echo up; exit 3");
                nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Exited(1, ExitStatus::Code(3))));
                assert_eq!(nursery.children.sweep(), [], "told once");
                assert!(nursery.children.lingering() && !nursery.saw(ChildEvent::Gone(1)));
                let leader = nursery.children.pid(1).unwrap();
                let kept = rows_of_children()
                    .iter()
                    .any(|row| row.pid == leader && row.zombie);
                assert_eq!(
                    kept,
                    nursery.children.groups == Groups::ByNumber,
                    "it keeps its number"
                );
                nursery.children.signal_group(1, Signal::SIGTERM).unwrap();
                nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Gone(1)));
                assert_eq!(rows_of_children(), []);
            }
        },
    );
}

#[test]
fn a_member_that_is_not_our_child_holds_the_group_and_its_zombie_does_not() {
    alone(
        "children::tests::a_member_that_is_not_our_child_holds_the_group_and_its_zombie_does_not",
        || {
            for mut nursery in Nursery::of_each_kind() {
                // The parent of the member lives in a session of its own and never reaps it.
                let script = "(sleep 1000 >/dev/null & exec setsid sh -c 'echo $$; exec sleep 1001 >/dev/null') &
                          while ! [ -e /proc/$!/stat ] || [ $(cut -d' ' -f5 /proc/$!/stat) = $$ ]; do :; done";
                let keeper: i32 = nursery.start(1, script).parse().unwrap();
                nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Exited(1, ExitStatus::Code(0))));
                assert!(nursery.children.lingering());
                nursery.children.signal_group(1, Signal::SIGKILL).unwrap();
                nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Gone(1)));
                // The keeper has come to us: a stranger, which the next sweeps reap.
                kill(Pid::from_raw(keeper), Signal::SIGKILL).unwrap();
                nursery.sweep_until(|_| rows_of_children().is_empty());
            }
        },
    );
}

#[test]
fn strangers_are_reaped_even_while_a_group_outlives_its_leader() {
    alone(
        "children::tests::strangers_are_reaped_even_while_a_group_outlives_its_leader",
        || {
            for mut nursery in Nursery::of_each_kind() {
                let left = match nursery.children.groups {
                    Groups::ByPidfd => 1,
                    Groups::ByNumber => 2,
                };
                nursery.start(1, "sleep 1000 >/dev/null & echo up");
                nursery.sweep_until(|nursery| nursery.children.lingering());
                nursery.start(2, "setsid sh -c 'echo $$; exec sleep 0.05 >/dev/null' & :");
                nursery.sweep_until(|nursery| {
                    // Left are the member of the group and, where its number matters, its dead leader.
                    nursery.saw(ChildEvent::Gone(2)) && rows_of_children().len() == left
                });
                nursery.children.signal_group(1, Signal::SIGKILL).unwrap();
                nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Gone(1)));
                assert_eq!(rows_of_children(), []);
            }
        },
    );
}

#[test]
fn many_deaths_at_once_are_all_told() {
    alone("children::tests::many_deaths_at_once_are_all_told", || {
        for mut nursery in Nursery::of_each_kind() {
            for key in 0..30 {
                nursery.start(key, "echo up; exec sleep 1000");
            }
            for key in 0..30 {
                nursery.children.signal_group(key, Signal::SIGTERM).unwrap();
            }
            nursery.sweep_until(|nursery| nursery.children.is_empty());
            assert_eq!(nursery.events.len(), 60);
            assert_eq!(rows_of_children(), []);
        }
    });
}

#[test]
fn without_a_view_of_proc_the_group_is_still_waited_for() {
    alone(
        "children::tests::without_a_view_of_proc_the_group_is_still_waited_for",
        || {
            let mut nursery = Nursery::new();
            nursery.start(1, "sleep 1000 >/dev/null & echo up");
            let leader = nursery.children.pid(1).unwrap();
            nursery.wait_for_death(1);
            assert_eq!(
                nursery.children.note_exits(),
                [ChildEvent::Exited(1, ExitStatus::Code(0))]
            );
            assert_eq!(
                nursery.children.note_ends(&[]),
                [],
                "the kernel knows of the member that /proc hides"
            );
            assert_eq!(
                sys::peek(Who::Process(leader)),
                Err(Errno::ECHILD),
                "reaped for the question"
            );
            nursery.children.signal_group(1, Signal::SIGKILL).unwrap();
            nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Gone(1)));
            assert_eq!(rows_of_children(), []);
        },
    );
}

#[test]
fn the_end_of_an_adopted_process_is_told_and_how_it_ended_where_the_kernel_says() {
    alone(
        "children::tests::the_end_of_an_adopted_process_is_told_and_how_it_ended_where_the_kernel_says",
        || {
            for mut nursery in Nursery::of_each_kind() {
                let _parent = nursery.adopt(1, "echo $$; exec sleep 1000 >/dev/null", REAPS);
                assert!(
                    !nursery
                        .children
                        .any_dies_within(&[1], Duration::ZERO, &mut |_| false)
                );
                assert_eq!(nursery.children.sweep(), []);
                assert!(!nursery.children.lingering());
                nursery.children.signal(1, Signal::SIGTERM).unwrap();
                nursery.wait_for_death(1);
                nursery.sweep_until(|nursery| !nursery.events.is_empty());
                let [ChildEvent::Exited(1, status)] = nursery.events[..] else {
                    panic!(
                        "its pidfd is still to be taken out of a poll set: {:?}",
                        nursery.events
                    )
                };
                assert!(
                    told_or_unknown(killed_by(Signal::SIGTERM)).contains(&status),
                    "{status}"
                );
                assert!(nursery.children.pidfd(1).is_some() && nursery.children.lingering());
                nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Gone(1)));
                assert_eq!(nursery.events.len(), 2, "told once");
                assert!(nursery.children.is_empty() && !nursery.children.lingering());
            }
        },
    );
}

#[test]
fn an_adopted_process_that_nobody_reaps_holds_nobody_up() {
    alone(
        "children::tests::an_adopted_process_that_nobody_reaps_holds_nobody_up",
        || {
            for mut nursery in Nursery::of_each_kind() {
                let _parent = nursery.adopt(1, "echo $$; exec sleep 1000 >/dev/null", NEVER_REAPS);
                nursery.children.signal(1, Signal::SIGKILL).unwrap();
                nursery.wait_for_death(1);
                nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Gone(1)));
                let expected = [ChildEvent::Exited(1, ExitStatus::Unknown), ChildEvent::Gone(1)];
                assert_eq!(nursery.events, expected);
            }
        },
    );
}

#[test]
fn an_adopted_process_that_is_known_to_be_dead_is_told_by_the_next_sweep() {
    alone(
        "children::tests::an_adopted_process_that_is_known_to_be_dead_is_told_by_the_next_sweep",
        || {
            let mut nursery = Nursery::new();
            let _parent = nursery.adopt(1, "echo $$; exec sleep 1000 >/dev/null", NEVER_REAPS);
            nursery.children.signal(1, Signal::SIGKILL).unwrap();
            assert!(nursery.children.any_dies_within(&[1], PATIENCE, &mut |_| false));
            let told = [ChildEvent::Exited(1, ExitStatus::Unknown)];
            assert_eq!(nursery.children.sweep(), told);
            assert!(
                nursery
                    .children
                    .any_dies_within(&[1], Duration::ZERO, &mut |_| false)
            );
            nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Gone(1)));
        },
    );
}

#[test]
fn the_group_of_an_adopted_process_outlives_it_and_can_be_ended() {
    alone(
        "children::tests::the_group_of_an_adopted_process_outlives_it_and_can_be_ended",
        || {
            for mut nursery in Nursery::of_each_kind() {
                let script = "sleep 1000 >/dev/null & echo $$; exec sleep 1001 >/dev/null";
                let parent = nursery.adopt(1, script, REAPS);
                nursery.children.signal(1, Signal::SIGTERM).unwrap();
                nursery.sweep_until(|nursery| !nursery.events.is_empty());
                for _ in 0..3 {
                    assert_eq!(nursery.children.sweep(), [], "a member lives");
                }
                drop(parent);
                nursery.children.signal_group(1, Signal::SIGKILL).unwrap();
                nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Gone(1)));
                nursery.sweep_until(|_| rows_of_children().is_empty());
            }
        },
    );
}

#[test]
fn after_an_upgrade_in_place_everybody_is_in_charge_as_before() {
    alone(
        "children::tests::after_an_upgrade_in_place_everybody_is_in_charge_as_before",
        || {
            for mut nursery in Nursery::of_each_kind() {
                nursery.start(1, "sleep 1000 >/dev/null & echo up; exit 3");
                nursery.start(2, "echo up; exec sleep 1000");
                let _parent = nursery.adopt(3, "echo $$; exec sleep 1000 >/dev/null", REAPS);
                nursery.sweep_until(|nursery| nursery.saw(ChildEvent::Exited(1, ExitStatus::Code(3))));
                let mut upgraded = Children::new();
                upgraded.groups = nursery.children.groups;
                for saved in nursery.children.saved() {
                    let pidfd = saved.pidfd.unwrap().try_clone_to_owned().unwrap();
                    let mut rows = Rows::default();
                    saved.kin.write("kin", rows.begin("child"));
                    saved.leader.write("leader", &mut rows);
                    let text = rows.finish();
                    let row = Row::all(&text).unwrap()[0];
                    let (kin, leader) = (Field::read("kin", row), Field::read("leader", row));
                    upgraded.restore(saved.key, saved.pid, pidfd, kin.unwrap(), leader.unwrap());
                }
                nursery.children = upgraded;
                nursery.events.clear();
                assert_eq!(nursery.children.sweep(), [], "what was told is not told again");
                for key in 1..=3 {
                    nursery.children.signal_group(key, Signal::SIGKILL).unwrap();
                }
                nursery.sweep_until(|nursery| nursery.children.is_empty());
                assert!(nursery.saw(ChildEvent::Exited(2, killed_by(Signal::SIGKILL))));
                assert!(!nursery.saw(ChildEvent::Exited(1, ExitStatus::Code(3))));
                assert_eq!(nursery.events.len(), 5, "{:?}", nursery.events);
            }
        },
    );
}

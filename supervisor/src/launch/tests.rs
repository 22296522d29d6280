//! Real launches. Each test that forks is a process of its own, for a fork in the midst of other threads may find
//! their locks held.

use super::report::Reporter;
use super::*;
use crate::activation::Protocol;
use crate::sys::alone::alone;
use crate::sys::{Dead, Who, reap};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::unistd::Uid;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a launch went: the report's last word and, if it ran, its exit status.
type Outcome = (Report, Option<crate::sys::ExitStatus>);

struct Bench {
    directory: tempfile::TempDir,
    env: Vec<(OsString, OsString)>,
    user: Option<&'static str>,
    group: Option<&'static str>,
    umask: Option<u32>,
    own_pid: OwnPid,
    last_signal: Option<nix::sys::signal::Signal>,
    protocol: Protocol,
    templates: Vec<OsString>,
}

impl Bench {
    fn new() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        File::create(directory.path().join("notify")).unwrap();
        Bench {
            directory,
            env: Vec::new(),
            user: None,
            group: None,
            umask: None,
            own_pid: OwnPid::Set,
            last_signal: None,
            protocol: Protocol::Systemd,
            templates: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, mode: u32, content: impl AsRef<[u8]>) {
        // By a rename, as a deploy should, so that an old inode of that name stays what it was.
        let new = self.path("new");
        fs::write(&new, content).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    fn resolve(&self, command: &[&str]) -> Result<BirthRecord, String> {
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        let wanted = Wanted {
            command: &command,
            chdir: Some(self.directory.path()),
            stderr: None,
            env: &self.env,
            user: self.user,
            group: self.group,
            umask: self.umask,
            oom_score: None,
            own_pid: self.own_pid,
            last_signal: self.last_signal,
            protocol: self.protocol,
            templates: &self.templates,
            listeners: None,
        };
        BirthRecord::resolve(&wanted, &InheritedEnvironment::of_this_process())
            .map_err(|error| error.to_string())
    }

    fn spawn(&self, record: &BirthRecord, sockets: &[Lent<'_>], probe: Option<Lent<'_>>) -> Spawned {
        let notify_path = self.path("notify");
        let extra = Extra {
            name: "instance",
            notify_path: &notify_path,
            ack_path: None,
            voice: Voice::Spare,
            drain_ms: Some(30_000),
            watchdog: Some(Duration::from_secs(2)),
            probe,
            runtime: None,
        };
        record.spawn(sockets, WORKER, &extra).unwrap()
    }

    fn run(&self, command: &[&str]) -> Outcome {
        self.run_record(&self.resolve(command).unwrap())
    }

    fn run_record(&self, record: &BirthRecord) -> Outcome {
        conclude(self.spawn(record, &[], None))
    }

    /// Resolves and launches what must not start, and gives the reason.
    fn reason(&self, command: &[&str]) -> String {
        let outcome = match self.resolve(command) {
            Err(text) => return text,
            Ok(record) => self.run_record(&record),
        };
        match outcome {
            (Report::Failed { text }, _) => text,
            (report, status) => panic!("{command:?} started: {report:?}, {status:?}"),
        }
    }
}

const WORKER: WorkerIdentity = WorkerIdentity {
    generation: 42,
    slot: 3,
};

/// Waits for the report and the exit.
fn conclude(mut spawned: Spawned) -> Outcome {
    spawned.go.begin().unwrap();
    let report = loop {
        wait_readable(&spawned.report.as_fd());
        let report = spawned.report.read(End::Unknown);
        match report {
            Report::Pending => {}
            Report::Executed { uid, stderr } => {
                assert!(stderr.is_some(), "it says where its standard error goes");
                break executed(uid);
            }
            Report::Failed { .. } => break report,
        }
    };
    wait_readable(&spawned.pidfd.as_fd());
    let dead = reap(Who::Process(spawned.pid)).unwrap();
    (report, dead.map(|Dead { status, .. }| status))
}

fn wait_readable(fd: &impl AsFd) {
    poll(
        &mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)],
        PollTimeout::NONE,
    )
    .unwrap();
}

/// A child comes to rest nowhere but where it waits for its leave.
fn wait_until_at_rest(child: &Spawned) {
    while !crate::sys::is_at_rest(child.pid) {
        assert!(
            !crate::sys::is_dead_by_pidfd(child.pidfd.as_fd()),
            "it did not wait"
        );
        std::thread::yield_now();
    }
}

fn own_uid() -> u32 {
    Uid::current().as_raw()
}

/// Its standard error is looked at by other tests.
fn executed(uid: u32) -> Report {
    Report::Executed { uid, stderr: None }
}

fn ran(status: i32) -> Outcome {
    (executed(own_uid()), Some(crate::sys::ExitStatus::Code(status)))
}

/// What `key` is in the lines `key<TAB>value` of /proc/PID/status.
fn field<'a>(status: &'a str, key: &str) -> &'a str {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .unwrap()
        .trim()
}

#[test]
fn an_app_is_born_as_the_design_says() {
    alone("launch::tests::an_app_is_born_as_the_design_says", || {
        let mut bench = Bench::new();
        bench.umask = Some(0o27);
        bench.env = vec![
            ("COLOUR".into(), "blue".into()),
            ("NOTIFY_SOCKET".into(), "/configured".into()),
        ];
        // The worst neighbourhood: the listeners lie at 3 and up in the wrong order, an fd leaks, signals are blocked.
        let sockets: Vec<UnixDatagram> = (0..4).map(|_| UnixDatagram::unbound().unwrap()).collect();
        let lowest = nix::fcntl::fcntl(&sockets[0], nix::fcntl::FcntlArg::F_DUPFD(3)).unwrap();
        let inodes: Vec<u64> = sockets.iter().map(inode_of).rev().collect();
        SigSet::all().thread_set_mask().unwrap();
        // The status is read without a fork, around which a shell itself blocks signals.
        let script = "umask > umask; pwd > cwd; env > env; while read -r line; do echo \"$line\"; done < /proc/$$/status > status
                      for n in /proc/$$/fd/*; do stat -L -c \"${n##*/} %i\" $n; done > fds
                      cut -d' ' -f5,6 /proc/$$/stat > group; echo $$ > pid; exit 9";
        let names = ["a", "b", "c"];
        let lent: Vec<Lent<'_>> = names
            .iter()
            .zip(sockets.iter().rev())
            .map(|(name, socket)| lend(name, socket))
            .collect();
        let record = bench.resolve(&["sh", "-c", script]).unwrap();
        let probe = lend("probe", &sockets[0]);
        let spawned = bench.spawn(&record, &lent, Some(probe));
        let pid = spawned.pid.to_string();
        SigSet::empty().thread_set_mask().unwrap();
        assert_eq!(conclude(spawned), ran(9));
        assert!(lowest >= 3);

        let fds: Vec<(u32, u64)> = bench
            .read("fds")
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(number, inode)| (number.parse().unwrap(), inode.parse().unwrap()))
            .collect();
        let numbers: Vec<u32> = fds.iter().map(|(number, _)| *number).collect();
        // Redirecting the loop's output, the shell itself holds one more (10 and up).
        assert_eq!(
            numbers.iter().filter(|number| **number < 10).collect::<Vec<_>>(),
            [&0, &1, &2, &3, &4, &5, &6]
        );
        let found: Vec<u64> = fds
            .iter()
            .filter(|(number, _)| (3..=6).contains(number))
            .map(|(_, inode)| *inode)
            .collect();
        assert_eq!(found, inodes);

        let status = bench.read("status");
        for (key, expected) in [("SigBlk", 0), ("SigIgn", 0), ("SigPnd", 0), ("ShdPnd", 0)] {
            assert_eq!(
                u64::from_str_radix(field(&status, key), 16),
                Ok(expected),
                "{key}"
            );
        }
        assert_eq!(
            bench.read("group").trim(),
            format!("{pid} {pid}"),
            "its group and its session"
        );
        assert_eq!(bench.read("pid").trim(), pid);
        assert_eq!(bench.read("umask").trim(), "0027");
        assert_eq!(
            Path::new(bench.read("cwd").trim()),
            bench.directory.path().canonicalize().unwrap()
        );

        let env = bench.read("env");
        let notify = format!("NOTIFY_SOCKET={}", bench.path("notify").display());
        let own = [format!("LISTEN_PID={pid}"), format!("WATCHDOG_PID={pid}"), notify];
        for line in own.iter().map(String::as_str).chain([
            "LISTEN_FDS=4",
            "LISTEN_FDNAMES=a:b:c:probe",
            "SEGUE_NAME=instance",
            "SEGUE_GENERATION=42",
            "SEGUE_WORKER=3",
            "SEGUE_DRAIN_TIMEOUT_MS=30000",
            "WATCHDOG_USEC=2000000",
            "COLOUR=blue",
            "SEGUE_TEST_ALONE=1",
        ]) {
            assert!(env.lines().any(|other| other == line), "{line} in\n{env}");
        }
    });
}

fn lend<'a>(name: &'a str, socket: &'a UnixDatagram) -> Lent<'a> {
    Lent {
        name,
        fd: socket.as_fd(),
        address: OsStr::new("/run/segue/one"),
        port: None,
    }
}

#[test]
fn a_worker_is_told_of_its_listeners_by_its_arguments_and_by_its_protocol() {
    alone(
        "launch::tests::a_worker_is_told_of_its_listeners_by_its_arguments_and_by_its_protocol",
        || {
            let mut bench = Bench::new();
            bench.env = vec![
                ("AT".into(), "{fd:web} {address:web}".into()),
                ("RAW".into(), "{fd:web}".into()),
            ];
            bench.templates = vec!["AT".into()];
            bench.protocol = Protocol::Nginx;
            let socket = UnixDatagram::unbound().unwrap();
            let script = "env > env; echo \"$1\" > arguments";
            let words = [
                "sh",
                "-c",
                script,
                "sh",
                "{fd:web} {generation}.{worker} ${fd:web} {fd}",
            ];
            let record = bench.resolve(&words).unwrap();
            assert_eq!(
                conclude(bench.spawn(&record, &[lend("web", &socket)], None)),
                ran(0)
            );
            assert_eq!(bench.read("arguments").trim(), "3 42.3 ${fd:web} {fd}");
            let env = bench.read("env");
            for line in ["AT=3 /run/segue/one", "RAW={fd:web}", "NGINX=3;"] {
                assert!(env.lines().any(|other| other == line), "{line} in\n{env}");
            }
            assert!(!env.contains("LISTEN_"), "{env}");
        },
    );
}

fn inode_of(socket: &UnixDatagram) -> u64 {
    fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd()))
        .unwrap()
        .ino()
}

#[test]
fn no_listener_means_no_listen_variables_and_a_wrapper_gets_no_pid() {
    alone(
        "launch::tests::no_listener_means_no_listen_variables_and_a_wrapper_gets_no_pid",
        || {
            let mut bench = Bench::new();
            assert_eq!(bench.run(&["sh", "-c", "env > env"]), ran(0));
            assert!(!bench.read("env").contains("LISTEN_"), "{}", bench.read("env"));
            bench.own_pid = OwnPid::LeftOut;
            let socket = UnixDatagram::unbound().unwrap();
            let record = bench.resolve(&["sh", "-c", "env > env"]).unwrap();
            let lent = [lend("web", &socket)];
            assert_eq!(conclude(bench.spawn(&record, &lent, None)), ran(0));
            let env = bench.read("env");
            assert!(
                env.contains("LISTEN_FDS=1\n") && env.contains("WATCHDOG_USEC="),
                "{env}"
            );
            assert!(
                !env.contains("LISTEN_PID=") && !env.contains("WATCHDOG_PID="),
                "{env}"
            );
        },
    );
}

#[test]
fn the_limits_are_those_of_the_supervisors_birth() {
    alone(
        "launch::tests::the_limits_are_those_of_the_supervisors_birth",
        || {
            use nix::sys::resource::{Resource, getrlimit, setrlimit};
            let bench = Bench::new();
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, 200, hard).unwrap();
            let record = bench.resolve(&["sh", "-c", "ulimit -Sn > soft"]).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
            assert_eq!(bench.run_record(&record), ran(0));
            assert_eq!(bench.read("soft").trim(), "200");
        },
    );
}

#[test]
fn scripts_run_by_path_and_when_replaced_the_old_one_by_fd() {
    alone(
        "launch::tests::scripts_run_by_path_and_when_replaced_the_old_one_by_fd",
        || {
            let bench = Bench::new();
            bench.write("app", 0o755, "#!/bin/sh\necho $0 >> names\nexit 5\n");
            let record = bench.resolve(&["./app"]).unwrap();
            assert_eq!(
                record.binary().real_path(),
                bench.path("app").canonicalize().unwrap()
            );
            assert_eq!(bench.run_record(&record), ran(5));
            bench.write("app", 0o755, "#!/bin/sh\nexit 6\n");
            assert_eq!(
                bench.run_record(&record),
                ran(5),
                "the birth record holds what was opened"
            );
            assert_eq!(
                bench.run(&["./app"]),
                ran(6),
                "a new record finds what is there now"
            );
            fs::remove_file(bench.path("app")).unwrap();
            assert_eq!(bench.run_record(&record), ran(5), "and even without a path");
            let names = bench.read("names");
            let names: Vec<&str> = names.lines().collect();
            assert_eq!(names[0], "./app");
            assert!(names[1].starts_with("/dev/fd/"), "{names:?}");
        },
    );
}

#[test]
fn a_replaced_binary_is_executed_by_fd_and_keeps_no_fd() {
    alone(
        "launch::tests::a_replaced_binary_is_executed_by_fd_and_keeps_no_fd",
        || {
            let bench = Bench::new();
            fs::create_dir(bench.path("releases")).unwrap();
            bench.write("releases/sh", 0o755, fs::read("/bin/sh").unwrap());
            std::os::unix::fs::symlink("releases", bench.path("current")).unwrap();
            let script = "for n in /proc/$$/fd/*; do [ -e $n ] && echo ${n##*/}; done > fds; tr '\\0' ' ' < /proc/$$/cmdline > argv; exit 8";
            let record = bench.resolve(&["current/sh", "-c", script]).unwrap();
            assert_eq!(
                record.binary().real_path(),
                bench.path("releases/sh").canonicalize().unwrap()
            );
            fs::remove_file(bench.path("current")).unwrap();
            std::os::unix::fs::symlink("elsewhere", bench.path("current")).unwrap();
            assert_eq!(bench.run_record(&record), ran(8));
            assert!(bench.read("argv").starts_with("current/sh -c "));
            let fds = bench.read("fds");
            let low: Vec<&str> = fds.lines().filter(|number| number.len() == 1).collect();
            assert_eq!(low, ["0", "1", "2"]);
        },
    );
}

#[test]
fn each_reason_is_one_clear_line() {
    alone("launch::tests::each_reason_is_one_clear_line", || {
        let bench = Bench::new();
        bench.write("plain", 0o644, "#!/bin/sh\n");
        bench.write("garbage", 0o755, [0x7f, b'E', b'L', b'F', 9, 9, 9]);
        bench.write("unmarked", 0o755, "echo no interpreter line\n");
        bench.write("empty", 0o755, "");
        bench.write("lost", 0o755, "#!/nowhere/python3 -u\n");
        fs::create_dir(bench.path("directory")).unwrap();
        nix::unistd::mkfifo(
            &bench.path("fifo"),
            nix::sys::stat::Mode::from_bits_truncate(0o777),
        )
        .unwrap();
        std::os::unix::fs::symlink("loop", bench.path("loop")).unwrap();
        let wrong = "exec format error (wrong architecture, or a script without #!)";
        for (command, expected) in [
            ("./missing", "exec ./missing: no such file or directory"),
            ("./plain", "exec ./plain: permission denied"),
            ("./plain/app", "exec ./plain/app: not a directory"),
            ("./directory", "exec ./directory: is a directory"),
            ("./fifo", "exec ./fifo: not a regular file"),
            ("./loop", "exec ./loop: too many symbolic links encountered"),
            ("./garbage", &format!("exec ./garbage: {wrong}")),
            ("./unmarked", &format!("exec ./unmarked: {wrong}")),
            ("./empty", "exec ./empty: exec format error (the file is empty)"),
            (
                "./lost",
                "exec ./lost: no such file or directory (its interpreter /nowhere/python3 is missing)",
            ),
            ("no-such-program", "exec no-such-program: not found in PATH"),
            ("empty", "exec empty: not found in PATH (did you mean ./empty?)"),
            ("", "exec : the command is empty"),
            ("./a\nb", "exec ./a\\nb: no such file or directory"),
        ] {
            assert_eq!(bench.reason(&[command]), expected);
        }
        let long = "x".repeat(4 << 20);
        assert_eq!(
            bench.reason(&["true", &long]),
            "exec true: argument list too long"
        );
        assert_eq!(bench.resolve(&[]).unwrap_err(), "no command given");
        assert_eq!(
            bench.resolve(&["true", "a\0b"]).unwrap_err(),
            "argument \"a\\0b\": contains a NUL byte"
        );
    });
}

#[test]
fn a_missing_loader_is_named_as_such() {
    alone("launch::tests::a_missing_loader_is_named_as_such", || {
        let bench = Bench::new();
        let mut image = fs::read("/bin/true").unwrap();
        let Some(place) = image.windows(4).position(|bytes| bytes == b"/ld-") else {
            return; // A statically linked system has no loader to miss.
        };
        image[place + 1] = b'x';
        bench.write("app", 0o755, image);
        assert_eq!(
            bench.reason(&["./app"]),
            "exec ./app: no such file or directory (its dynamic loader is missing)"
        );
    });
}

#[test]
fn path_is_the_apps_own_and_skips_what_cannot_be_executed() {
    alone(
        "launch::tests::path_is_the_apps_own_and_skips_what_cannot_be_executed",
        || {
            let mut bench = Bench::new();
            fs::create_dir_all(bench.path("one/app")).unwrap();
            fs::create_dir(bench.path("two")).unwrap();
            fs::create_dir(bench.path("three")).unwrap();
            bench.env = vec![("PATH".into(), "nowhere:one:two:three".into())];
            bench.write("two/app", 0o644, "#!/bin/sh\nexit 2\n");
            let refused = "exec app: is a directory (one/app)";
            assert_eq!(bench.reason(&["app"]), refused);
            bench.write("three/app", 0o755, "#!/bin/sh\nexit 3\n");
            assert_eq!(bench.run(&["app"]), ran(3));
        },
    );
}

#[test]
fn a_file_that_is_being_written_is_waited_for_and_not_for_ever() {
    alone(
        "launch::tests::a_file_that_is_being_written_is_waited_for_and_not_for_ever",
        || {
            let bench = Bench::new();
            bench.write("app", 0o755, fs::read("/bin/true").unwrap());
            let mut writer = fs::OpenOptions::new()
                .append(true)
                .open(bench.path("app"))
                .unwrap();
            writer.write_all(b"\0").unwrap();
            let record = bench.resolve(&["./app"]).unwrap();
            let busy = "exec ./app: text file busy (it is still being written)";
            assert_eq!(
                bench.run_record(&record).0,
                Report::Failed {
                    text: busy.to_owned()
                }
            );

            // The child holds the write end too until exec, so the close that ends the waiting is that of the parent's
            // child: hand the writing to a process that ends on its own.
            drop(writer);
            let mut holder = std::process::Command::new("/bin/sh")
                .args(["-c", "exec 3>>app; echo held; exec sleep 0.05 >/dev/null"])
                .current_dir(bench.directory.path())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0; 5]).unwrap();
            assert_eq!(bench.run_record(&record), ran(0));
            holder.wait().unwrap();
        },
    );
}

#[test]
fn root_starts_an_app_as_another_user_who_owns_the_notify_socket() {
    alone(
        "launch::tests::root_starts_an_app_as_another_user_who_owns_the_notify_socket",
        || {
            let mut bench = Bench::new();
            bench.user = Some("nobody");
            let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
            if !Uid::current().is_root() {
                // The user who runs the tests is neither root nor, in all likelihood, this one.
                (bench.user, bench.group) = (Some("4242424"), Some("4242"));
                let expected =
                    "run as uid 4242424: operation not permitted (segue must run as root for that)";
                assert_eq!(bench.reason(&["true"]), expected);
                return;
            }
            let record = bench
                .resolve(&["sh", "-c", "cat /proc/$$/status > status; env > env"])
                .unwrap();
            assert_eq!(bench.run_record(&record).0, executed(nobody.uid.as_raw()));
            let status = bench.read("status");
            let all = |id: u32| vec![id.to_string(); 4].join("\t");
            assert_eq!(field(&status, "Uid"), all(nobody.uid.as_raw()));
            assert_eq!(field(&status, "Gid"), all(nobody.gid.as_raw()));
            assert_eq!(field(&status, "Groups"), nobody.gid.to_string());
            assert_eq!(field(&status, "CapEff"), "0000000000000000");
            assert_eq!(
                fs::metadata(bench.path("notify")).unwrap().uid(),
                nobody.uid.as_raw()
            );
            let env = bench.read("env");
            assert!(
                env.contains("USER=nobody\n") && env.contains(&format!("HOME={}\n", nobody.dir.display())),
                "{env}"
            );

            bench.user = Some("4242424");
            let bare = "user 4242424: not in the user database (a bare number needs a group, too)";
            assert_eq!(bench.reason(&["true"]), bare);
            bench.group = Some("4242");
            assert_eq!(bench.run(&["true"]).0, executed(4_242_424));
            bench.user = Some("root");
            bench.group = None;
            assert_eq!(bench.run(&["true"]), ran(0));
        },
    );
}

#[test]
fn an_unknown_user_or_group_is_reported_by_the_child() {
    alone(
        "launch::tests::an_unknown_user_or_group_is_reported_by_the_child",
        || {
            let mut bench = Bench::new();
            bench.user = Some("nobody-knows-me");
            assert_eq!(bench.reason(&["true"]), "user nobody-knows-me: no such user");
            bench.user = None;
            bench.group = Some("nobody-knows-us");
            assert_eq!(bench.reason(&["true"]), "group nobody-knows-us: no such group");
            bench.group = None;
            bench.user = Some("root");
            if Uid::current().is_root() {
                assert_eq!(bench.run(&["true"]), ran(0), "naming oneself changes nothing");
            }
        },
    );
}

#[test]
fn pwd_is_the_directory_itself_whatever_led_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(directory.path()).unwrap();
    for release in ["release-1", "release-2"] {
        fs::create_dir(root.join(release)).unwrap();
    }
    let current = root.join("current");
    std::os::unix::fs::symlink("release-1", &current).unwrap();
    let command = [OsString::from("true")];
    let mut inherited_environment = InheritedEnvironment::of_this_process();
    inherited_environment.variables = vec![("PWD".into(), current.clone().into())];
    let pwd =
        |chdir: Option<&Path>, env: &[(OsString, OsString)], inherited_environment: &InheritedEnvironment| {
            let wanted = Wanted {
                command: &command,
                chdir,
                env,
                user: None,
                group: None,
                umask: None,
                stderr: None,
                oom_score: None,
                own_pid: OwnPid::Set,
                last_signal: None,
                protocol: Protocol::Systemd,
                templates: &[],
                listeners: None,
            };
            let program = super::program::Program::resolve(&wanted, inherited_environment).unwrap();
            program.environment().get("PWD").map(PathBuf::from)
        };
    assert_eq!(
        pwd(Some(&current), &[], &inherited_environment),
        Some(root.join("release-1"))
    );
    let configured = [("PWD".into(), "/srv".into())];
    assert_eq!(
        pwd(Some(&current), &configured, &inherited_environment),
        Some("/srv".into())
    );
    // Where segue itself was started: that does not move with a symlink either.
    let here = std::env::current_dir().unwrap();
    assert_eq!(pwd(None, &[], &inherited_environment), Some(here));
    inherited_environment.variables.clear();
    assert_eq!(pwd(None, &[], &inherited_environment), None, "nobody has asked");
    assert_eq!(
        pwd(Some(&current), &[], &inherited_environment),
        Some(root.join("release-1"))
    );
}

#[test]
fn a_working_directory_that_is_not_there_is_named() {
    let command = [OsString::from("true")];
    let wanted = Wanted {
        command: &command,
        chdir: Some(Path::new("/nowhere/at all")),
        stderr: None,
        env: &[],
        user: None,
        group: None,
        umask: None,
        oom_score: None,
        own_pid: OwnPid::Set,
        last_signal: None,
        protocol: Protocol::Systemd,
        templates: &[],
        listeners: None,
    };
    let error = BirthRecord::resolve(&wanted, &InheritedEnvironment::of_this_process()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "chdir /nowhere/at all: no such file or directory"
    );
}

#[test]
fn a_probe_runs_in_a_shell_with_the_apps_environment_and_no_socket() {
    alone(
        "launch::tests::a_probe_runs_in_a_shell_with_the_apps_environment_and_no_socket",
        || {
            let mut bench = Bench::new();
            bench.env = vec![("COLOUR".into(), "blue".into())];
            let record = bench.resolve(&["true"]).unwrap();
            let probe = bench.path("probe");
            let command = "read line; env > env; readlink /proc/$$/fd/0 > stdin; exit 4";
            let question = Question {
                name: "instance",
                command,
                probe_path: Some(&probe),
                front_door: Some((([127, 0, 0, 1], 8080).into(), "127.200.1.2")),
                runtime: None,
            };
            let spawned = record.spawn_shell(&[], WORKER, &question).unwrap();
            assert_eq!(conclude(spawned), ran(4));
            let env = bench.read("env");
            assert!(
                env.contains(&format!("SEGUE_PROBE={}\n", probe.display()))
                    && env.contains("SEGUE_PROBE_ADDRESS=127.0.0.1:8080\n")
                    && env.contains("SEGUE_PROBE_SOURCE=127.200.1.2\n"),
                "{env}"
            );
            assert!(
                env.contains("COLOUR=blue\n") && env.contains("SEGUE_GENERATION=42\n"),
                "{env}"
            );
            assert!(
                !env.contains("NOTIFY_SOCKET=") && !env.contains("LISTEN_"),
                "{env}"
            );
            assert_eq!(bench.read("stdin").trim(), "/dev/null");
        },
    );
}

#[test]
fn a_hundred_launches_leave_no_fd_behind() {
    alone("launch::tests::a_hundred_launches_leave_no_fd_behind", || {
        let bench = Bench::new();
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        for _ in 0..100 {
            assert_eq!(bench.run(&["true"]), ran(0));
            assert!(
                bench
                    .reason(&["./missing"])
                    .ends_with("no such file or directory")
            );
        }
        assert_eq!(open(), before);
    });
}

#[test]
fn nothing_is_executed_before_the_leave_and_a_child_that_never_gets_it_exits_in_silence() {
    alone(
        "launch::tests::nothing_is_executed_before_the_leave_and_a_child_that_never_gets_it_exits_in_silence",
        || {
            let bench = Bench::new();
            let record = bench.resolve(&["/bin/sh", "-c", "echo ran >> ran"]).unwrap();
            // The second holds a copy of what the first waits for, as long as it waits itself.
            let (first, second) = (bench.spawn(&record, &[], None), bench.spawn(&record, &[], None));
            for child in [&first, &second] {
                wait_until_at_rest(child);
            }
            assert!(!bench.path("ran").exists());
            let ended = [(first.pid, first.pidfd), (second.pid, second.pidfd)];
            drop((first.go, second.go));
            for (pid, pidfd) in ended {
                wait_readable(&pidfd);
                let status = reap(Who::Process(pid)).unwrap().map(|dead| dead.status);
                assert_eq!(status, Some(crate::sys::ExitStatus::Code(127)));
            }
            assert!(!bench.path("ran").exists());
            assert_eq!(bench.run_record(&record), ran(0));
            assert_eq!(bench.read("ran"), "ran\n");
        },
    );
}

#[test]
fn a_child_that_waits_for_its_leave_takes_signals_as_the_app_would() {
    alone(
        "launch::tests::a_child_that_waits_for_its_leave_takes_signals_as_the_app_would",
        || {
            let bench = Bench::new();
            let record = bench.resolve(&["/bin/true"]).unwrap();
            SigSet::all().thread_set_mask().unwrap();
            let child = bench.spawn(&record, &[], None);
            wait_until_at_rest(&child);
            crate::sys::signal_by_pidfd(child.pidfd.as_fd(), Some(nix::sys::signal::Signal::SIGTERM))
                .unwrap();
            wait_readable(&child.pidfd);
            let status = reap(Who::Process(child.pid)).unwrap().map(|dead| dead.status);
            let terminated = crate::sys::ExitStatus::Signal {
                number: libc::SIGTERM,
                core_dumped: false,
            };
            assert_eq!(status, Some(terminated));
            child.go.begin().unwrap();
        },
    );
}

/// What the next supervisor gets: the row, and the fds that came along.
struct Left {
    state: Vec<u8>,
    fds: crate::state::Fds,
}

impl Left {
    fn by(record: &BirthRecord, fds: &[&str]) -> Left {
        let mut rows = crate::state::Rows::default();
        record.save(7, &mut rows);
        let mut left = Left {
            state: rows.finish(),
            fds: crate::state::Fds::default(),
        };
        for (name, fd) in record.fds(7) {
            if fds.contains(&name.as_str()) {
                left.fds.put(name, fd.try_clone_to_owned().unwrap());
            }
        }
        left
    }

    fn restore(&mut self, processes: &[nix::unistd::Pid]) -> Result<BirthRecord, String> {
        let rows = crate::state::Row::all(&self.state).unwrap();
        let inherited_environment = InheritedEnvironment::of_this_process();
        BirthRecord::restore(&rows[0], &mut self.fds, processes, &inherited_environment)
            .map_err(|flaw| flaw.to_string())
    }
}

#[test]
fn a_birth_record_that_was_left_to_the_next_supervisor_starts_the_same() {
    alone(
        "launch::tests::a_birth_record_that_was_left_to_the_next_supervisor_starts_the_same",
        || {
            use std::os::unix::ffi::OsStringExt;
            let mut bench = Bench::new();
            bench.umask = Some(0o27);
            bench.own_pid = OwnPid::LeftOut;
            bench.last_signal = Some(nix::sys::signal::Signal::SIGWINCH);
            bench.env = vec![
                (
                    "COLOUR".into(),
                    OsString::from_vec(vec![b'a', 255, b'=', b'\n', b'%']),
                ),
                ("HOME".into(), "".into()),
            ];
            bench.write(
                "app",
                0o755,
                "#!/bin/sh\n{ printf '%s|' \"$@\"; pwd; umask; ulimit -a; env | sort; } > out\n",
            );
            let record = bench.resolve(&["./app", "", "two words", "ü\n"]).unwrap();
            assert_eq!(bench.run_record(&record), ran(0));
            let out = || fs::read(bench.path("out")).unwrap();
            let before = out();
            for fds in [&["binary-7", "cwd-7"][..], &[]] {
                let again = Left::by(&record, fds).restore(&[]).unwrap();
                assert_eq!(again.binary().real_path(), record.binary().real_path());
                assert_eq!(again.own_pid, OwnPid::LeftOut);
                assert_eq!(bench.run_record(&again), ran(0));
                assert_eq!(out(), before, "{fds:?}");
                // What is left once more says the same.
                assert_eq!(Left::by(&again, &[]).state, Left::by(&record, &[]).state);
            }
        },
    );
}

/// A process that ends with the test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_replaced_binary_is_found_by_its_fd_or_in_a_process_that_executes_it_and_never_mistaken() {
    alone(
        "launch::tests::a_replaced_binary_is_found_by_its_fd_or_in_a_process_that_executes_it_and_never_mistaken",
        || {
            let bench = Bench::new();
            bench.write("app", 0o755, fs::read("/bin/sleep").unwrap());
            let record = bench.resolve(&["./app", "1000"]).unwrap();
            let mut command = std::process::Command::new(bench.path("app"));
            command.arg("1000").current_dir(bench.directory.path());
            let worker = Killed(command.stdout(std::process::Stdio::null()).spawn().unwrap());
            let pid = nix::unistd::Pid::from_raw(worker.0.id() as i32);
            bench.write("app", 0o755, fs::read("/bin/false").unwrap());
            let inode = record.binary().inode();

            let found = |fds: &[&str], pids: &[nix::unistd::Pid]| Left::by(&record, fds).restore(pids);
            assert_eq!(found(&["binary-7"], &[]).unwrap().binary().inode(), inode);
            assert_eq!(found(&[], &[pid]).unwrap().binary().inode(), inode);
            let reason = found(&[], &[nix::unistd::Pid::this()]).unwrap_err();
            let path = bench.directory.path().canonicalize().unwrap().join("app");
            assert_eq!(
                reason,
                format!(
                    "state: the binary {path:?} of generation 7 (inode {inode}) was removed or replaced, and no living process \
                     executes it"
                )
            );
            // An fd of another file under the right name is not believed.
            let mut left = Left::by(&record, &[]);
            left.fds
                .put("binary-7".into(), File::open("/bin/false").unwrap().into());
            assert_eq!(left.restore(&[]).unwrap_err(), reason);

            // The directory has another name now, and another lies where it was.
            let old = bench.directory.path().to_owned();
            let moved = old.with_extension("moved");
            let (mut with_process, mut without) =
                (Left::by(&record, &["binary-7"]), Left::by(&record, &["binary-7"]));
            fs::rename(&old, &moved).unwrap();
            fs::create_dir(&old).unwrap();
            assert!(with_process.restore(&[pid]).is_ok());
            let reason = without.restore(&[]).unwrap_err();
            assert!(
                reason.starts_with("state: the working directory ")
                    && reason.ends_with(" of generation 7 is gone"),
                "{reason}"
            );
            fs::remove_dir(&old).unwrap();
            fs::rename(&moved, &old).unwrap();
        },
    );
}

#[test]
fn a_launch_under_way_and_our_inherited_environment_go_on_where_they_were() {
    let (mut pipe, end) = ReportSocket::open().unwrap();
    Reporter(end.as_fd()).uid(1000);
    assert_eq!(pipe.read(End::Unknown), Report::Pending);
    let inherited_environment = InheritedEnvironment::of_this_process();
    let mut rows = crate::state::Rows::default();
    pipe.save("3.0.1", &mut rows);
    inherited_environment.save(&mut rows);
    let state = rows.finish();
    let rows = crate::state::Row::all(&state).unwrap();
    let mut fds = crate::state::Fds::default();
    assert!(ReportSocket::restore(&rows[0], &mut fds).unwrap().is_none());
    fds.put(
        ReportSocket::name("3.0.1"),
        pipe.as_fd().try_clone_to_owned().unwrap(),
    );
    let mut again = ReportSocket::restore(&rows[0], &mut fds).unwrap().unwrap();
    assert_eq!(again.read(End::Unknown), Report::Pending);
    drop(end);
    // A child that another test forks just now has it, too, until it executes.
    wait_readable(&again.as_fd());
    assert_eq!(again.read(End::Seen), executed(1000));

    let restored = InheritedEnvironment::restore(&rows[1]).unwrap();
    assert_eq!(restored.variables, inherited_environment.variables);
    assert_eq!(restored.limits, inherited_environment.limits);
    assert_eq!(restored.journal, inherited_environment.journal);
}

#[test]
fn what_protects_the_supervisor_from_being_killed_for_memory_is_not_inherited() {
    let command = [OsString::from("true")];
    let score = |given, born| {
        let wanted = Wanted {
            command: &command,
            chdir: None,
            stderr: None,
            env: &[],
            user: None,
            group: None,
            umask: None,
            oom_score: given,
            own_pid: OwnPid::Set,
            last_signal: None,
            protocol: Protocol::Systemd,
            templates: &[],
            listeners: None,
        };
        let inherited_environment = InheritedEnvironment {
            oom_score: born,
            ..InheritedEnvironment::of_this_process()
        };
        let record = BirthRecord::resolve(&wanted, &inherited_environment).expect("true is there");
        record.program.oom_score()
    };
    assert_eq!(score(None, Some(-500)), Some(0));
    assert_eq!(score(None, Some(200)), Some(200));
    assert_eq!(score(Some(-30), Some(-500)), Some(-30));
    assert_eq!(score(None, None), None);
}

//! The table. A row gives only what differs from its base.

use super::{
    FIRST_START, Fault, Lost, New, ON_PROBATION, PLAIN, REFUSED, ROLLED_BACK, files, scene, stories,
};

macro_rules! faults {
    ($($chapter:literal: [$($name:ident = $base:ident { $($field:ident: $value:expr),* $(,)? })*])*) => {
        /// Every row, in the order of the document.
        pub(super) const TABLE: &[Fault] = &[$($(
            Fault { name: stringify!($name), chapter: $chapter, $($field: $value,)* ..$base },
        )*)*];

        $($(
            #[test]
            fn $name() {
                let fault = TABLE.iter().find(|fault| fault.name == stringify!($name));
                scene::run(fault.unwrap());
            }
        )*)*
    };
}

faults! {
    "The new program cannot be started": [
        missing_file = REFUSED {
            wrong: "The program is not there",
            does: "The reload is refused before anything is started.",
            new: New::File(files::missing),
            says: "segue: reload failed: generation 2: exec ./app: no such file or directory; generation 1 serves (pid …)",
        }
        directory_in_its_place = REFUSED {
            wrong: "A directory is in the program's place",
            does: "The reload is refused.",
            new: New::File(files::directory),
            says: "segue: reload failed: generation 2: exec ./app: is a directory; generation 1 serves (pid …)",
        }
        not_executable = REFUSED {
            wrong: "The program is not executable",
            does: "The reload is refused.",
            new: New::File(files::not_executable),
            says: "segue: reload failed: generation 2: exec ./app: permission denied; generation 1 serves (pid …)",
        }
        dangling_symlink = REFUSED {
            wrong: "The program is a symlink to a release that has been removed",
            does: "Symlinks are followed anew at each reload; this reload is refused.",
            new: New::File(files::dangling_symlink),
            says: "segue: reload failed: generation 2: exec ./app: no such file or directory; generation 1 serves (pid …)",
        }
        missing_interpreter = REFUSED {
            wrong: "The script's interpreter is not installed",
            does: "The reload fails and names the interpreter, since the kernel's own error names nothing.",
            new: New::File(files::no_interpreter),
            says: "segue: reload failed: generation 2: exec ./app: no such file or directory (its interpreter \
                   /opt/python4/bin/python is missing); generation 1 serves (pid …)",
        }
        empty_file = REFUSED {
            wrong: "The program is an empty file",
            does: "The reload fails; a copy that ran out of disk space leaves such files.",
            new: New::File(files::empty),
            says: "segue: reload failed: generation 2: exec ./app: exec format error (the file is empty); generation 1 serves (pid …)",
        }
        half_written_binary = REFUSED {
            wrong: "The binary is only half written",
            does: "The kernel starts it and it dies of the missing half; the incumbent runs from the file that it \
                   was started from and notices nothing.",
            new: New::File(files::half_written),
            says: "segue: reload failed: generation 2: killed by SIG… after …; generation 1 serves (pid …)",
        }
        wrong_architecture = REFUSED {
            wrong: "The binary was built for another architecture",
            does: "The reload fails with the kernel's reason.",
            new: New::File(files::wrong_architecture),
            says: "segue: reload failed: generation 2: exec ./app: exec format error (wrong architecture, or a script without \
                   #!); generation 1 serves (pid …)",
        }
        still_being_written = REFUSED {
            wrong: "The binary is still open for writing",
            does: "exec is tried again for about half a second, for a copy that is just ending; then the reload \
                   fails.",
            new: New::File(files::whole_binary),
            story: stories::while_written,
            says: "segue: reload failed: generation 2: exec ./app: text file busy (it is still being written); generation 1 \
                   serves (pid …)",
        }
        release_directory_gone = REFUSED {
            wrong: "The working directory has been removed",
            does: "The directory is looked up anew at each reload; this one is refused.",
            config: Some(TOML),
            new: New::Config("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\nchdir = \"{dir}/release-41\"\n"),
            says: "segue: reload failed: generation 2: chdir …/release-41: no such file or directory; generation 1 serves (pid …)",
        }
        env_file_gone = REFUSED {
            wrong: "The env file cannot be read",
            does: "It is read anew at each reload; this one is refused as a whole.",
            config: Some(TOML),
            new: New::Config("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\nenv-file = \"{dir}/env\"\n"),
            says: "segue: reload failed: generation 2: …/env: no such file or directory; generation 1 serves (pid …)",
        }
        env_file_being_written = PLAIN {
            wrong: "The env file, or segue.toml, is still being written",
            does: "Half of it is never taken: the reload waits until nobody has written to it for 200 ms; after 5 \
                   s without such a rest it is refused; write beside it, then rename.",
            flags: &["--env-file=-{dir}/env"],
            new: New::File(files::env_being_written),
        }
        mistake_in_segue_toml = REFUSED {
            wrong: "segue.toml has a mistake",
            does: "The file is read anew at each reload, and applied as a whole or refused as a whole, with line \
                   and key.",
            config: Some(TOML),
            new: New::Config("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\nstart-timeuot = \"5s\"\n"),
            says: "segue: reload failed: generation 2: segue.toml:3: start-timeuot: …; generation 1 serves (pid …)",
        }
        unknown_user = REFUSED {
            wrong: "The app's user does not exist",
            does: "Users and groups are looked up in the new process, never by the supervisor; the candidate fails.",
            config: Some(TOML),
            new: New::Config("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\nuser = \"no-such-user\"\n"),
            says: "segue: reload failed: generation 2: …no-such-user…; generation 1 serves (pid …)",
        }
        name_changed = REFUSED {
            wrong: "segue.toml gives the instance another name at a reload",
            does: "Name and control socket are fixed at the start; the reload is refused.",
            config: Some("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\nname = \"shop\"\n"),
            new: New::Config("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\nname = \"store\"\n"),
            says: "segue: reload failed: generation 2: …name…; generation 1 serves (pid …)",
        }
    ]
    "The new version dies before it is ready": [
        crash_at_start = REFUSED {
            wrong: "It crashes at start",
            does: "The reload fails at once with the exit status; nobody told the incumbent anything.",
            new: New::App("crash-at-start"),
            says: "segue: reload failed: generation 2: exited with status 101 after …; generation 1 serves (pid …)",
            logs: &["reload failed: generation 2: exited with status 101 after …; generation 1 serves (pid …)"],
        }
        killed_at_start = REFUSED {
            wrong: "It dies of a signal at start",
            does: "The reload fails at once and names the signal.",
            new: New::App("killed-at-start"),
            says: "segue: reload failed: generation 2: killed by SIGSEGV… after …; generation 1 serves (pid …)",
        }
        exit_0_at_once = REFUSED {
            wrong: "It exits with status 0 without ever having been ready",
            does: "Nobody asked it to exit, so this is a failure too.",
            new: New::App("exit-0-at-once"),
            says: "segue: reload failed: generation 2: exited with status 0 after …; generation 1 serves (pid …)",
        }
        ready_and_dead_at_once = REFUSED {
            wrong: "It says READY=1 and exits in the same breath",
            does: "Before the incumbent is told to drain, every worker of the candidate is looked at once more: it \
                   is dead, so \
                   it has failed.",
            flags: &["--soak", "1s"],
            new: New::App("ready-and-exit"),
            says: "segue: reload failed: generation 2: exited with status 0 after …; generation 1 serves (pid …)",
        }
        says_why_it_dies = REFUSED {
            wrong: "It says why it cannot start (STATUS=, ERRNO=) and exits",
            does: "What it said is part of the reason, and so is the last line of its stderr where that is a file \
                   (see --stderr).",
            new: New::App("status-then-dies errno=111"),
            says: "segue: reload failed: generation 2: exited with status 1 after …; its last STATUS: \"cannot reach the database\" \
                   (errno 111: connection refused); generation 1 serves (pid …)",
        }
        one_worker_of_two_dies = REFUSED {
            wrong: "One of its workers starts and the other one does not",
            does: "A generation is ready when all of its workers are: the candidate fails, and the worker that is \
                   well is told to drain.",
            flags: &["--workers", "2"],
            new: New::Script("[ \"$SEGUE_WORKER\" = 1 ] && exit 9; export LISTEN_PID=$$; exec {fixture} good"),
            says: "segue: reload failed: generation 2: exited with status 9 after …; generation 1 serves (pids …)",
            lost: Lost::Nothing,
        }
        wrapper_forks = REFUSED {
            wrong: "A wrapper script forks instead of exec'ing, so LISTEN_PID names the wrapper",
            does: "An app that reads LISTEN_FDS strictly refuses the sockets; write `exec` in the script, or let \
                   it run `segue exec -- APP`.",
            new: New::Script("{fixture} good; exit 7"),
            says: "segue: reload failed: generation 2: exited with status 7 after …; generation 1 serves (pid …)",
            logs: &["fixture good …: LISTEN_PID=…, I am …: a wrapper forked"],
        }
        wrapper_closes_the_sockets = REFUSED {
            wrong: "A wrapper closes the sockets before it starts the app, as Node, npm and sudo do",
            does: "`segue exec` looks for every socket before it becomes the app, and names the one that is \
                   missing; leave such a wrapper out: nothing gives the sockets back.",
            new: New::Script("exec 3<&-; exec {segue} exec -- {fixture} good"),
            says: "segue: reload failed: generation 2: exited with status 125 after …; generation 1 serves (pid …)",
            logs: &["segue: exec: fd 3 (\"listen1\"), which LISTEN_FDS=1 promises, is not open: …"],
        }
        binds_the_port_itself = REFUSED {
            wrong: "It ignores the sockets that it was given and binds the port itself",
            does: "The port is taken, by the supervisor, so the app fails; where its stderr is a file (--stderr), \
                   the answer says so: segue has this port; the app must take the socket at fd 3.",
            new: New::App("binds-itself"),
            says: "segue: reload failed: generation 2: exited with status 1 after …; generation 1 serves (pid …)",
        }
        main_process_leaves_its_child_behind = REFUSED {
            wrong: "It forks a child that serves, and its main process exits",
            does: "The main process is the worker, and it has exited; the rest of its process group is told to \
                   stop with what remains of the drain timeout.",
            new: New::App("forks-child-and-exits"),
            says: "segue: reload failed: generation 2: exited with status 0 after …; generation 1 serves (pid …)",
            lost: Lost::AcceptedBy(&[2]),
        }
        killed_while_it_starts = REFUSED {
            wrong: "Somebody (or the kernel, out of memory) kills it while it starts",
            does: "The reload fails at once and names the signal.",
            new: New::App("waits-in-vain"),
            story: stories::candidate_killed_while_starting,
            says: "segue: reload failed: generation 2: killed by SIGKILL after …; generation 1 serves (pid …)",
        }
    ]
    "The new version is never ready": [
        never_ready = REFUSED {
            wrong: "It serves but never says READY=1, as the old version did",
            does: "After --start-timeout the candidate has failed; it is retired like any other generation, since \
                   it may have accepted connections: stop signal, drain, and only then KILL.",
            flags: &["--start-timeout", "2s"],
            new: New::App("never-ready"),
            says: "segue: reload failed: generation 2: not ready after 2s; generation 1 serves (pid …)",
            logs: &["generation 2 is gone"],
        }
        never_says_ready = PLAIN {
            wrong: "Neither the old nor the new version ever says READY=1",
            does: "The new one takes over when it has waited for clients on each of its listeners for --ready-after.",
            incumbent: "never-ready",
            new: New::App("never-ready"),
        }
        hint_after_five_seconds = REFUSED {
            wrong: "It neither accepts nor says READY=1, as the old version did",
            does: "After five seconds the log says what is waited for, and which flag an app needs that no longer says it; \
                   the failure says it again.",
            flags: &["--start-timeout", "6s"],
            new: New::App("waits-in-vain"),
            says: "segue: reload failed: generation 2: not ready after 6s (this app has notified, so only READY=1 counts; \
                   a silent one needs --ready accepting); generation 1 serves (pid …)",
            logs: &["still waiting for READY=1 from pid … (1 s left); this app has notified, so only READY=1 counts; a \
                   silent one needs --ready accepting"],
        }
        stubborn = REFUSED {
            wrong: "It is never ready and ignores the stop signal",
            does: "The reload is answered when the start timeout has passed; when the drain timeout has passed \
                   too, the \
                   candidate's process group is killed.",
            flags: &["--start-timeout", "3s", "--drain-timeout", "700ms"],
            new: New::App("stubborn-candidate"),
            says: "segue: reload failed: generation 2: not ready after 3s; generation 1 serves (pid …)",
            logs: &[
                "generation 2, worker 0 (pid …) did not end in time: it is killed",
                "generation 2 is gone",
            ],
            lost: Lost::AcceptedBy(&[2]),
        }
        stopped_process = REFUSED {
            wrong: "It stops itself (SIGSTOP) before it is ready",
            does: "A stopped process neither gets ready nor hears the stop signal; KILL ends it.",
            flags: &["--start-timeout", "2s", "--drain-timeout", "700ms"],
            new: New::App("stopped"),
            says: "segue: reload failed: generation 2: not ready after 2s; generation 1 serves (pid …)",
            logs: &["generation 2 is gone"],
        }
        slow_but_says_so = PLAIN {
            wrong: "It needs longer than --start-timeout and says so in time (EXTEND_TIMEOUT_USEC=)",
            does: "The time that it asks for is granted, as often as it asks, and the takeover happens when it is \
                   ready.",
            flags: &["--start-timeout", "3s"],
            new: New::App("extends-timeout after=4s"),
        }
        extends_and_falls_silent = REFUSED {
            wrong: "It asks for more time once and then falls silent",
            does: "The granted time passes and the candidate has failed.",
            flags: &["--start-timeout", "2s"],
            new: New::App("extends-and-stops"),
            says: "segue: reload failed: generation 2: not ready after …; generation 1 serves (pid …)",
        }
        asks_without_end = REFUSED {
            wrong: "It asks for more time again and again, and for 292,000 years each time",
            does: "Its start takes no longer than --extend-limit in all, 10 minutes if nothing else is said.",
            flags: &["--start-timeout", "3s", "--extend-limit", "4s"],
            new: New::App("asks-for-ever"),
            says: "segue: reload failed: generation 2: not ready after …; generation 1 serves (pid …)",
            logs: &["generation 2, worker 0 (pid …): asks for more time than it gets (EXTEND_TIMEOUT_USEC): 4s in all, counted \
                    from the begin of its start or drain (--extend-limit)"],
        }
        ready_too_late = REFUSED {
            wrong: "It says READY=1 only when it has already been given up",
            does: "A word of a candidate that has failed changes nothing.",
            flags: &["--start-timeout", "2s"],
            new: New::App("ready-at-term"),
            says: "segue: reload failed: generation 2: not ready after 2s; generation 1 serves (pid …)",
            logs: &["generation 2 is gone"],
        }
    ]
    "Ready, but not good": [
        probe_answers_500 = REFUSED {
            wrong: "It says READY=1 and answers every request with an error",
            does: "With --probe a candidate must answer a question of yours before it takes over, on a listener of \
                   its own.",
            flags: &["--probe", "{poll} --timeout 2s --unix", "--probe-timeout", "3s"],
            new: New::App("fails-probe"),
            says: "segue: reload failed: generation 2: the probe did not pass within 3s (last run: …); generation 1 serves (pid …)",
            logs: &["generation 2 is gone"],
        }
        probe_listener_unserved = REFUSED {
            wrong: "It does not serve the listener that the probe asks",
            does: "The reason says so, since everything else about the app may be well.",
            flags: &["--probe", "{poll} --timeout 200ms --unix", "--probe-timeout", "3s"],
            new: New::App("ignores-probe"),
            says: "segue: reload failed: generation 2: the probe did not pass within 3s (last run: …); the app does not serve the \
                   listener \"probe\"; generation 1 serves (pid …)",
            lost: Lost::AcceptedBy(&[2]),
        }
        before_reload_refuses = REFUSED {
            wrong: "The command of --before-reload fails",
            does: "The reload is refused with its last line, before anything of the new version is started.",
            flags: &["--before-reload", "echo no database; exit 3"],
            says: "segue: reload failed: generation 2: before-reload: exited with status 3: …no database; generation 1 serves (pid …)",
        }
        before_reload_hangs = REFUSED {
            wrong: "The command of --before-reload hangs",
            does: "It is killed at --hook-timeout, with all that it has started, and the reload is refused.",
            flags: &["--before-reload", "echo waiting; sleep 1000", "--hook-timeout", "2s"],
            says: "segue: reload failed: generation 2: before-reload: killed after 2s (--hook-timeout): waiting; generation 1 serves (pid …)",
        }
        steered_accepts_nothing = REFUSED {
            wrong: "It says READY=1 and accepts no connection, and listeners are steered",
            does: "No client meets it before it has accepted a connection of Segue's own, which waits in its slot.",
            flags: &["--steer", "--start-timeout", "10s"],
            new: New::App("never-accepts"),
            says: "segue: reload failed: generation 2: READY=1 for 10s, but it accepted no connection on …; generation 1 serves (pid …)",
        }
        accepts_nothing = REFUSED {
            wrong: "It says READY=1 and accepts no connection",
            does: "With --probe the candidate fails; without it a look at its processes shows that nobody waits \
                   for clients: it takes over 2 s later and the answer says so.",
            flags: &["--probe", "{poll} --timeout 200ms --unix", "--probe-timeout", "3s"],
            new: New::App("never-accepts"),
            says: "segue: reload failed: generation 2: the probe did not pass within 3s (last run: …; generation 1 serves (pid …)",
        }
        closes_its_listeners = REFUSED {
            wrong: "It says READY=1 and closes the listeners",
            does: "The supervisor keeps its own copies, so nobody is refused; the probe does not pass.",
            flags: &["--probe", "{poll} --timeout 200ms --unix", "--probe-timeout", "3s"],
            new: New::App("closes-listener"),
            says: "segue: reload failed: generation 2: the probe did not pass within 3s (last run: …; generation 1 serves (pid …)",
        }
        has_no_listener = REFUSED {
            wrong: "It says READY=1 and has none of the listeners any more",
            does: "Its processes are looked at from outside before the takeover, and it needs each listener that \
                   the incumbent has.",
            new: New::App("closes-listener"),
            says: "segue: reload failed: generation 2: READY=1, but no process of it has the listener 127.0.0.1:…; it listens on nothing; \
                   generation 1 serves (pid …)",
        }
        listens_elsewhere = REFUSED {
            wrong: "A wrapper closes the sockets; the app listens on a port of its own and says READY=1 for that",
            does: "The reason names the port; let the wrapper run `segue exec -- APP`, which says what is missing.",
            new: New::Script("exec 3<&-; {fixture} accepts-elsewhere & wait"),
            says: "segue: reload failed: generation 2: READY=1, but no process of it has the listener 127.0.0.1:…; it listens on \
                   127.0.0.1:…; generation 1 serves (pid …)",
        }
        probe_hangs = REFUSED {
            wrong: "The probe command itself hangs",
            does: "It has the time of --probe-timeout; then it and all that it started are killed, and the \
                   candidate has failed.",
            config: Some(TOML),
            new: New::Config("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\nprobe = \"sleep 1000 & sleep 1000\"\nprobe-timeout = \"700ms\"\n"),
            says: "segue: reload failed: generation 2: the probe did not pass within 700ms (last run: still running); generation 1 \
                   serves (pid …)",
        }
        probe_cannot_run = REFUSED {
            wrong: "The probe command does not exist",
            does: "Every run ends with status 127, until the probe's time is over.",
            config: Some(TOML),
            new: New::Config("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\nprobe = \"no-such-probe\"\nprobe-timeout = \"700ms\"\n"),
            says: "segue: reload failed: generation 2: the probe did not pass within 700ms (last run: exited with status 127…; \
                   generation 1 serves (pid …)",
        }
        dies_during_its_probe = REFUSED {
            wrong: "It is killed while it is probed",
            does: "The reload fails at once; the probe is ended.",
            config: Some(TOML),
            new: New::Config("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\nprobe = \"sleep 1000\"\nprobe-timeout = \"none\"\n"),
            story: stories::candidate_killed_when_ready,
            says: "segue: reload failed: generation 2: killed by SIGKILL after …; generation 1 serves (pid …)",
            lost: Lost::AcceptedBy(&[2]),
        }
        dies_while_both_serve = REFUSED {
            wrong: "It is well for a moment and then dies",
            does: "With --soak both generations serve for a while before the old one is told to drain: whatever \
                   dies in that time \
                   has never taken over.",
            flags: &["--soak", "50s"],
            new: New::App("ready-then-dies after=300ms"),
            says: "segue: reload failed: generation 2: exited with status 3 after …; generation 1 serves (pid …)",
            lost: Lost::AcceptedBy(&[2]),
        }
        stuck_while_both_serve = REFUSED {
            wrong: "It is ready and then hangs",
            does: "With --watchdog an app must say WATCHDOG=1 in time; one that does not is ended with ABRT and \
                   then KILL.",
            flags: &["--soak", "50s", "--watchdog", "5s"],
            new: New::App("watchdog-stuck"),
            says: "segue: reload failed: generation 2: no WATCHDOG=1 for 5s; generation 1 serves (pid …)",
            lost: Lost::AcceptedBy(&[2]),
        }
        knows_that_it_is_stuck = REFUSED {
            wrong: "It says itself that it is stuck (WATCHDOG=trigger)",
            does: "It is taken at its word.",
            flags: &["--soak", "50s", "--watchdog", "50s"],
            new: New::App("watchdog-trigger"),
            says: "segue: reload failed: generation 2: it said WATCHDOG=trigger…; generation 1 serves (pid …)",
            lost: Lost::AcceptedBy(&[2]),
        }
        dies_before_alive_long_enough = REFUSED {
            wrong: "An app that is ready by --ready exec: dies within that time",
            does: "Such an app counts as ready when it is still alive that long after its start; this one is not.",
            config: Some(TOML),
            new: New::Config("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\nready = \"exec:28s\"\n"),
            story: stories::candidate_killed_while_starting,
            says: "segue: reload failed: generation 2: killed by SIGKILL after …; generation 1 serves (pid …)",
            lost: Lost::AcceptedBy(&[2]),
        }
        alive_long_enough = PLAIN {
            wrong: "An app that cannot notify is well",
            does: "It takes over when it has been alive as long as --ready exec: says.",
            config: Some(TOML),
            new: New::Config("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\nready = \"exec:400ms\"\n"),
        }
    ]
    "Strange words on the notify socket": [
        ready_from_a_child = PLAIN {
            wrong: "A child of the app says READY=1 for it",
            does: "A word counts if its sender has the app's uid or root's, whatever its pid.",
            new: New::App("ready-from-child"),
        }
        ready_from_another_user = REFUSED {
            wrong: "A process of another user, which is none of its own, says READY=1 for it",
            does: "Forged words are ignored and counted; an app that has become another user itself is believed: \
                   its processes descend from the worker.",
            flags: &["--start-timeout", "4s"],
            new: New::App("forged-ready"),
            says: "segue: reload failed: generation 2: not ready after 4s; generation 1 serves (pid …)",
            logs: &["generation 2, worker 0 (pid …): ignored …"],
        }
        garbage_instead_of_ready = REFUSED {
            wrong: "It sends garbage: binary, oversized, cut, with descriptors, almost READY=1",
            does: "None of it counts as READY=1, and none of it harms the supervisor.",
            flags: &["--start-timeout", "4s"],
            new: New::App("bad-notify then=nothing"),
            says: "segue: reload failed: generation 2: not ready after 4s…; generation 1 serves (pid …)",
            logs: &["generation 2, worker 0 (pid …): ignored …"],
        }
        garbage_before_ready = PLAIN {
            wrong: "It sends garbage and then READY=1",
            does: "The garbage is ignored and counted, READY=1 counts.",
            new: New::App("bad-notify"),
            logs: &["generation 2, worker 0 (pid …): ignored …"],
        }
        flood_of_words = PLAIN {
            wrong: "It floods the notify socket without a pause",
            does: "The supervisor reads a bounded number in each turn of its loop and goes on with everything else.",
            new: New::App("floods-notify"),
        }
        ready_twice = PLAIN {
            wrong: "It says READY=1 a thousand times",
            does: "The first one counts.",
            new: New::App("double-ready count=1000"),
        }
        stopping_before_ready = PLAIN {
            wrong: "It says STOPPING=1 before READY=1",
            does: "Only READY=1 and exits decide.",
            new: New::App("stopping-first"),
        }
        poses_as_another_process = PLAIN {
            wrong: "It sends MAINPID=1, RELOADING=1 and FDSTORE=1",
            does: "Neither changes what Segue does; the descriptor is closed.",
            new: New::App("reloading"),
        }
        waits_for_the_barrier = PLAIN {
            wrong: "It waits until the supervisor has read its words (BARRIER=1)",
            does: "The barrier's descriptor is closed when everything before it has been read.",
            new: New::App("barrier"),
        }
        removes_its_notify_socket = PLAIN {
            wrong: "It removes its notify socket after READY=1",
            does: "Nothing else was to be said.",
            new: New::App("unlinks-notify"),
        }
        closes_its_outputs = PLAIN {
            wrong: "It closes stdin, stdout and stderr",
            does: "Nothing depends on them.",
            new: New::App("closes-stdout"),
        }
        moves_elsewhere = PLAIN {
            wrong: "It changes its directory and umask",
            does: "Every process has its own; the next generation starts where Segue says.",
            new: New::App("changes-cwd"),
        }
        very_noisy = PLAIN {
            wrong: "It writes a megabyte of log before it is ready",
            does: "The app's stderr is Segue's own; nothing is copied or stalls.",
            new: New::App("noisy"),
        }
    ]
    "The new version breaks what all generations share": [
        blocking_and_dead = REFUSED {
            wrong: "It makes the shared listener blocking (as a Go program does that spawns) and dies",
            does: "O_NONBLOCK is restored when it exits, or else the old app would hang in accept().",
            new: New::App("clears-nonblock"),
            says: "segue: reload failed: generation 2: exited with status 6 after …; generation 1 serves (pid …)",
        }
        blocking_and_ready = PLAIN {
            wrong: "It makes the shared listener blocking and is ready",
            does: "The flag is kept as the one who serves chose it until the takeover.",
            new: New::App("clears-nonblock then=ready"),
        }
        tiny_backlog = PLAIN {
            wrong: "It calls listen(1) on the shared listener",
            does: "The backlog is restored when it is ready.",
            new: New::App("listens-1"),
        }
        shuts_the_listener_down = REFUSED {
            wrong: "It calls shutdown() on the shared listener and dies",
            does: "shutdown() works on the socket that all share: connections are refused from that moment on, \
                   until Segue makes it \
                   listen again, as soon as the process has exited.",
            new: New::App("shuts-listener then=die"),
            says: "segue: reload failed: generation 2: exited with status 5 after …; generation 1 serves (pid …)",
            logs: &["listener listen1 (127.0.0.1:…): an app shut it down; it listens again"],
            lost: Lost::Queued,
        }
        old_shuts_the_listener_down = PLAIN {
            wrong: "The old version calls shutdown() on the shared listener when it is told to stop",
            does: "Segue makes it listen again as soon as the old version has exited, and says whose fault it was.",
            incumbent: "shuts-listener then=at-term",
            flags: &["--drain-timeout", "3s"],
            logs: &["listener listen1 (127.0.0.1:…): an app shut it down; it listens again"],
            lost: Lost::Queued,
        }
    ]
    "After the takeover": [
        crash_on_probation = ROLLED_BACK {
            wrong: "It crashes soon after it has taken over",
            does: "Within --probation a crash means rollback: the last good version is started from the very file, \
                   arguments and environment that it ran with; clients wait in the backlog meanwhile.",
            flags: ON_PROBATION,
            new: New::App("ready-then-dies once=serving after=20ms"),
            story: stories::after_probation,
            reload: &["--settled"],
            says: "segue: reload rolled back: generation 2: exited with status 3 after …; generation 3 was started from the last \
                   good; …",
            logs: &["generation 2 is rolled back: exited with status 3 after …; generation 3 is started from the last good"],
            lost: Lost::AcceptedBy(&[2]),
        }
        crash_on_probation_steered = ROLLED_BACK {
            wrong: "It crashes soon after it has taken over, and listeners are steered",
            does: "The old version lingers, for it has connections: new clients go back to it at once, and nobody is \
                   started.",
            flags: &["--probation", "1h", "--steer", "--linger", "1h"],
            new: New::App("ready-then-dies once=serving after=20ms"),
            story: stories::after_probation,
            reload: &["--settled"],
            says: "segue: reload rolled back: generation 2: exited with status 3 after …; generation 1, which lingered, serves \
                   again; …",
            logs: &["generation 2 is rolled back: exited with status 3 after …; generation 1, which lingered, serves again"],
            serves: 1,
            lost: Lost::AcceptedBy(&[2]),
        }
        killed_on_probation = ROLLED_BACK {
            wrong: "It is killed by the kernel soon after it has taken over",
            does: "The same.",
            flags: ON_PROBATION,
            new: New::App("ready-then-killed once=serving after=20ms"),
            story: stories::after_probation,
            reload: &["--settled"],
            says: "segue: reload rolled back: generation 2: killed by SIGSEGV… after …; generation 3 was started from the last good; …",
            lost: Lost::AcceptedBy(&[2]),
        }
        replaced_in_place = ROLLED_BACK {
            wrong: "It crashes soon after it has taken over, and its script was written over the old one",
            does: "The rollback starts what lies at the script's name now, and both answers say so; release \
                   directories keep the old one.",
            flags: ON_PROBATION,
            new: New::File(files::written_over),
            story: stories::after_probation,
            reload: &["--settled"],
            says: "segue: reload rolled back: generation 2: exited with status 3 after …; generation 3 was started from the last \
                   good, but with ./app as it is now: it was replaced in place (release directories keep the old one); …",
            logs: &["generation 2 is rolled back: exited with status 3 after …; generation 3 is started from the last good, but \
                     with ./app as it is now: it was replaced in place (release directories keep the old one)"],
            lost: Lost::AcceptedBy(&[2]),
        }
        stuck_on_probation = ROLLED_BACK {
            wrong: "It hangs soon after it has taken over",
            does: "With --watchdog a hang is a crash.",
            flags: &["--probation", "1h", "--watchdog", "1s"],
            new: New::App("watchdog-stuck"),
            story: stories::after_probation,
            reload: &["--settled"],
            says: "segue: reload rolled back: generation 2: no WATCHDOG=1 for 1s; generation 3 was started from the last good; …",
            lost: Lost::AcceptedBy(&[2]),
        }
        listens_elsewhere_and_holds = ROLLED_BACK {
            wrong: "Below a wrapper that keeps the sockets, the app listens on a port of its own and says READY=1 for that",
            does: "It takes over 2 s later with a note; once clients have waited for --accept-timeout in vain, \
                   that is a crash and a rollback.",
            flags: &["--probation", "1h", "--accept-timeout", "1s"],
            new: New::Script("{fixture} accepts-elsewhere & wait"),
            story: stories::after_probation,
            reload: &["--settled"],
            says: "segue: reload rolled back: generation 2: clients of the listener listen1 (127.0.0.1:…) waited for 1s and it accepted \
                   none; generation 3 was started from the last good; …",
            logs: &[
                "generation 2, listener listen1: nobody is seen waiting on it; it listens on 127.0.0.1:…; READY=1 came from pid …, and \
                 LISTEN_PID was …",
            ],
        }
        accepts_nobody = ROLLED_BACK {
            wrong: "Its loop hangs soon after it has taken over: it accepts nobody any more",
            does: "The same; an app that is slow, stopped or being debugged is another matter, since it has a \
                   connection or had one.",
            flags: &["--probation", "1h", "--accept-timeout", "1s"],
            new: New::App("polls-in-vain"),
            story: stories::after_probation,
            reload: &["--settled"],
            says: "segue: reload rolled back: generation 2: clients of the listener listen1 (127.0.0.1:…) waited for 1s and it accepted \
                   none; generation 3 was started from the last good; …",
        }
        crashes_with_no_last_good = PLAIN {
            wrong: "It crashes again and again, and there is no last good version to go back to",
            does: "The same version is started again: at once, then with a back-off that doubles up to 30 s; a \
                   reload does not wait for the back-off.",
            flags: &["--probation", "60s"],
            new: New::App("ready-then-dies once=serving after=20ms"),
            story: stories::mended_while_backing_off,
            says: "reload ok: generation 3 serves (pid …) after …",
            logs: &[
                "generation 2, worker 0 (pid …) crashed: exited with status 3 after …; it is started again at once",
                "generation 2, worker 0 (pid …) crashed: exited with status 3 after …; it is started again in …",
            ],
            serves: 3,
            lost: Lost::AcceptedBy(&[2]),
        }
        incumbent_killed = REFUSED {
            wrong: "The incumbent is killed, and no reload is under way",
            does: "It is started again at once, within the same generation; the reload after that, of a broken \
                   version, still fails.",
            new: New::App("crash-at-start"),
            story: stories::incumbent_killed_before,
            says: "segue: reload failed: generation 2: exited with status 101 after …; generation 1 serves (pid …)",
            logs: &[
                "generation 1, worker 0 (pid …) crashed: killed by SIGKILL after …; it is started again at once",
                "generation 1, worker 0… started again",
            ],
            lost: Lost::AcceptedBy(&[1]),
        }
        superseded_on_probation = PLAIN {
            wrong: "The next reload comes before the probation of the last one is over",
            does: "It is done; a client that waits with --settled is told that the generation was replaced.",
            flags: &["--probation", "60s"],
            story: stories::superseded,
            says: "reload ok: generation 2 took over (replaced by generation 3 before its probation ended)",
            serves: 3,
        }
        crash_while_being_superseded = PLAIN {
            wrong: "A generation on probation crashes while its successor is starting",
            does: "The last good version is started and serves, and the handoff goes on.",
            flags: ON_PROBATION,
            story: stories::crash_while_superseded,
            says: "reload ok: generation 3 serves (pid …) after …",
            logs: &["generation 2 is rolled back: killed by SIGKILL after …; generation 4 is started from the last good"],
            serves: 3,
            lost: Lost::AcceptedBy(&[2]),
        }
    ]
    "The old version does not leave in good order": [
        old_crashes_in_drain = PLAIN {
            wrong: "The old version exits with an error when it has drained",
            does: "It was asked to exit, and how it does is its own affair: it is not started again.",
            incumbent: "crash-in-drain",
            reload: &["--drained"],
            says: "reload ok: generation 2 serves (pid …) after …; every older generation is gone",
        }
        old_exits_at_once = PLAIN {
            wrong: "The old version exits at the stop signal without finishing its requests",
            does: "Segue has told it to drain; what it had accepted it cuts.",
            incumbent: "exits-on-term",
            lost: Lost::AcceptedBy(&[1]),
        }
        old_dies_at_the_stop_signal = PLAIN {
            wrong: "The old version crashes at the stop signal",
            does: "It is not started again.",
            incumbent: "killed-in-drain",
            reload: &["--drained"],
            says: "reload ok: generation 2 serves (pid …) after …; every older generation is gone",
            lost: Lost::AcceptedBy(&[1]),
        }
        old_ignores_the_stop_signal = PLAIN {
            wrong: "The old version ignores the stop signal and serves on",
            does: "When the drain timeout is over its process group is killed; --drained waits for that and says so.",
            incumbent: "ignores-term",
            flags: &["--drain-timeout", "1s"],
            reload: &["--drained"],
            says: "reload ok: generation 2 serves (pid …) after …; every older generation is gone",
            logs: &["generation 1, worker 0 (pid …) did not end in time: it is killed"],
            lost: Lost::AcceptedBy(&[1]),
        }
        old_asks_without_end = PLAIN {
            wrong: "The old version serves on and asks for more time to drain, again and again",
            does: "It drains no longer than --extend-limit in all; then it is killed.",
            incumbent: "asks-in-drain",
            flags: &["--drain-timeout", "500ms", "--extend-limit", "1s"],
            reload: &["--drained"],
            says: "reload ok: generation 2 serves (pid …) after …; every older generation is gone",
            logs: &["generation 1, worker 0 (pid …) did not end in time: it is killed"],
            lost: Lost::AcceptedBy(&[1]),
        }
        old_never_ends = PLAIN {
            wrong: "The old version drains and then does not exit",
            does: "It is killed when the drain timeout is over.",
            incumbent: "hangs-in-drain",
            flags: &["--drain-timeout", "3s"],
            reload: &["--drained"],
            says: "reload ok: generation 2 serves (pid …) after …; every older generation is gone",
            logs: &["generation 1, worker 0 (pid …) did not end in time: it is killed"],
        }
        old_shell_keeps_the_signal = PLAIN {
            wrong: "The old version is a shell that waits for its app, and keeps the stop signal to itself",
            does: "Segue tells everybody else in the process group, unless the main process has passed the signal \
                   on (see `--stop-signal-to`).",
            new: New::Script("'{segue}' exec -- '{fixture}' good; true"),
            reload: &["--drained"],
            story: stories::served_and_replaced,
            says: "reload ok: generation 3 serves (pid …) after …; every older generation is gone",
            serves: 3,
        }
        old_leaves_a_process_behind = PLAIN {
            wrong: "The old version exits and leaves a process of its group behind",
            does: "The rest of its process group gets the stop signal; the generation is gone when the group is \
                   empty.",
            incumbent: "leaks-grandchild",
            reload: &["--drained"],
            says: "reload ok: generation 2 serves (pid …) after …; every older generation is gone",
        }
        old_leaves_a_stubborn_process_behind = PLAIN {
            wrong: "The process that it leaves behind ignores the stop signal",
            does: "It is killed with its group when the drain timeout is over.",
            incumbent: "leaks-grandchild kind=ignores-term",
            flags: &["--drain-timeout", "3s"],
            reload: &["--drained"],
            says: "reload ok: generation 2 serves (pid …) after …; every older generation is gone",
            logs: &["generation 1, worker 0 (pid …) did not end in time: it is killed"],
        }
        old_leaves_a_daemon_behind = PLAIN {
            wrong: "The old version leaves a process in a session of its own behind",
            does: "Segue finds it all the same and tells it to stop when nobody above it could; `segue status` \
                   counts such processes.",
            incumbent: "leaks-grandchild kind=own-session",
            reload: &["--drained"],
            says: "reload ok: generation 2 serves (pid …) after …; every older generation is gone",
            logs: &["pid …, which generation 1, worker 0 (pid …) started outside its process group, is told to stop, too"],
        }
        old_leaves_a_daemon_that_serves = PLAIN {
            wrong: "A daemon of the old version serves on, and ignores the stop signal",
            does: "It is killed when the drain timeout is over, and named; `--drained` waits for it.",
            incumbent: "leaves-server kind=ignores-term",
            flags: &["--drain-timeout", "3s"],
            reload: &["--drained"],
            says: "reload ok: generation 2 serves (pid …) after …; every older generation is gone",
            logs: &["pid …, which generation 1, worker 0 (pid …) started outside its process group, did not end in time: it is killed"],
            lost: Lost::AcceptedBy(&[1]),
        }
        candidate_leaves_a_daemon_that_serves = REFUSED {
            wrong: "The new version exits before READY=1 and has left a daemon that serves",
            does: "The daemon ends with the candidate; until it does it may answer, as any candidate may.",
            new: New::App("leaves-server then=die"),
            reload: &[],
            says: "segue: reload failed: generation 2: exited with status 3 after …; generation 1 serves (pid …)",
            logs: &["generation 2 is gone"],
        }
        candidate_killed_in_drain = REFUSED {
            wrong: "A candidate that has failed is killed while it drains",
            does: "It was given up already; its end is noted and nothing else.",
            flags: &["--start-timeout", "3s", "--drain-timeout", "10m"],
            new: New::App("stubborn-candidate"),
            story: stories::failed_candidate_killed,
            says: "segue: reload failed: generation 2: not ready after 3s; generation 1 serves (pid …)",
            logs: &["generation 2 is gone"],
            lost: Lost::AcceptedBy(&[2]),
        }
        too_many_generations = PLAIN {
            wrong: "The reloads come faster than old generations drain",
            does: "Above --max-generations a reload waits until a retired one is gone; nothing is killed to make \
                   room; the drain timeout bounds the wait.",
            incumbent: "hangs-in-drain",
            flags: &["--max-generations", "2", "--drain-timeout", "3s"],
            story: stories::twice,
            says: "reload ok: generation 3 serves (pid …) after …",
            logs: &["reload waits: 2 generations live, the most that --max-generations allows; it goes on when a retired one is gone"],
            serves: 3,
        }
    ]
    "The first start": [
        first_start_crashes = FIRST_START {
            wrong: "The very first version crashes at start",
            does: "There is nobody to protect yet: `segue run` ends with the reason.",
            new: New::App("crash-at-start"),
            says: "segue[app]: the first start failed: exited with status 101 after …",
        }
        first_start_never_ready = FIRST_START {
            wrong: "The very first version is never ready",
            does: "`segue run` ends when the start timeout is over.",
            new: New::App("waits-in-vain"),
            says: "segue[app]: the first start failed: not ready after 1s (it has neither said READY=1 nor waited for clients \
                   on each of its listeners for 1s)",
        }
        first_start_missing_file = FIRST_START {
            wrong: "The very first version is not there",
            does: "`segue run` ends at once.",
            new: New::File(files::missing),
            says: "segue…: …exec ./app: no such file or directory",
        }
        port_taken = FIRST_START {
            wrong: "The port is taken when `segue run` starts",
            does: "It ends at once and says which.",
            story: stories::port_taken,
            says: "segue…: listen 127.0.0.1:…: address already in use…",
        }
        name_taken = FIRST_START {
            wrong: "An instance of that name runs already",
            does: "The second one ends at once; the first one notices nothing.",
            story: stories::name_taken,
            says: "segue…: instance app is already running (pid …): reload it with segue reload, or start another beside it with --name",
        }
    ]
    "The moment is wrong": [
        reload_during_reload = PLAIN {
            wrong: "More reloads are asked for while one is under way",
            does: "All of them share one next generation, started when the present handoff has ended, since the \
                   candidate may have \
                   read an older file.",
            new: New::App("stopped"),
            story: stories::reload_during_reload,
            says: "reload ok: generation 3 serves (pid …) after …",
            serves: 3,
        }
        reload_command_killed = PLAIN {
            wrong: "The `segue reload` that waits is killed",
            does: "A client that goes away cancels nothing: its candidate takes over; what is shown is the next \
                   reload's answer.",
            new: New::App("stopped"),
            story: stories::client_killed,
            says: "reload ok: generation 3 serves (pid …) after …",
            logs: &["generation 2 serves (pid …), generation 1 drains; the reload took …"],
            serves: 3,
        }
        reload_command_times_out = PLAIN {
            wrong: "The patience of `segue reload --timeout` is over before the outcome is known",
            does: "The command ends with 4; the reload goes on.",
            new: New::App("stopped"),
            reload: &["--timeout", "300ms"],
            story: stories::client_impatient,
            exit: 4,
            says: "segue: no outcome within 300 ms; the reload goes on, and segue status tells how it ends",
            logs: &["generation 2 serves (pid …), generation 1 drains; the reload took …"],
        }
        incumbent_crashes_during_handoff = PLAIN {
            wrong: "The old version crashes while the new version is starting",
            does: "The handoff goes on, and the incumbent is started again beside it.",
            new: New::App("stopped"),
            story: stories::incumbent_killed_during_handoff,
            logs: &["generation 1, worker 0 (pid …) crashed: killed by SIGKILL after …; it is started again at once"],
            lost: Lost::AcceptedBy(&[1]),
        }
        incumbent_crashes_during_soak = PLAIN {
            wrong: "The old version crashes while the new version soaks",
            does: "The new version is ready, so it takes over at once.",
            flags: &["--soak", "50s"],
            story: stories::incumbent_killed_when_candidate_ready,
            lost: Lost::AcceptedBy(&[1]),
        }
        app_asks_for_its_own_end = PLAIN {
            wrong: "The app itself runs `segue reload --drained`, and is below the generation that drains",
            does: "The command would wait for itself, until it is killed; it is answered at the takeover, and told \
                   so.",
            new: New::Script(
                "case $SEGUE_GENERATION in 2) (until [ -e go ]; do sleep 0.01; done; {segue} reload --drained --control control >said 2>&1) & \
                 esac; exec {fixture} good",
            ),
            reload: &["--drained"],
            story: stories::asked_from_below,
            says: "reload ok: generation 3 serves (pid …) after …; that its own generation is gone is not waited for: pid …",
            serves: 3,
        }
        hangup_asks_for_a_reload = REFUSED {
            wrong: "The reload is asked for by SIGHUP, and the new version is broken",
            does: "Nobody waits for the answer; the log has it, and so has `segue status`.",
            new: New::App("crash-at-start"),
            story: stories::hangup_then_reload,
            says: "segue: reload failed: generation 3: exited with status 101 after …; generation 1 serves (pid …)",
            logs: &[
                "reload asked for by SIGHUP from pid … (uid …)",
                "reload failed: generation 2: exited with status 101 after …; generation 1 serves (pid …)",
            ],
        }
        stop_during_handoff = PLAIN {
            wrong: "A stop is asked for while the new version is starting",
            does: "The reload is answered with a failure, and everything drains: candidate, incumbent and retired.",
            new: New::App("waits-in-vain"),
            flags: &["--drain-timeout", "3s"],
            story: stories::stop_during_handoff,
            exit: 1,
            says: "segue: reload failed: the instance is stopping; …",
            serves: 0,
        }
        reload_while_stopping = PLAIN {
            wrong: "A reload is asked for while everything stops",
            does: "It is refused.",
            incumbent: "hangs-in-drain",
            flags: &["--drain-timeout", "10s"],
            story: stories::reload_while_stopping,
            exit: 1,
            says: "segue: reload failed: the instance is stopping; …",
            serves: 0,
        }
        second_stop_kills = PLAIN {
            wrong: "The app does not end, and the operator has no patience: a second SIGTERM",
            does: "The first one drains, the second one kills; the reload that is shown came between the two.",
            incumbent: "hangs-in-drain",
            flags: &["--drain-timeout", "10m"],
            story: stories::second_stop,
            exit: 1,
            says: "segue: reload failed: the instance is stopping; …",
            logs: &["generation 1, worker 0 (pid …) did not end in time: it is killed"],
            serves: 0,
        }
    ]
    "Queue mode: for apps that must not run twice": [
        queue_good = PLAIN {
            wrong: "Nothing: the new version is well",
            does: "The old version drains and is gone, then the new one starts; connections wait in the backlog \
                   meanwhile.",
            flags: &["--mode", "queue"],
        }
        queue_crash = ROLLED_BACK {
            wrong: "The new version crashes at start",
            does: "The last good version is started again at once; nobody is refused.",
            flags: &["--mode", "queue"],
            new: New::App("crash-at-start"),
            says: "segue: reload rolled back: generation 2: exited with status 101 after …; generation 3 was started from the last \
                   good; …",
        }
        queue_never_ready = ROLLED_BACK {
            wrong: "The new version is never ready",
            does: "It is retired when the start timeout is over, and then the last good version is started.",
            flags: &["--mode", "queue", "--start-timeout", "4s"],
            new: New::App("waits-in-vain"),
            says: "segue: reload rolled back: generation 2: not ready after 4s; generation 3 was started from the last good; …",
        }
        queue_old_never_ends = PLAIN {
            wrong: "The old version does not exit",
            does: "It is killed when the drain timeout is over; only then the new one starts.",
            incumbent: "hangs-in-drain",
            flags: &["--mode", "queue", "--drain-timeout", "3s"],
            logs: &["generation 1, worker 0 (pid …) did not end in time: it is killed"],
        }
        queue_missing_file = REFUSED {
            wrong: "The new program is not there",
            does: "That is known before anybody is told to drain: the reload is refused and nobody notices.",
            flags: &["--mode", "queue"],
            new: New::File(files::missing),
            says: "segue: reload failed: generation 2: exec ./app: no such file or directory; generation 1 serves (pid …)",
        }
    ]
    "In development": [
        dev_build_fails = PLAIN {
            wrong: "Under `segue dev` a build fails",
            does: "The version before it serves on, what the build wrote is shown, and the next change builds again.",
            flags: scene::DEVELOPED,
            story: stories::built_in_vain_first,
            says: "segue dev: the build has failed (exit status 1); the version before it serves on",
        }
        dev_version_does_not_start = REFUSED {
            wrong: "Under `segue dev` a new build does not start",
            does: "The version before it serves on, and the next change builds again.",
            flags: scene::DEVELOPED,
            new: New::App("crash-at-start"),
            story: stories::built_and_bad,
            says: "reload failed: generation 2: exited with status 101 after …; generation 1 serves (pid …)",
        }
    ]
    "Sockets that change at a reload": [
        socket_added = PLAIN {
            wrong: "Nothing: segue.toml names one more socket",
            does: "It is bound before the new version starts.",
            config: Some(TOML),
            new: New::Config("listen = [\"127.0.0.1:0\", \"unix:{dir}/more.sock\"]\ncommand = [\"./app\"]\n"),
            logs: &["listening on unix:…/more.sock as listen2"],
        }
        socket_path_taken = REFUSED {
            wrong: "The path of a new Unix socket is taken by a file",
            does: "Only a dead socket is replaced; the reload is refused as a whole: the old set of sockets stands.",
            config: Some(TOML),
            new: New::Config("listen = [\"127.0.0.1:0\", \"unix:{dir}/app\"]\ncommand = [\"./app\"]\n"),
            says: "segue: reload failed: generation 2: listen unix:…/app: …; generation 1 serves (pid …)",
        }
        socket_added_by_a_bad_version = REFUSED {
            wrong: "segue.toml names one more socket, and the new version dies",
            does: "The old set of sockets stands.",
            config: Some(TOML),
            new: New::Config("listen = [\"127.0.0.1:0\", \"unix:{dir}/more.sock\"]\ncommand = [\"./app\", \"no-such-option=1\"]\n"),
            story: stories::reload_and_no_socket_left,
            says: "segue: reload failed: generation 2: exited with status 1 after …; generation 1 serves (pid …)",
        }
        unix_socket_kept = PLAIN {
            wrong: "Nothing: a reload on a Unix socket",
            does: "The path is the supervisor's: neither generation makes or removes it.",
            config: Some(UNIX),
        }
        path_taken_away = PLAIN {
            wrong: "The old version removes the path of its Unix socket when it is told to stop",
            does: "The path is put back at once by a second link to the same socket: nothing is bound anew, and whoever \
                   waits in its queue stays there.",
            incumbent: "unlinks-path then=at-term",
            config: Some(UNIX),
            logs: &["listener listen1 (unix:…): an app removed its path; it is there again"],
            lost: Lost::Unconnected,
        }
        host_name_at_reload = REFUSED {
            wrong: "segue.toml names a new host name to listen on",
            does: "Names are looked up at the start only: a look-up could hold the supervisor up; the reload is \
                   refused.",
            config: Some(TOML),
            new: New::Config("listen = [\"127.0.0.1:0\", \"shop.example:8080\"]\ncommand = [\"./app\"]\n"),
            says: "segue: reload failed: generation 2: listen shop.example:8080: …; generation 1 serves (pid …)",
        }
    ]
}

/// The plainest segue.toml.
const TOML: &str = "listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\n";

/// The same on a Unix socket.
const UNIX: &str = "listen = [\"unix:{dir}/app.sock\"]\ncommand = [\"./app\"]\n";

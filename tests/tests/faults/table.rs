//! The table. A row gives only what differs from its base.

use super::{Fault, Lost, New, PLAIN, REFUSED, files, scene, stories};

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
            does: "The kernel starts it and it dies of the missing half. The incumbent runs from the file that it was \
                   started from and notices nothing.",
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
            does: "exec is tried again for about half a second, for a copy that is just ending; then the reload fails.",
            new: New::File(files::whole_binary),
            story: stories::while_written,
            says: "segue: reload failed: generation 2: exec ./app: text file busy (it is still being written); generation 1 \
                   serves (pid …)",
        }
        release_directory_gone = REFUSED {
            wrong: "The working directory has been removed",
            does: "The directory is looked up anew at each reload; this one is refused.",
            config: Some("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\n"),
            new: New::Config("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\nchdir = \"{dir}/release-41\"\n"),
            says: "segue: reload failed: generation 2: chdir …/release-41: no such file or directory; generation 1 serves (pid …)",
        }
        env_file_gone = REFUSED {
            wrong: "The env file cannot be read",
            does: "It is read anew at each reload; this one is refused as a whole.",
            config: Some("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\n"),
            new: New::Config("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\nenv-file = \"{dir}/env\"\n"),
            says: "segue: reload failed: generation 2: …/env: no such file or directory; generation 1 serves (pid …)",
        }
        mistake_in_segue_toml = REFUSED {
            wrong: "segue.toml has a mistake",
            does: "The file is read anew at each reload, and applied as a whole or refused as a whole, with line and key.",
            config: Some("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\n"),
            new: New::Config("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\nstart-timeuot = \"5s\"\n"),
            says: "segue: reload failed: generation 2: segue.toml:3: start-timeuot: …; generation 1 serves (pid …)",
        }
        unknown_user = REFUSED {
            wrong: "The app's user does not exist",
            does: "Users and groups are looked up in the new process, never by the supervisor; the candidate fails.",
            config: Some("listen = [\"127.0.0.1:0\"]\ncommand = [\"./app\"]\n"),
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
            does: "The reload fails at once with the exit status. Nobody told the incumbent anything.",
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
            does: "Before the incumbent is told to drain, every worker of the candidate is looked at once more: it is dead, so \
                   it has failed.",
            flags: &["--soak", "200ms"],
            new: New::App("ready-and-exit"),
            says: "segue: reload failed: generation 2: exited with status 0 after …; generation 1 serves (pid …)",
        }
        says_why_it_dies = REFUSED {
            wrong: "It says why it cannot start (STATUS=, ERRNO=) and exits",
            does: "Its last words are part of the reason.",
            new: New::App("status-then-dies errno=111"),
            says: "segue: reload failed: generation 2: exited with status 1 after …; its last words: \"cannot reach the database\" \
                   (errno 111: connection refused); generation 1 serves (pid …)",
        }
        one_worker_of_two_dies = REFUSED {
            wrong: "One of its workers starts and the other one does not",
            does: "A generation is ready when all of its workers are: the candidate fails, and the worker that is well is told to drain.",
            flags: &["--workers", "2"],
            new: New::Script("[ \"$SEGUE_WORKER\" = 1 ] && exit 9; export LISTEN_PID=$$; exec {fixture} good"),
            says: "segue: reload failed: generation 2: exited with status 9 after …; generation 1 serves (pids …)",
            lost: Lost::Nothing,
        }
        wrapper_forks = REFUSED {
            wrong: "A wrapper script forks instead of exec'ing, so LISTEN_PID names the wrapper",
            does: "An app that reads LISTEN_FDS strictly refuses the sockets. Write `exec` in the script, or use --no-listen-pid.",
            new: New::Script("{fixture} good; exit 7"),
            says: "segue: reload failed: generation 2: exited with status 7 after …; generation 1 serves (pid …)",
            logs: &["fixture good …: LISTEN_PID=…, I am …: a wrapper forked"],
        }
        binds_the_port_itself = REFUSED {
            wrong: "It ignores the sockets that it was given and binds the port itself",
            does: "The port is taken, by the supervisor, so the app fails.",
            new: New::App("binds-itself"),
            says: "segue: reload failed: generation 2: exited with status 1 after …; generation 1 serves (pid …)",
        }
        main_process_leaves_its_child_behind = REFUSED {
            wrong: "It forks a child that serves, and its main process exits",
            does: "The main process is the worker, and it has exited. The rest of its process group is told to stop with what \
                   remains of the drain timeout.",
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
            wrong: "It serves but never says READY=1",
            does: "After --start-timeout the candidate has failed. It is retired like any other generation, since it may have \
                   accepted connections: stop signal, drain, and only then KILL.",
            flags: &["--start-timeout", "700ms"],
            new: New::App("never-ready"),
            says: "segue: reload failed: generation 2: not ready after 700ms; generation 1 serves (pid …)",
            logs: &["generation 2 is gone"],
        }
        hint_after_five_seconds = REFUSED {
            wrong: "It is an app that cannot notify, and nobody said so",
            does: "After five seconds the log says what is waited for and which flag such an app needs; the failure says it again.",
            flags: &["--start-timeout", "6s"],
            new: New::App("waits-in-vain"),
            says: "segue: reload failed: generation 2: not ready after 6s (an app that cannot notify needs --ready exec:2s); \
                   generation 1 serves (pid …)",
            logs: &["still waiting for READY=1 from pid … (1 s left); an app that cannot notify needs --ready exec:2s"],
        }
        stubborn = REFUSED {
            wrong: "It is never ready and ignores the stop signal",
            does: "The reload is answered when the start timeout has passed; when the drain timeout has passed too, the \
                   candidate's process group is killed.",
            flags: &["--start-timeout", "500ms", "--drain-timeout", "700ms"],
            new: New::App("stubborn-candidate"),
            says: "segue: reload failed: generation 2: not ready after 500ms; generation 1 serves (pid …)",
            logs: &[
                "generation 2, worker 0 (pid …) did not end in time: it is killed",
                "generation 2 is gone",
            ],
            lost: Lost::AcceptedBy(&[2]),
        }
        stopped_process = REFUSED {
            wrong: "It stops itself (SIGSTOP) before it is ready",
            does: "A stopped process neither gets ready nor hears the stop signal; KILL ends it.",
            flags: &["--start-timeout", "500ms", "--drain-timeout", "700ms"],
            new: New::App("stopped"),
            says: "segue: reload failed: generation 2: not ready after 500ms; generation 1 serves (pid …)",
            logs: &["generation 2 is gone"],
        }
        slow_but_says_so = PLAIN {
            wrong: "It needs longer than --start-timeout and says so in time (EXTEND_TIMEOUT_USEC=)",
            does: "The time that it asks for is granted, as often as it asks, and the takeover happens when it is ready.",
            flags: &["--start-timeout", "1s"],
            new: New::App("extends-timeout after=1500ms"),
        }
        extends_and_falls_silent = REFUSED {
            wrong: "It asks for more time once and then falls silent",
            does: "The granted time passes and the candidate has failed.",
            flags: &["--start-timeout", "500ms"],
            new: New::App("extends-and-stops"),
            says: "segue: reload failed: generation 2: not ready after …; generation 1 serves (pid …)",
        }
        ready_too_late = REFUSED {
            wrong: "It says READY=1 only when it has already been given up",
            does: "A word of a candidate that has failed changes nothing.",
            flags: &["--start-timeout", "500ms"],
            new: New::App("ready-at-term"),
            says: "segue: reload failed: generation 2: not ready after 500ms; generation 1 serves (pid …)",
            logs: &["generation 2 is gone"],
        }
    ]
}

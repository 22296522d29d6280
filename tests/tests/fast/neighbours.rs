//! Several instances of one user, of which some are stopped: a command asks the one that it names, and waits for nobody else.
//! The command's own `--timeout` judges: it ends with status 4 where an answer came too late.

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use segue_tests::binaries::Binary;
use segue_tests::proc;
use segue_tests::process::{Finished, Process};
use segue_tests::program::Program;
use segue_tests::segue::{directory, kill_marked};

/// Instances in one runtime directory, found by name as a user's are.
struct Neighbourhood {
    instances: Vec<Process>,
    directory: tempfile::TempDir,
}

impl Neighbourhood {
    fn of(names: &[&str]) -> Self {
        let mut all = Self {
            instances: Vec::new(),
            directory: directory(),
        };
        for name in names {
            let mut command = all.segue("run", &["--name", name, "--listen", "127.0.0.1:0", "--"]);
            command.args(Program::fixture("good").words());
            all.instances.push(Process::start(&mut command));
        }
        for instance in &all.instances {
            instance.wait_for_line("serves (pid");
        }
        all
    }

    fn segue(&self, word: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(Binary::Segue.path());
        command
            .arg(word)
            .args(arguments)
            .stdin(Stdio::null())
            .current_dir(self.directory.path())
            .env_remove("RUNTIME_DIRECTORY")
            .env_remove("NOTIFY_SOCKET")
            .env("XDG_RUNTIME_DIR", self.directory.path())
            .env(proc::MARK, self.directory.path());
        command
    }

    fn ask(&self, word: &str, arguments: &[&str]) -> Finished {
        Process::start(&mut self.segue(word, arguments)).finish()
    }
}

impl Drop for Neighbourhood {
    fn drop(&mut self) {
        kill_marked(&self.directory.path().to_string_lossy());
    }
}

#[test]
fn a_command_waits_for_no_stopped_neighbour_of_the_one_that_it_names() {
    let names = ["a", "b", "c"];
    let all = Neighbourhood::of(&names);
    let stopped = [&all.instances[0], &all.instances[2]];
    for neighbour in stopped {
        neighbour.signal(Signal::SIGSTOP);
        neighbour.wait_until_stopped();
    }
    // Neighbours that were waited for would use up each of these timeouts: a stopped one never answers.
    let status = all.ask("status", &["--name", "b", "--timeout", "30s"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    assert!(status.stdout.contains("generation 1"), "{status:?}");
    let reload = all.ask("reload", &["--name", "b"]);
    assert_eq!(reload.code, Some(0), "{reload:?}");
    assert!(reload.stdout.contains("generation 2"), "{reload:?}");

    // Without a name each one is listed, the stopped by the name of its directory.
    for word in ["status", "reload"] {
        let refused = all.ask(word, &["--timeout", "3s"]);
        assert_eq!(refused.code, Some(2), "{word}: {refused:?}");
        for (name, instance) in names.iter().zip(&all.instances) {
            let row = format!("  {name:<20} pid {:<8} ", instance.pid());
            assert!(refused.stderr.contains(&row), "{word}: {refused:?}");
        }
    }

    // The one that is stopped itself is waited for as long as the timeout allows.
    let late = all.ask("status", &["--name", "a", "--timeout", "500ms"]);
    assert_eq!(late.code, Some(4), "{late:?}");

    for neighbour in stopped {
        neighbour.signal(Signal::SIGCONT);
    }
    for (name, instance) in names.iter().zip(&all.instances) {
        let stop = all.ask("stop", &["--name", name]);
        assert_eq!(stop.code, Some(0), "{name}: {stop:?}");
        assert_eq!(
            instance.wait_for_exit().code(),
            Some(0),
            "{name}: {}",
            instance.stderr()
        );
    }
}

//! A container in the test's engine.

use std::sync::atomic::{AtomicU16, Ordering};

use super::{Engine, wait};
use crate::http::Target;
use crate::process::{Finished, Process};
use crate::segue::Status;

/// The port of the sample app in its container.
const INSIDE: u16 = 1234;

/// How a client gets to a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To 127.0.0.1, where the engine's proxy takes the connection.
    Proxy,
    /// To an address of the machine, which the packet filter translates.
    Filter,
}

/// What is to be started; [`Plan::run`] starts it.
pub struct Plan<'e> {
    engine: &'e Engine,
    name: String,
    options: Vec<String>,
}

impl Engine {
    /// A container to be. Its port is published.
    #[must_use]
    pub fn container(&self, name: &str) -> Plan<'_> {
        Plan {
            engine: self,
            name: name.to_owned(),
            options: Vec::new(),
        }
    }
}

impl<'e> Plan<'e> {
    /// Adds options of `docker run`.
    #[must_use]
    pub fn options<'a>(mut self, words: impl IntoIterator<Item = &'a str>) -> Self {
        self.options.extend(words.into_iter().map(str::to_owned));
        self
    }

    /// `docker run --detach`, with arguments for the image's entry point.
    ///
    /// # Panics
    /// When the engine does not start it.
    #[must_use]
    #[track_caller]
    pub fn run(self, image: &str, arguments: &[&str]) -> Container<'e> {
        // The engine's network has nobody but us, so that a port can be chosen, and stays the same over a `docker restart`.
        static PORTS: AtomicU16 = AtomicU16::new(20_000);
        let port = PORTS.fetch_add(1, Ordering::Relaxed);
        let publish = format!("{port}:{INSIDE}");
        let mut words = vec!["run", "--detach", "--name", &self.name, "--publish", &publish];
        words.extend(self.options.iter().map(String::as_str));
        words.push(image);
        words.extend(arguments);
        self.engine.docker_ok(&words);
        Container {
            engine: self.engine,
            name: self.name,
            port,
        }
    }

    /// The same, and waits until a generation serves.
    ///
    /// # Panics
    /// When none does.
    #[must_use]
    #[track_caller]
    pub fn start(self, image: &str, arguments: &[&str]) -> Container<'e> {
        let container = self.run(image, arguments);
        container.wait_until("a generation serves", |status| status.state() == "serving");
        container
    }
}

/// A container. Dropping it removes it, running or not.
pub struct Container<'e> {
    engine: &'e Engine,
    name: String,
    port: u16,
}

impl Container<'_> {
    /// Where the app is reached, from the engine's network.
    #[must_use]
    pub fn target(&self, way: Way) -> Target {
        Target::parse(&match way {
            Way::Proxy => format!("127.0.0.1:{}", self.port),
            Way::Filter => format!("198.51.100.1:{}", self.port),
        })
    }

    /// `docker exec NAME ARGS`.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn exec(&self, args: &[&str]) -> Finished {
        self.engine.docker(&[&["exec", &self.name], args].concat())
    }

    /// The same with success demanded; returns what it printed.
    ///
    /// # Panics
    /// When it fails; the container's log is in the message.
    #[track_caller]
    pub fn exec_ok(&self, args: &[&str]) -> String {
        let done = self.exec(args);
        assert_eq!(
            done.code,
            Some(0),
            "{args:?}: {}\nlog:\n{}",
            done.stderr,
            self.logs()
        );
        done.stdout
    }

    /// `docker COMMAND... NAME`, with success demanded.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn docker_ok(&self, command: &[&str]) -> String {
        self.engine.docker_ok(&[command, &[&self.name]].concat())
    }

    /// Starts `docker COMMAND... NAME` without waiting for its end.
    #[must_use]
    #[track_caller]
    pub fn begin(&self, command: &[&str]) -> Process {
        Process::start(self.engine.command().args(command).arg(&self.name))
    }

    /// What its processes wrote to stdout and stderr, as two texts.
    #[must_use]
    #[track_caller]
    pub fn output(&self) -> Finished {
        self.engine.docker(&["logs", &self.name])
    }

    /// The exact bytes that its processes wrote to stdout and to stderr.
    ///
    /// # Panics
    /// When the engine does not tell.
    #[must_use]
    #[track_caller]
    pub fn bytes(&self) -> (Vec<u8>, Vec<u8>) {
        let logs = self.engine.command().args(["logs", &self.name]).output();
        let logs = logs.unwrap_or_else(|error| panic!("docker logs: {error}"));
        (logs.stdout, logs.stderr)
    }

    /// What Segue and the app wrote to stderr.
    #[must_use]
    #[track_caller]
    pub fn logs(&self) -> String {
        self.output().stderr
    }

    /// `docker inspect`, by a template: `{{.State.StartedAt}}`.
    #[must_use]
    #[track_caller]
    pub fn inspect(&self, template: &str) -> String {
        self.docker_ok(&["inspect", "--format", template])
    }

    /// `segue status --json` in the container, if it answers.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> Option<Status> {
        let done = self.exec(&["segue", "status", "--json"]);
        Status::told(&done.stdout)
    }

    /// Waits until the status satisfies a condition.
    ///
    /// # Panics
    /// When that does not happen in time.
    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl Fn(&Status) -> bool) -> Status {
        wait(what, || self.logs(), || self.status().filter(&condition))
    }

    /// Waits until `docker inspect` prints a word.
    ///
    /// # Panics
    /// When that does not happen in time.
    #[track_caller]
    pub fn wait_for(&self, template: &str, word: &str) {
        let explain = || format!("{} is {}\n{}", template, self.inspect(template), self.logs());
        wait(word, explain, || (self.inspect(template) == word).then_some(()));
    }

    /// Waits until a text is in the log.
    ///
    /// # Panics
    /// When that does not happen in time.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        wait(text, || self.logs(), || self.logs().contains(text).then_some(()));
    }

    /// Waits for the end of the container and returns its exit code.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    #[track_caller]
    pub fn wait_for_exit(&self) -> i32 {
        self.wait_for("{{.State.Running}}", "false");
        let code = self.inspect("{{.State.ExitCode}}");
        code.parse()
            .unwrap_or_else(|error| panic!("exit code {code}: {error}"))
    }

    /// When it was started, and how often the engine started it anew.
    #[must_use]
    #[track_caller]
    pub fn lives(&self) -> String {
        self.inspect("{{.State.StartedAt}} {{.State.Pid}} {{.RestartCount}}")
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self
            .engine
            .command()
            .args(["rm", "--force", "--volumes", &self.name])
            .output();
    }
}

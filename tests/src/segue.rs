//! A supervisor under test: `segue run` in a directory of its own, with a deadline on everything.
//!
//! ```no_run
//! use segue_tests::{load::{Kind, Load}, program::Program, segue::Setup};
//! let segue = Setup::new(Program::fixture("good")).flags(["--drain-timeout", "10s"]).start();
//! let load = Load::start(Kind::Fresh, &segue.target(), 4);
//! assert_eq!(segue.reload(&[]).code, Some(0));
//! load.wait_for_generation(2);
//! load.stop().assert_nothing_lost();
//! segue.stop(); // exit code 0 and nothing left behind
//! ```

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::binaries::Binary;
use crate::executable;
use crate::http::Target;
use crate::load::{Kind, Load};
use crate::proc;
use crate::process::{Finished, Process};
use crate::program::Program;
use crate::terminal::Terminal;

/// A short directory that other users may pass through: socket paths are limited to 107 bytes, and fixtures that change
/// their user must reach their notify socket.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn directory() -> TempDir {
    let made = tempfile::Builder::new().prefix("segue-t").tempdir_in("/tmp");
    let directory = made.unwrap_or_else(|error| panic!("temporary directory: {error}"));
    let open = std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711));
    open.unwrap_or_else(|error| panic!("temporary directory: {error}"));
    directory
}

/// What to start; [`Setup::start`] starts it.
pub struct Setup {
    directory: TempDir,
    listen: Vec<String>,
    flags: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    program: Option<Program>,
    opener: Vec<OsString>,
    word: &'static str,
}

impl Setup {
    /// `segue run -l 127.0.0.1:0 -- PROGRAM`.
    #[must_use]
    pub fn new(program: Program) -> Self {
        Self {
            program: Some(program),
            ..Self::from_config()
        }
    }

    /// Without a command: everything comes from a `--config` file that is added with [`Setup::flags`].
    #[must_use]
    pub fn from_config() -> Self {
        Self {
            directory: directory(),
            listen: Vec::new(),
            flags: Vec::new(),
            env: Vec::new(),
            program: None,
            opener: Vec::new(),
            word: "run",
        }
    }

    /// The first generation is trusted at once; those of later reloads are on probation for an hour, from when
    /// [`Segue::distrust`] is called. So one that dies soon after its takeover is rolled back, however slow the machine is.
    /// It writes the instance's `segue.toml`.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    #[track_caller]
    pub fn trusted_at_once(self) -> Self {
        let file = self.path(SETTINGS);
        write_probation(&file, "0s");
        self.flags([OsString::from("--config"), file.into_os_string()])
    }

    /// Says what to run, where that needs paths of the instance's own directory.
    #[must_use]
    pub fn program(mut self, program: Program) -> Self {
        self.program = Some(program);
        self
    }

    /// Adds words to the command.
    #[must_use]
    pub fn arguments<I: IntoIterator>(mut self, words: I) -> Self
    where
        I::Item: Into<OsString>,
    {
        self.program = self.program.map(|program| program.args(words));
        self
    }

    /// The directory of this instance: for binaries to deploy, files, socket paths.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a `#!/bin/sh` script that execs a program at `name` in this instance's directory, as a deploy does it: written
    /// beside, made executable, renamed over. The next reload of `./name` runs it.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn deploy(&self, name: &str, program: &Program) {
        let beside = self.path(&format!("{name}.new"));
        executable::write(
            &beside,
            format!("#!/bin/sh\nexec {} \"$@\"\n", program.shell_words()).as_bytes(),
        );
        let deployed = std::fs::rename(&beside, self.path(name));
        deployed.unwrap_or_else(|error| panic!("deploy {name}: {error}"));
    }

    /// The program, from a copy in this instance's directory: for a user who may not be able to go where cargo has built it.
    ///
    /// # Panics
    /// When it cannot be copied.
    #[must_use]
    #[track_caller]
    pub fn own_copy(&self, program: &Program) -> Program {
        let (from, rest) = program.words().split_first().expect("a program has a name");
        let from = Path::new(from);
        let own = self.path(&from.file_name().unwrap_or_default().to_string_lossy());
        let copied = executable::copy(from, &own);
        copied.unwrap_or_else(|error| panic!("copy {}: {error}", from.display()));
        Program::new(own).args(rest.iter().cloned())
    }

    /// Adds `--listen`; without any, `127.0.0.1:0` is used (unless everything comes from a file).
    #[must_use]
    pub fn listen(mut self, spec: impl Into<String>) -> Self {
        self.listen.push(spec.into());
        self
    }

    /// Adds flags in front of the command.
    #[must_use]
    pub fn flags<I: IntoIterator>(mut self, words: I) -> Self
    where
        I::Item: Into<OsString>,
    {
        self.flags.extend(words.into_iter().map(Into::into));
        self
    }

    /// Sets a variable in the supervisor's own environment.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Starts `segue dev` in the place of `segue run`: the process of the [`Segue`] is that one, and a signal to it ends all.
    #[must_use]
    pub fn developed(mut self) -> Self {
        self.word = "dev";
        self
    }

    /// Lets another program open the sockets: it is run with these words, and executes `segue run` in its own process.
    #[must_use]
    pub fn opened_by<I: IntoIterator>(mut self, words: I) -> Self
    where
        I::Item: Into<OsString>,
    {
        self.opener.extend(words.into_iter().map(Into::into));
        self
    }

    /// Starts it and waits until a generation serves.
    ///
    /// # Panics
    /// When it ends or does not serve in time.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Segue {
        let segue = self.spawn();
        segue.wait_until("a generation serves", |status| status.state() == "serving");
        segue
    }

    /// Starts it without waiting for anything.
    #[must_use]
    #[track_caller]
    pub fn spawn(mut self) -> Segue {
        if self.listen.is_empty() && self.program.is_some() {
            self.listen.push("127.0.0.1:0".to_owned());
        }
        Segue {
            process: Process::start(&mut self.run_command()),
            control: self.path("control"),
            setup: self,
            expects_leftovers: Leftovers::None,
        }
    }

    fn run_command(&self) -> Command {
        let mut command = self.command_after(&self.opener, self.word);
        command.arg("--control").arg(self.path("control"));
        for spec in &self.listen {
            command.arg("--listen").arg(spec);
        }
        command.args(&self.flags);
        if let Some(program) = &self.program {
            command.arg("--").args(program.words());
        }
        command
    }

    /// Starts one that is expected not to come up, and returns how it ended.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    #[track_caller]
    pub fn start_in_vain(self) -> Finished {
        let segue = self.spawn();
        let code = segue.process.wait_for_exit().code();
        Finished {
            code,
            stdout: String::new(),
            stderr: segue.process.stderr(),
        }
    }

    /// A `segue` command in this instance's surroundings: no variable of the machine that runs the tests gets in.
    fn command(&self, word: &str) -> Command {
        self.command_after(&[], word)
    }

    fn command_after(&self, opener: &[OsString], word: &str) -> Command {
        // Under nohup(1), as in some CI systems, SIGHUP would arrive ignored, and Segue leaves it so.
        let mut command = Command::new("env");
        command
            .arg("--default-signal=HUP")
            .args(opener)
            .arg(Binary::Segue.path())
            .arg(word)
            .stdin(Stdio::null())
            .current_dir(self.directory.path());
        for key in [
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "NOTIFY_SOCKET",
            "RUNTIME_DIRECTORY",
            "JOURNAL_STREAM",
        ] {
            command.env_remove(key);
        }
        command
            .env("XDG_RUNTIME_DIR", self.directory.path())
            .env(proc::MARK, self.mark());
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }

    fn mark(&self) -> &Path {
        self.directory.path()
    }
}

/// The file of [`Setup::trusted_at_once`].
const SETTINGS: &str = "segue.toml";

#[track_caller]
fn write_probation(file: &Path, probation: &str) {
    let written = std::fs::write(file, format!("probation = \"{probation}\"\n"));
    written.unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
}

/// What may be left when the supervisor has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leftovers {
    None,
    Checked,
}

/// A running supervisor. Dropping it kills it and everything it started.
pub struct Segue {
    process: Process,
    control: PathBuf,
    setup: Setup,
    expects_leftovers: Leftovers,
}

impl Segue {
    /// The process of `segue run`; its log is the supervisor's and the app's in one.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The control socket.
    #[must_use]
    pub fn control(&self) -> &Path {
        &self.control
    }

    /// A path in this instance's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.setup.path(name)
    }

    /// As [`Setup::deploy`].
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn deploy(&self, name: &str, program: &Program) {
        self.setup.deploy(name, program);
    }

    /// Starts `segue WORD --control ... ARGS` without waiting for its end.
    #[must_use]
    #[track_caller]
    pub fn begin(&self, word: &str, args: &[&str]) -> Process {
        let mut command = self.setup.command(word);
        command.arg("--control").arg(&self.control).args(args);
        Process::start(&mut command)
    }

    /// Starts `segue WORD --control ... ARGS` at a terminal, with these variables in its environment.
    #[must_use]
    #[track_caller]
    pub fn at_terminal(&self, word: &str, args: &[&str], variables: &[(&str, &str)]) -> Terminal {
        self.at_terminal_by(&[], word, args, variables)
    }

    /// The same, started by another program with these words.
    #[must_use]
    #[track_caller]
    pub fn at_terminal_by(
        &self,
        opener: &[&str],
        word: &str,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> Terminal {
        let opener: Vec<OsString> = Terminal::OPENER
            .iter()
            .chain(opener)
            .map(OsString::from)
            .collect();
        let mut command = self.setup.command_after(&opener, word);
        command.arg("--control").arg(&self.control).args(args);
        Terminal::start(command.envs(variables.iter().copied()))
    }

    /// Runs `segue WORD --control ... ARGS` to its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn run(&self, word: &str, args: &[&str]) -> Finished {
        self.begin(word, args).finish()
    }

    /// See [`Setup::trusted_at_once`].
    ///
    /// # Panics
    /// When the file cannot be written.
    #[track_caller]
    pub fn distrust(&self) {
        write_probation(&self.path(SETTINGS), "1h");
    }

    /// The opposite of [`Segue::distrust`]: later generations are trusted at once.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[track_caller]
    pub fn trust(&self) {
        write_probation(&self.path(SETTINGS), "0s");
    }

    /// `segue reload` with further flags, to its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn reload(&self, args: &[&str]) -> Finished {
        self.run("reload", args)
    }

    /// `segue reload`, and what goes with a success checked: exit code 0.
    ///
    /// # Panics
    /// When it fails; the log is in the message.
    #[track_caller]
    pub fn reload_ok(&self, args: &[&str]) {
        let done = self.reload(args);
        assert_eq!(
            done.code,
            Some(0),
            "reload failed: {}\nlog:\n{}",
            done.stderr,
            self.process.stderr()
        );
    }

    /// Three reloads while new connections come in, each until the new generation has answered: nothing is lost.
    ///
    /// # Panics
    /// When something is, or a reload fails.
    #[track_caller]
    pub fn reload_under_load(&self) {
        let load = Load::start(Kind::Fresh, &self.target(), 3);
        let serves = self.status().generation();
        for generation in serves + 1..=serves + 3 {
            self.reload_ok(&[]);
            load.wait_for_generation(generation);
        }
        load.stop().assert_nothing_lost();
    }

    /// What the supervisor has open when nobody talks to it. A client that has had its answer may be gone before the supervisor has
    /// closed its connection; when it handles a signal that came later it has. (The app must not catch SIGUSR1.)
    ///
    /// # Panics
    /// When the signal is not handled in time.
    #[must_use]
    #[track_caller]
    pub fn descriptors(&self) -> std::collections::BTreeMap<i32, String> {
        let mark = self.process.mark();
        self.signal(Signal::SIGUSR1);
        self.process.wait_for_line_after(mark, "SIGUSR1 from ");
        proc::descriptors(self.process.pid())
    }

    /// `segue status --json`.
    ///
    /// # Panics
    /// When it prints no JSON.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> Status {
        let done = self.run("status", &["--json"]);
        Status::told(&done.stdout)
            .unwrap_or_else(|| panic!("status --json: {done:?}\nlog:\n{}", self.process.stderr()))
    }

    /// Waits until the status satisfies a condition; asked again after every line of the log.
    ///
    /// # Panics
    /// When that does not happen in time, or the supervisor ends.
    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl Fn(&Status) -> bool) -> Status {
        let end = Instant::now() + crate::patience();
        let mut last = String::new();
        loop {
            let mark = self.process.mark();
            let done = self.run("status", &["--json"]);
            if let Some(status) = Status::told(&done.stdout)
                && condition(&status)
            {
                return status;
            }
            last.clone_from(&done.stdout);
            assert!(
                self.process.is_running(),
                "segue ended: {what}; log:\n{}",
                self.process.stderr()
            );
            assert!(
                Instant::now() < end,
                "not in time: {what}; status: {last}\nlog:\n{}",
                self.process.stderr()
            );
            self.process.wait_for_news(mark);
        }
    }

    /// Where its first listener is reached.
    ///
    /// # Panics
    /// When the status has no listener.
    #[must_use]
    #[track_caller]
    pub fn target(&self) -> Target {
        let status = self.status();
        let address = status.0["listeners"][0]["address"].as_str();
        Target::parse(address.unwrap_or_else(|| panic!("no listener in {}", status.0)))
    }

    /// `kill -9` of the supervisor, and of nobody else; returns when it is dead.
    pub fn kill(&self) {
        self.process.signal(Signal::SIGKILL);
        let _ = self.process.wait_for_exit();
    }

    /// Starts the supervisor again with the words with which it was started, without waiting for anything.
    pub fn start_again(&mut self) {
        self.process = Process::start(&mut self.setup.run_command());
    }

    /// As [`Segue::start_again`], and waits until a generation serves under it.
    ///
    /// # Panics
    /// When it ends or does not serve in time.
    #[track_caller]
    pub fn resume(&mut self) {
        self.start_again();
        self.wait_until("a generation serves", |status| status.state() == "serving");
    }

    /// Sends a signal to the supervisor.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// `segue stop`: exit code 0 of both, and nothing left: no process, no socket, no file of its own.
    ///
    /// # Panics
    /// When any of that is not so.
    #[track_caller]
    pub fn stop(self) {
        let done = self.run("stop", &[]);
        assert_eq!(
            done.code,
            Some(0),
            "stop: {}\nlog:\n{}",
            done.stderr,
            self.process.stderr()
        );
        self.ended();
    }

    /// Waits for the end of a supervisor that was told to stop by other means, and checks as [`Segue::stop`] does.
    ///
    /// # Panics
    /// When its exit code is not 0 or something is left.
    #[track_caller]
    pub fn ended(mut self) {
        let exit = self.process.wait_for_exit();
        let log = self.process.stderr();
        assert_eq!(exit.code(), Some(0), "segue run ended with {exit}; log:\n{log}");
        self.expects_leftovers = Leftovers::Checked;
        let left = self.leftover_processes();
        assert!(left.is_empty(), "processes left behind: {left:?}; log:\n{log}");
        let sockets = self.leftover_sockets();
        assert!(
            sockets.is_empty(),
            "sockets left behind: {sockets:?}; log:\n{log}"
        );
    }

    /// Every living process that this instance started, itself included while it runs.
    #[must_use]
    pub fn leftover_processes(&self) -> Vec<proc::Seen> {
        proc::marked(&self.setup.mark().to_string_lossy())
    }

    fn leftover_sockets(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect_sockets(self.setup.directory.path(), &mut found);
        found
    }
}

fn collect_sockets(directory: &Path, found: &mut Vec<PathBuf>) {
    use std::os::unix::fs::FileTypeExt;
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_socket() => found.push(entry.path()),
            Ok(kind) if kind.is_dir() => collect_sockets(&entry.path(), found),
            _ => {}
        }
    }
}

impl Drop for Segue {
    fn drop(&mut self) {
        if self.expects_leftovers == Leftovers::Checked {
            return;
        }
        self.process.signal(Signal::SIGKILL);
        let _ = self.process.wait_for_exit();
        kill_marked(&self.setup.mark().to_string_lossy());
    }
}

/// Kills, one by one, what carries a mark. A process that forks meanwhile is met in the next round.
pub fn kill_marked(mark: &str) {
    let end = Instant::now() + crate::patience();
    loop {
        let left: Vec<_> = proc::marked(mark)
            .into_iter()
            .filter(|seen| seen.state != 'Z')
            .collect();
        if left.is_empty() || Instant::now() > end {
            return;
        }
        for seen in left {
            let _ = kill(Pid::from_raw(seen.pid), Signal::SIGKILL);
        }
        std::thread::sleep(crate::LOOK);
    }
}

/// `segue status --json`, with the questions that tests ask. The whole JSON is in field 0.
#[derive(Clone, Debug)]
pub struct Status(pub Value);

impl Status {
    /// What `segue status --json` has printed, if that is a status and not why there is none.
    #[must_use]
    pub fn told(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text).ok()?;
        json.get("schema").is_some().then_some(Self(json))
    }

    /// `starting`, `serving`, `handing-off`, `backing-off` or `stopping`.
    #[must_use]
    pub fn state(&self) -> &str {
        self.0["state"].as_str().unwrap_or("")
    }

    /// The incumbent's number; 0 without one.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0["generation"].as_u64().unwrap_or(0)
    }

    /// The generations in a role: `candidate`, `incumbent` or `retired`.
    #[must_use]
    pub fn in_role(&self, role: &str) -> Vec<u64> {
        let all = self.0["generations"].as_array().map_or(&[][..], Vec::as_slice);
        all.iter()
            .filter(|entry| entry["role"] == role)
            .filter_map(|entry| entry["generation"].as_u64())
            .collect()
    }

    /// The pids of a generation's workers.
    #[must_use]
    pub fn pids(&self, generation: u64) -> Vec<i32> {
        let all = self.0["generations"].as_array().map_or(&[][..], Vec::as_slice);
        let found = all
            .iter()
            .find(|entry| entry["generation"].as_u64() == Some(generation));
        let workers = found
            .and_then(|entry| entry["workers"].as_array())
            .map_or(&[][..], Vec::as_slice);
        workers
            .iter()
            .filter_map(|worker| i32::try_from(worker["pid"].as_i64()?).ok())
            .collect()
    }

    /// The open connections of a generation's first worker; 0 where they are not known.
    #[must_use]
    pub fn connections(&self, generation: u64) -> usize {
        let all = self.0["generations"].as_array().map_or(&[][..], Vec::as_slice);
        let found = all.iter().find(|entry| entry["generation"] == generation);
        let seen = found.and_then(|entry| entry["workers"][0]["connections"].as_u64());
        seen.map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// What is said of the first listener: `address`, `trouble`.
    #[must_use]
    pub fn listener(&self, key: &str) -> &Value {
        &self.0["listeners"][0][key]
    }

    /// `last_reload.outcome`; empty before the first.
    #[must_use]
    pub fn last_outcome(&self) -> &str {
        self.0["last_reload"]["outcome"].as_str().unwrap_or("")
    }

    /// `last_reload.reason`.
    #[must_use]
    pub fn last_reason(&self) -> &str {
        self.0["last_reload"]["reason"].as_str().unwrap_or("")
    }

    /// A counter at the top: `restarts`, `rollbacks`.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or(0)
    }
}

//! strace on a running supervisor.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use segue_tests::process::Process;
use segue_tests::strace::Tracer;

/// It lets the calls of one process fail until it is let go.
pub(crate) struct Strace {
    tracer: Tracer,
    output: PathBuf,
}

impl Strace {
    /// Attaches to a process; returns when that has been done.
    pub(crate) fn attach(pid: i32, output: &Path, expressions: &[String]) -> Self {
        // With paths beside the fds, for the table.
        let fixed = [OsString::from("-y"), "-o".into(), output.into()];
        let expressions = expressions
            .iter()
            .flat_map(|expression| ["-e", expression.as_str()].map(OsString::from));
        Self {
            tracer: Tracer::attach(pid, fixed.into_iter().chain(expressions)),
            output: output.to_owned(),
        }
    }

    /// Detaches, and tells what it has seen, a line each.
    pub(crate) fn detach(self) -> Vec<String> {
        self.tracer.detach();
        let text = std::fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&text)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

/// Whether this machine lets a process trace another one that it has not started.
pub(crate) fn permitted() -> Result<(), String> {
    let sleeper = Process::start(Command::new("sleep").arg("60").stdin(Stdio::null()));
    let traced = Command::new("strace")
        .args(["-o", "/dev/null", "-e", "inject=close:error=EIO", "-p"])
        .arg(sleeper.pid().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut traced = traced.map_err(|error| format!("strace: {error}"))?;
    let mut said = String::new();
    let stderr = traced.stderr.take().ok_or("strace: no output")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stderr), &mut said)
        .map_err(|error| error.to_string())?;
    sleeper.signal(Signal::SIGKILL);
    let _ = traced.wait();
    if said.contains(" attached") {
        Ok(())
    } else {
        Err(said.trim().to_owned())
    }
}

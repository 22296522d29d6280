//! strace on a running supervisor.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use segue_tests::process::Process;

/// It lets the calls of one process fail until it is let go.
pub(crate) struct Strace {
    process: Process,
    output: PathBuf,
}

impl Strace {
    /// Attaches to a process; returns when that has been done.
    pub(crate) fn attach(pid: i32, output: &Path, expressions: &[String]) -> Self {
        let mut command = Command::new("strace");
        // With paths beside the fds, for the table.
        command
            .arg("-y")
            .arg("-o")
            .arg(output)
            .arg("-p")
            .arg(pid.to_string());
        for expression in expressions {
            command.arg("-e").arg(expression);
        }
        let process = Process::start(command.stdin(Stdio::null()));
        process.wait_for_line(" attached");
        Self {
            process,
            output: output.to_owned(),
        }
    }

    /// Detaches, and tells what it has seen, a line each.
    pub(crate) fn detach(self) -> Vec<String> {
        self.process.signal(Signal::SIGINT);
        self.process.wait_for_exit();
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

//! strace on a running supervisor.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

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

//! Memory, and what the kernel does when there is none: how much is free, and whether it has killed. (Who is
//! killed first: `sys/oom_score.rs`.)
//!
//! Floor 2. Everything here is a few small files of /proc and of the cgroup file systems, which the kernel writes without
//! waiting for anybody. The loop asks at a reload, at a drain, and when a worker was killed; never otherwise.

mod cgroup;
mod free;
mod kills;
#[cfg(test)]
mod tests;

pub(crate) use free::{Room, compare};
pub(crate) use kills::{Kills, Verdict};

use crate::sys;
use std::path::PathBuf;

/// Where /proc is, and what the paths of mounts are relative to.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    proc: PathBuf,
    mounts: PathBuf,
}

impl Roots {
    /// Those of this machine.
    pub(crate) fn real() -> Roots {
        Roots {
            proc: "/proc".into(),
            mounts: "/".into(),
        }
    }

    /// The text of a file of /proc.
    fn proc(&self, name: &str) -> std::io::Result<String> {
        sys::kernel_text(self.proc.join(name))
    }
}

/// The number behind a word in a file of lines `WORD NUMBER`, as the kernel writes them.
fn number_of(text: &str, word: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(word)?;
        rest.strip_prefix([' ', ':'])?
            .split_ascii_whitespace()
            .next()?
            .parse()
            .ok()
    })
}

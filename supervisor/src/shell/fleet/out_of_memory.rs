//! Whom the kernel has killed for memory, and whom it shall rather kill.

use segue_lifecycle::Worker;

use crate::children::ExitStatus;
use crate::memory::Verdict;
use crate::shell::Child;
use crate::shell::fleet::Fleet;
use crate::sys;

impl Fleet {
    /// A worker has died: whether the kernel has killed it for memory. To be asked before its end is told.
    pub(crate) fn note_killer(&mut self, worker: Worker, status: ExitStatus) -> Verdict {
        let Some(info) = self.workers.get_mut(&worker) else {
            return Verdict::Innocent;
        };
        if status.is_sigkill() && !info.killed {
            info.verdict = self.kills.explain();
        }
        info.verdict
    }

    /// A worker that drains is killed by the kernel rather than one that serves.
    pub(crate) fn sacrifice(&self, worker: Worker) {
        let child = Child::Worker(worker);
        if let (Some(pid), Some(numbered)) = (self.children.pid(child), self.children.numbered(child)) {
            sys::raise_oom_score(pid, numbered);
        }
    }
}

//! Workers and children, as rows and back.

use nix::unistd::Pid;
use segue_lifecycle::Worker;

use crate::children::{Kin, Leader};
use crate::launch::ReportSocket;
use crate::readiness::{AckSocket, NotifySocket};
use crate::shell::fleet::Fleet;
use crate::shell::fleet::probe::Probes;
use crate::shell::fleet::strays::Strays;
use crate::shell::fleet::worker::WorkerInfo;
use crate::shell::found::{Found, of_kind};
use crate::shell::{Child, PollSet};
use crate::sources::Source;
use crate::state::{Fds, Fields as _, Flaw, Passed, Row, Rows, Whole as _, by_text, whole};

/// A child as a row tells of it.
#[derive(Debug)]
pub(crate) struct SavedChild {
    pub(crate) key: Child,
    pub(crate) pid: Pid,
    /// When it was started; with the pid it tells the process from every other.
    pub(crate) began: Option<u64>,
    pub(crate) kin: Kin,
    pub(crate) leader: Leader,
}

whole!(SavedChild {
    "name" key;
    "pid" pid;
    "kin" kin;
    "leader" leader;
    "began" began;
});

by_text!(Child);

impl SavedChild {
    /// All that the rows tell of.
    pub(crate) fn all(rows: &[Row<'_>]) -> Result<Vec<Self>, Flaw> {
        of_kind(rows, "child").map(Self::of_row).collect()
    }
}

/// The name of the pidfd of a child.
pub(crate) fn pidfd_name(child: Child) -> String {
    format!("pidfd-{child}")
}

impl Fleet {
    /// Write a row for each worker, each child, each run of a probe and each stray.
    pub(crate) fn save(&self, rows: &mut Rows) {
        for (worker, info) in &self.workers {
            // What is only kept for the messages of this turn is of no use to anybody else.
            if self.gone.contains(worker) {
                continue;
            }
            info.save(*worker, rows);
            let name = worker.to_string();
            if let Some(notify) = &info.notify {
                notify.save(&name, rows);
            }
            if let Some(report) = &info.report {
                report.save(&name, rows);
            }
        }
        self.probes.save(rows);
        for child in self.children.saved() {
            let child = SavedChild {
                key: child.key,
                pid: child.pid,
                began: child.began,
                kin: child.kin,
                leader: child.leader,
            };
            child.save_fields(rows.begin("child"));
        }
        self.strays.save(rows);
    }

    /// The fds of all of them.
    pub(crate) fn pass_on<'a>(&'a self, fds: &mut Passed<'a>) {
        for (worker, info) in &self.workers {
            let name = worker.to_string();
            if let Some(notify) = &info.notify {
                fds.push((NotifySocket::name(&name), notify.as_fd()));
                let acks = notify.acks().map(AckSocket::listener);
                fds.extend(acks.map(|listener| (NotifySocket::ack_name(&name), listener)));
            }
            if let Some(report) = &info.report {
                fds.push((ReportSocket::name(&name), report.as_fd()));
            }
        }
        for child in self.children.saved() {
            fds.extend(child.pidfd.map(|pidfd| (pidfd_name(child.key), pidfd)));
        }
    }

    /// Take in all that the rows tell of them, but for the children.
    pub(crate) fn fill(&mut self, found: &Found<'_>, spare_fds: &mut Fds) -> Result<(), Flaw> {
        self.probes = Probes::restore(found.rows)?;
        for row in found.of_kind("worker") {
            let (worker, info) = WorkerInfo::restore(row)?;
            self.workers.insert(worker, info);
        }
        for row in found.of_kind("notify") {
            let worker: Worker = row.parsed("worker")?;
            if let Some(info) = self.workers.get_mut(&worker) {
                let guard = found.custody.guard();
                info.notify = Some(NotifySocket::restore(row, spare_fds, info.uid, guard)?);
            }
        }
        for row in found.of_kind("report") {
            let worker: Worker = row.parsed("worker")?;
            if let Some(info) = self.workers.get_mut(&worker) {
                info.report = ReportSocket::restore(&row, spare_fds)?;
            }
        }
        self.strays = Strays::restore(found.rows)?;
        Ok(())
    }

    /// Take charge again of a child of this process.
    pub(crate) fn keep_child(&mut self, child: SavedChild, spare_fds: &mut Fds) -> Result<(), Flaw> {
        let name = pidfd_name(child.key);
        match (spare_fds.take(&name), child.leader) {
            (Some(pidfd), leader) => {
                self.children
                    .restore(child.key, child.pid, pidfd, child.kin, leader);
            }
            (None, Leader::Reaped) => self.children.adopt_group(child.key, child.pid, child.began),
            (None, Leader::Alive | Leader::Unreaped(_) | Leader::Told | Leader::Zombie) => {
                return Err(Flaw::new(format_args!("the fd {name} is missing")));
            }
        }
        Ok(())
    }

    /// Put all that can be heard of workers into the poll set.
    pub(crate) fn watch_all(&self, sources: &mut PollSet) -> Result<(), String> {
        let watched = |errno| format!("epoll: {}", crate::sys::errno_text(errno));
        for (worker, info) in &self.workers {
            if let Some(notify) = &info.notify {
                let added = sources.add(Source::Notify(*worker), notify.as_fd());
                added.map_err(watched)?;
                if let Some(acks) = notify.acks() {
                    sources.add(Source::Ack(*worker), acks.as_fd()).map_err(watched)?;
                }
            }
            if let Some(report) = &info.report {
                let added = sources.add(Source::Report(*worker), report.as_fd());
                added.map_err(watched)?;
            }
        }
        for child in self.children.saved() {
            match (child.key, child.kin, child.leader, child.pidfd) {
                (Child::Worker(worker), Kin::Adopted, Leader::Alive, Some(pidfd)) => {
                    sources.add(Source::Exit(worker), pidfd).map_err(watched)?
                }
                (Child::Worker(_) | Child::Probe(..) | Child::Hook(_) | Child::Check, ..) => {}
            }
        }
        Ok(())
    }
}

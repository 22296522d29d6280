//! Hooks: commands of the user's, run before a reload and at what has happened. Each is in a session of its own and has a deadline;
//! nothing waits for one but the reload that it may refuse.
//!
//! No row tells of them: an upgrade in place waits until they are over, and what a supervisor that was killed has left is ended by
//! the next one, which prepares an unfinished reload anew, its hook included.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Seek as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::signal::Signal;
use segue_lifecycle::{Number, Plan, Record};

use crate::children::{Children, ExitStatus};
use crate::clock::{self, Timers};
use crate::config::{Moment, Word as _};
use crate::launch::{self, Errand, WorkerIdentity};
use crate::log::Log;
use crate::protocol::{one_line, setting};
use crate::shell::fleet::probe::ForkedCommand;
use crate::shell::fleet::{Fleet, Ground};
use crate::shell::records::births::lend;
use crate::shell::{Alarm, Child};
use crate::sys::{self, errno_text};

/// So many run at once at most: ten reloads a second with a slow hook each must not fill the machine.
const MOST_AT_ONCE: usize = 8;

/// A hook can write so much; more fails to be written (EPERM), and the memory is used only by what was.
const MOST_OUTPUT: u64 = 1024 * 1024;

/// So much of its end is looked at,
const LOOKED_AT: u64 = 8 * 1024;

/// ... and so many lines of that are told.
const MOST_LINES: usize = 20;

/// How long the kernel has, when the supervisor leaves, to end hooks that were killed: it takes milliseconds, and one that it cannot
/// end is left behind.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The pause between two looks at them.
const LAST_PAUSE: Duration = Duration::from_millis(2);

/// A longer line is cut.
const LONGEST_LINE: usize = 400;

/// What a hook is run for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// To let the reload that brings this generation begin, with what was prepared for it.
    BeforeReload(Number, Plan),
    /// To tell of something that has happened to this generation.
    Tell(Moment, Number),
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeforeReload(number, _) => write!(f, "before-reload (generation {number})"),
            Self::Tell(moment, number) => write!(f, "on {} (generation {number})", moment.word()),
        }
    }
}

/// How a reload's hook has ended: whether the reload goes on.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) number: Number,
    pub(crate) plan: Plan,
    pub(crate) outcome: Result<(), String>,
}

/// The hooks that run.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    running: BTreeMap<u32, Running>,
    last: u32,
}

#[derive(Debug)]
struct Running {
    purpose: Purpose,
    /// In memory. It is shared with the hook, so that its position is the length of what was written.
    output: File,
    limit: Duration,
    deadline: Instant,
}

impl Hooks {
    /// Whether none runs.
    pub(crate) fn are_over(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether one runs that decides whether this generation is started.
    pub(crate) fn decides_on(&self, number: Number) -> bool {
        let mut running = self.running.values();
        running.any(|running| matches!(running.purpose, Purpose::BeforeReload(of, _) if of == number))
    }

    /// Wake up when the first of them is overdue.
    pub(crate) fn watch(&self, timers: &mut Timers<Alarm>) {
        let first = self.running.values().map(|running| running.deadline).min();
        timers.disarm(Alarm::Hooks);
        if let Some(first) = first {
            let now = clock::now();
            timers.arm(Alarm::Hooks, Some(first.saturating_duration_since(now)), now);
        }
    }

    /// One is over, however it ended.
    fn end(&mut self, id: u32, end: Result<(), String>, log: &Log) -> Option<Decision> {
        let Running { purpose, output, .. } = self.running.remove(&id)?;
        let lines = last_lines(&output);
        for line in &lines {
            log.info(&format!("{purpose}: {line}"));
        }
        match purpose {
            Purpose::BeforeReload(number, plan) => {
                let last = lines.last().map(|line| format!(": {line}")).unwrap_or_default();
                let outcome = end.map_err(|why| format!("before-reload: {why}{last}"));
                Some(Decision {
                    number,
                    plan,
                    outcome,
                })
            }
            Purpose::Tell(..) => {
                if let Err(why) = end {
                    log.warning(&format!("{purpose}: {why}"));
                }
                None
            }
        }
    }

    fn ids(&self, is_meant: impl Fn(&Running) -> bool) -> Vec<u32> {
        let meant = self.running.iter().filter(|(_, running)| is_meant(running));
        meant.map(|(id, _)| *id).collect()
    }

    fn kill(id: u32, children: &Children<Child>) {
        let _ = children.signal_group(Child::Hook(id), Signal::SIGKILL);
    }
}

/// What a hook is started with, beside what its birth record has.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) purpose: Purpose,
    pub(crate) command: &'a str,
    pub(crate) facts: &'a [(&'static str, String)],
    /// From whose record it is started: whose user, directory and environment it has.
    pub(crate) record: Record,
    pub(crate) limit: Duration,
}

impl Fleet {
    /// Fork a hook.
    ///
    /// # Errors
    /// One line: it cannot be forked, or too many run already.
    pub(crate) fn fork_hook(
        &mut self,
        call: &Call<'_>,
        ground: &Ground<'_>,
    ) -> Result<ForkedCommand, String> {
        if self.hooks.running.len() >= MOST_AT_ONCE {
            return Err(format!("not run: {MOST_AT_ONCE} hooks run already"));
        }
        let output = output_file()?;
        let spawned = spawn(call, &output, ground)?;
        self.hooks.last = self.hooks.last.wrapping_add(1);
        let running = Running {
            purpose: call.purpose,
            output,
            limit: call.limit,
            deadline: clock::now() + call.limit,
        };
        self.hooks.running.insert(self.hooks.last, running);
        let child = Child::Hook(self.hooks.last);
        self.children.add(child, spawned.pid, spawned.pidfd);
        let began = self.children.began(child);
        Ok(ForkedCommand::new(child, spawned.pid, began, spawned.go))
    }

    /// A hook has ended; what it left running in its group ends with it.
    pub(crate) fn hook_exited(&mut self, id: u32, status: ExitStatus, log: &Log) -> Option<Decision> {
        Hooks::kill(id, &self.children);
        let end = match status {
            ExitStatus::Code(0) => Ok(()),
            ExitStatus::Code(_) | ExitStatus::Signal { .. } | ExitStatus::Unknown => Err(status.to_string()),
        };
        self.hooks.end(id, end, log)
    }

    /// Kill those that are overdue. They count as ended, whether or not the kernel can end them.
    pub(crate) fn end_overdue_hooks(&mut self, now: Instant, log: &Log) -> Vec<Decision> {
        let overdue = self.hooks.ids(|running| running.deadline <= now);
        let ended = overdue.into_iter().filter_map(|id| {
            Hooks::kill(id, &self.children);
            let limit = self.hooks.running.get(&id)?.limit;
            let why = format!("killed after {} (--hook-timeout)", setting(limit));
            self.hooks.end(id, Err(why), log)
        });
        ended.collect()
    }

    /// A stop was asked for: no reload begins any more.
    pub(crate) fn end_before_reload(&mut self, log: &Log) -> Vec<Decision> {
        let waiting = self
            .hooks
            .ids(|running| matches!(running.purpose, Purpose::BeforeReload(..)));
        let ended = waiting.into_iter().filter_map(|id| {
            Hooks::kill(id, &self.children);
            self.hooks.end(id, Err("ended by a stop".to_owned()), log)
        });
        ended.collect()
    }

    /// The supervisor leaves, and nobody would end them.
    pub(crate) fn end_all_hooks(&mut self, log: &Log) {
        for id in self.hooks.ids(|_| true) {
            Hooks::kill(id, &self.children);
            self.hooks.end(id, Err("ended, since segue ends".to_owned()), log);
        }
        self.await_killed_hooks();
    }

    /// SIGKILL takes a moment. Whoever waits for the supervisor is to find nothing of it, so its last act waits for that moment.
    fn await_killed_hooks(&mut self) {
        let until = clock::now() + LAST_WAIT;
        while self
            .children
            .saved()
            .any(|child| matches!(child.key, Child::Hook(_)))
            && clock::now() < until
        {
            // The loop is over: what else is seen here concerns nobody any more.
            self.children.sweep();
            std::thread::sleep(LAST_PAUSE);
        }
    }
}

fn spawn(call: &Call<'_>, output: &File, ground: &Ground<'_>) -> Result<launch::Spawned, String> {
    let number = match call.purpose {
        Purpose::BeforeReload(number, _) | Purpose::Tell(_, number) => number,
    };
    let birth = ground.records.births.get(&call.record);
    let birth = birth.ok_or_else(|| "its birth record is gone".to_owned())?;
    let record = birth.usable()?;
    let place = &ground.given.place;
    let runtime = record.has_runtime().then(|| place.runtime_directory(number));
    let listeners: Vec<_> = birth.listeners.iter().map(|listener| lend(listener)).collect();
    let errand = Errand {
        name: &ground.given.config.name,
        command: call.command,
        facts: call.facts,
        runtime: runtime.as_deref(),
        output: output.as_fd(),
    };
    let identity = WorkerIdentity {
        generation: number,
        slot: 0,
    };
    record
        .spawn_hook(&listeners, identity, &errand)
        .map_err(|error| error.to_string())
}

/// A file in memory that cannot grow beyond its size, of which a page is used only when it is written.
fn output_file() -> Result<File, String> {
    let failed = |why: String| format!("output: {why}");
    let file = sys::memory_file(c"segue-hook").map_err(|errno| failed(errno_text(errno)))?;
    file.set_len(MOST_OUTPUT)
        .map_err(|error| failed(errno_text(error)))?;
    let seals = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(|errno| failed(errno_text(errno)))?;
    Ok(file)
}

/// The last lines that were written, each cut and made harmless.
fn last_lines(mut output: &File) -> Vec<String> {
    let end = output.stream_position().unwrap_or(0).min(MOST_OUTPUT);
    let begin = end.saturating_sub(LOOKED_AT);
    let mut bytes = vec![0; usize::try_from(end - begin).unwrap_or(0)];
    if output.read_exact_at(&mut bytes, begin).is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if begin > 0 && lines.len() > 1 {
        // Its begin was not looked at.
        lines.remove(0);
    }
    let first = lines.len().saturating_sub(MOST_LINES);
    lines[first..]
        .iter()
        .map(|line| one_line(line, LONGEST_LINE))
        .collect()
}

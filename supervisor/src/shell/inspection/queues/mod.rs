//! After the takeover: do clients wait in vain?
//!
//! Our own copy of each listener tells when a client waits in its queue, once ([`EpollFlags::EPOLLONESHOT`]): at rest that costs
//! nothing. From then on the queue is looked at, first after half of `--accept-timeout`. If it went down meanwhile, clients are
//! accepted, and the listener shall tell again: that makes one wake-up a second at most, however busy the app is. If it has not
//! gone down in all that time, and no process of the generation has a connection of that port, the generation is deaf.
//!
//! How long the queue is, the kernel tells of TCP sockets. Of others it only tells whether somebody waits: there the queue must
//! have been found empty once.

mod course;
mod hearing;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use segue_lifecycle::Number;

use crate::clock::{self, Timers};
use crate::listeners::Listener;
use crate::protocol::setting;
use crate::shell::fleet::{Fleet, Ground};
use crate::shell::{Alarm, PollSet};
use crate::sources::Source;
use crate::state::{Flaw, Row, Rows};
use crate::sys::{errno_text, sock};

use course::{Course, Waiting};
use hearing::Hearing;

/// How many listeners can tell at once in one turn; the others tell in the next.
const AT_ONCE: usize = 16;

/// The queues of the incumbent's listeners.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    /// Whose they are.
    of: Option<Number>,
    /// Our copies of the listeners. Each tells once.
    set: Option<Epoll>,
    /// The inodes of those in the set, and our fds of them.
    watched: Vec<(u64, RawFd)>,
    waiting: BTreeMap<u64, Waiting>,
    /// What people were told of those whose clients wait in vain, until one is accepted.
    notes: BTreeMap<u64, String>,
    /// Those of which that was so already when this generation took over: it is not to blame.
    before: BTreeSet<u64>,
    /// What is to be told of the generation.
    untold: Option<String>,
}

impl Queues {
    /// Write a row `deaf` for each listener whose clients wait in vain.
    pub(crate) fn save(&self, rows: &mut Rows) {
        for (inode, note) in &self.notes {
            rows.begin("deaf").number("inode", *inode).text("is", note);
        }
    }

    /// Those of the rows.
    pub(crate) fn restore(rows: &[Row<'_>]) -> Result<Self, Flaw> {
        let mut queues = Self::default();
        for row in rows.iter().filter(|row| row.kind() == "deaf") {
            queues.notes.insert(row.number("inode")?, row.text("is")?);
        }
        Ok(queues)
    }

    /// Why the clients of a listener wait in vain, if they do.
    pub(crate) fn note_on(&self, inode: u64) -> Option<&str> {
        self.notes.get(&inode).map(String::as_str)
    }

    /// Somebody else is asked to accept them.
    pub(crate) fn begin_anew(&mut self) {
        self.notes = BTreeMap::new();
    }

    /// What is to be told, once.
    pub(crate) fn take_untold(&mut self) -> Option<String> {
        self.untold.take()
    }
}

/// What the queues read of the others, and the timers.
#[derive(Debug)]
pub(crate) struct Around<'a> {
    pub(crate) ground: Ground<'a>,
    pub(crate) fleet: &'a Fleet,
    pub(crate) timers: &'a mut Timers<Alarm>,
}

/// What the queues read of the others, where the whole shell is at hand.
macro_rules! around {
    ($shell:expr) => {
        Around {
            ground: ground!($shell),
            fleet: &$shell.fleet,
            timers: &mut $shell.timers,
        }
    };
}

pub(crate) use around;

impl Around<'_> {
    fn accept_timeout(&self, number: Number) -> Option<Duration> {
        let info = self.ground.records.generations.get(&number)?;
        info.config.accept_timeout.filter(|limit| !limit.is_zero())
    }

    fn hearing(&self, number: Number, listener: &Listener) -> Hearing {
        Hearing::of(listener, &self.fleet.party_of(number, &self.ground))
    }
}

/// A generation whose clients wait in vain.
#[derive(Debug)]
pub(crate) struct Deaf {
    pub(crate) number: Number,
    pub(crate) words: String,
}

impl Queues {
    /// Watch the queues of the incumbent. To be called after each turn.
    pub(crate) fn watch(&mut self, around: Around<'_>, sources: &mut PollSet) {
        let incumbent = around.ground.core.incumbent();
        let incumbent = incumbent.map(|incumbent| incumbent.number);
        if incumbent == self.of {
            return;
        }
        around.timers.disarm(Alarm::Queues);
        self.of = incumbent;
        let told = std::mem::take(&mut self.waiting);
        self.before = self.notes.keys().copied().collect();
        let watched = incumbent.filter(|number| around.accept_timeout(*number).is_some());
        let listeners =
            watched.map(|number| queued(&around.ground.records.listeners_of(number, around.ground.core)));
        let listeners = listeners.unwrap_or_default();
        if let Some(set) = &self.set
            && self.watched == named(&listeners)
        {
            // The others have not told yet.
            for listener in told.keys().filter_map(|inode| listeners.get(inode)) {
                let _ = set.modify(listener, &mut once(listener));
            }
            return;
        }
        if let Some(set) = self.set.take() {
            sources.remove(Source::Queues, &set.0);
        }
        self.watched = Vec::new();
        if watched.is_some()
            && let Err(errno) = self.open_set(&listeners, sources)
        {
            let text = format!("watch the queues of the listeners: {}", errno_text(errno));
            around.ground.log.warning(&text);
        }
    }

    fn open_set(
        &mut self,
        listeners: &BTreeMap<u64, Rc<Listener>>,
        sources: &mut PollSet,
    ) -> Result<(), Errno> {
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for listener in listeners.values() {
            set.add(listener, once(listener))?;
        }
        self.notes.retain(|inode, _| listeners.contains_key(inode));
        sources.add(Source::Queues, &set.0)?;
        self.watched = named(listeners);
        self.set = Some(set);
        Ok(())
    }

    /// Clients wait somewhere.
    pub(crate) fn note_waiting(&mut self, around: Around<'_>) {
        let Some(set) = &self.set else { return };
        let mut told = [EpollEvent::empty(); AT_ONCE];
        let count = set.wait(&mut told, EpollTimeout::ZERO).unwrap_or_default();
        let inodes: Vec<u64> = told.iter().take(count).map(EpollEvent::data).collect();
        let limit = |number| Some((number, around.accept_timeout(number)?));
        let Some((number, limit)) = self.of.and_then(limit) else {
            return;
        };
        let now = clock::now();
        let ground = around.ground;
        for listener in ground.records.listeners_of(number, ground.core) {
            if inodes.contains(&listener.inode()) {
                let waiting = Waiting::begin(length(&listener), now, limit);
                self.waiting.insert(listener.inode(), waiting);
            }
        }
        self.arm(around.timers, now);
    }

    fn arm(&self, timers: &mut Timers<Alarm>, now: Instant) {
        match self.waiting.values().map(|waiting| waiting.next).min() {
            Some(next) => {
                let pause = next.saturating_duration_since(now);
                timers.arm(Alarm::Queues, Some(pause), now);
            }
            None => timers.disarm(Alarm::Queues),
        }
    }

    /// Look at the queues in which clients wait. Returns who does not accept, once for each listener.
    pub(crate) fn look(&mut self, around: Around<'_>, now: Instant) -> Vec<Deaf> {
        let mut deaf = Vec::new();
        let limit = |number| Some((number, around.accept_timeout(number)?));
        let Some((number, limit)) = self.of.and_then(limit) else {
            return deaf;
        };
        let ground = around.ground;
        for listener in ground.records.listeners_of(number, ground.core) {
            let inode = listener.inode();
            let Some(waiting) = self.waiting.get_mut(&inode) else {
                continue;
            };
            if waiting.next > now {
                continue;
            }
            match waiting.look(length(&listener), now, limit) {
                Course::Moves => self.goes_down(&listener, &ground),
                Course::Stands => {}
                Course::Suspect => {
                    if around.hearing(number, &listener).is_busy() {
                        self.excuse(&listener, now, limit);
                    }
                }
                Course::Overdue => {
                    self.excuse(&listener, now, limit);
                    deaf.extend(self.wait_in_vain(number, &listener, limit, &around));
                }
            }
        }
        self.arm(around.timers, now);
        deaf
    }

    /// Clients of this listener are accepted: it tells when the next one waits.
    fn goes_down(&mut self, listener: &Listener, ground: &Ground<'_>) {
        self.waiting.remove(&listener.inode());
        self.before.remove(&listener.inode());
        if let Some(set) = &self.set {
            // It can only fail for a descriptor that is not in the set.
            let _ = set.modify(listener, &mut once(listener));
        }
        if self.notes.remove(&listener.inode()).is_some() {
            let text = format!("clients of {} are accepted again", called(listener));
            ground.log.info(&text);
        }
    }

    fn excuse(&mut self, listener: &Listener, now: Instant, limit: Duration) {
        if let Some(waiting) = self.waiting.get_mut(&listener.inode()) {
            waiting.excuse(now, limit);
        }
    }

    /// Its queue has not gone down for so long.
    fn wait_in_vain(
        &mut self,
        number: Number,
        listener: &Listener,
        limit: Duration,
        around: &Around<'_>,
    ) -> Option<Deaf> {
        // Nobody serves, and that is known; the next generation has as long again.
        if !around.ground.core.somebody_serves() {
            return None;
        }
        let waited = format!(
            "its clients have waited for {} and none was accepted",
            setting(limit)
        );
        let note = match around.hearing(number, listener) {
            Hearing::Busy => return None,
            Hearing::Halted(pid) => format!("{waited}: pid {pid} is stopped or being debugged"),
            Hearing::Unclear(why) => format!("{waited}, as far as can be seen ({why})"),
            Hearing::Deaf => return self.is_deaf(number, listener, limit, waited),
        };
        if self.notes.insert(listener.inode(), note.clone()).is_none() {
            let text = format!("generation {number}, {}: {note}", called(listener));
            around.ground.log.warning(&text);
        }
        None
    }

    fn is_deaf(
        &mut self,
        number: Number,
        listener: &Listener,
        limit: Duration,
        note: String,
    ) -> Option<Deaf> {
        if self.notes.insert(listener.inode(), note.clone()).is_none() {
            self.untold = Some(format!("generation {number}, {}: {note}", called(listener)));
        }
        let words = format!(
            "clients of {} waited for {} and it accepted none",
            called(listener),
            setting(limit)
        );
        (!self.before.contains(&listener.inode())).then_some(Deaf { number, words })
    }
}

/// Those of them in whose queue clients wait, by inode: the same socket may have been given to us twice.
fn queued(listeners: &[Rc<Listener>]) -> BTreeMap<u64, Rc<Listener>> {
    let accepting = listeners
        .iter()
        .filter(|listener| listener.kind().accepts_connections());
    accepting
        .map(|listener| (listener.inode(), Rc::clone(listener)))
        .collect()
}

/// By what an epoll set knows them: by inode and fd.
fn named(listeners: &BTreeMap<u64, Rc<Listener>>) -> Vec<(u64, RawFd)> {
    let name = |(inode, listener): (&u64, &Rc<Listener>)| (*inode, listener.as_fd().as_raw_fd());
    listeners.iter().map(name).collect()
}

/// `the listener web (127.0.0.1:8000)`.
fn called(listener: &Listener) -> String {
    format!("the listener {} ({})", listener.name(), listener.address_text())
}

/// It tells once that a client waits.
fn once(listener: &Listener) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, listener.inode())
}

/// How many clients wait; where the kernel does not tell, whether one does.
fn length(listener: &Listener) -> u32 {
    sock::tcp_queue(listener.as_fd()).unwrap_or_else(|| {
        let mut asked = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut asked, PollTimeout::ZERO).map_or(0, |answers| u32::from(answers > 0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_passed_on() {
        let mut queues = Queues::default();
        queues.notes.insert(7, "its clients wait".to_owned());
        let saved = |queues: &Queues| {
            let mut rows = Rows::default();
            queues.save(&mut rows);
            rows.finish()
        };
        let text = saved(&queues);
        let restored = Queues::restore(&Row::all(&text).unwrap()).unwrap();
        assert_eq!(restored.note_on(7), Some("its clients wait"));
        assert_eq!(saved(&restored), text);
    }
}

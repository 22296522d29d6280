//! After the takeover: do clients wait in vain?
//!
//! Our own copy of each listener tells when a client waits in its queue, once ([`EpollFlags::EPOLLONESHOT`]): at rest that costs
//! nothing. From then on the queue is looked at, first after half of `--accept-timeout`. If it went down meanwhile, clients are
//! accepted, and the listener shall tell again: that makes one wake-up a second at most, however busy the app is. If it has not
//! gone down in all that time, and no process of the generation has a connection of that port, the generation is deaf.
//!
//! How long the queue is, the kernel tells of TCP sockets. Of others it only tells whether somebody waits: there the queue must
//! have been found empty once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::Pid;
use segue_lifecycle::{Event, Number};

use crate::clock;
use crate::listeners::Listener;
use crate::protocol::setting;
use crate::shell::narrator::view::View;
use crate::shell::{Alarm, Shell};
use crate::sight::{Connection, Sight, connection, is_any_unlisted, is_halted};
use crate::sources::Source;
use crate::state::{Flaw, Row, Rows};
use crate::sys::{self, errno_text, sock};

/// Into how many parts the time is divided in which a queue must go down: after half of them it is looked at, and then after each.
const PARTS: u32 = 10;

/// A look that is this late says nothing of the app: the whole machine stood still, or a freezer held both (`docker pause`).
const TOO_LATE: Duration = Duration::from_millis(500);

/// How many listeners can tell at once in one turn; the others tell in the next.
const AT_ONCE: usize = 16;

/// A queue in which clients wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    /// Since when it has not gone down.
    since: Instant,
    /// How long it was when it was last looked at.
    length: u32,
    /// When it is looked at again.
    next: Instant,
}

/// In how many of the last parts of the time nobody may have a connection: a server of one worker has none for a moment between
/// two clients, however busy it is.
const QUIET_PARTS: u32 = 3;

/// What a look at a queue comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// It went down.
    Moves,
    /// It did not, and its time is not over.
    Stands,
    /// It did not, and its time is over soon: from now on nobody has a connection, or it is slow.
    Suspect,
    /// Its time is over.
    Overdue,
}

impl Waiting {
    fn begin(length: u32, now: Instant, limit: Duration) -> Self {
        Self {
            since: now,
            length,
            next: now + limit / 2,
        }
    }

    fn look(&mut self, length: u32, now: Instant, limit: Duration) -> Course {
        if length == 0 || length < self.length {
            return Course::Moves;
        }
        self.length = length;
        if now.saturating_duration_since(self.next) >= TOO_LATE.max(limit / PARTS) {
            self.excuse(now, limit);
            return Course::Stands;
        }
        if now.saturating_duration_since(self.since) >= limit {
            return Course::Overdue;
        }
        self.next = now + limit / PARTS;
        if now.saturating_duration_since(self.since) >= limit / PARTS * (PARTS - QUIET_PARTS) {
            return Course::Suspect;
        }
        Course::Stands
    }

    /// The app is slow, or could not run: its time begins anew.
    fn excuse(&mut self, now: Instant, limit: Duration) {
        self.since = now;
        self.next = now + limit / 2;
    }
}

/// The queues of the incumbent's listeners.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    /// Whose they are.
    of: Option<Number>,
    /// Our copies of the listeners, by inode. Each tells once.
    set: Option<Epoll>,
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

/// Why clients wait, as far as can be seen.
enum Hearing {
    /// A process has a connection of that port: it is slow.
    Busy,
    /// A process was stopped, or is being debugged.
    Halted(Pid),
    /// Not all can be seen.
    Unclear(String),
    /// Nobody accepts.
    Deaf,
}

impl Shell {
    /// Watch the queues of the incumbent. To be called after each turn.
    pub(crate) fn watch_queues(&mut self) {
        let incumbent = self.core.incumbent().map(|incumbent| incumbent.number);
        if incumbent == self.queues.of {
            return;
        }
        if let Some(set) = self.queues.set.take() {
            self.sources.remove(Source::Queues, &set.0);
        }
        self.timers.disarm(Alarm::Queues);
        self.queues.of = incumbent;
        self.queues.waiting = BTreeMap::new();
        self.queues.before = self.queues.notes.keys().copied().collect();
        if let Some(number) = incumbent
            && self.view().accept_timeout(number).is_some()
            && let Err(errno) = self.open_set(number)
        {
            let text = format!("watch the queues of the listeners: {}", errno_text(errno));
            self.log.warning(&text);
        }
    }

    fn open_set(&mut self, number: Number) -> Result<(), Errno> {
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let listeners = self.records.listeners_of(number, &self.core);
        let mut inodes = BTreeSet::new();
        for listener in listeners
            .iter()
            .filter(|listener| listener.kind().accepts_connections())
        {
            // The same socket may have been given to us twice.
            if inodes.insert(listener.inode()) {
                set.add(listener, once(listener))?;
            }
        }
        let kept = &inodes;
        let gone: Vec<u64> = self
            .queues
            .notes
            .keys()
            .copied()
            .filter(|inode| !kept.contains(inode))
            .collect();
        for inode in gone {
            self.queues.notes.remove(&inode);
        }
        self.sources.add(Source::Queues, &set.0)?;
        self.queues.set = Some(set);
        Ok(())
    }

    /// Clients wait somewhere.
    pub(crate) fn note_waiting(&mut self) {
        let Some(set) = &self.queues.set else { return };
        let mut told = [EpollEvent::empty(); AT_ONCE];
        let count = set.wait(&mut told, EpollTimeout::ZERO).unwrap_or_default();
        let inodes: Vec<u64> = told.iter().take(count).map(EpollEvent::data).collect();
        let Some((number, limit)) = self
            .queues
            .of
            .and_then(|number| Some((number, self.view().accept_timeout(number)?)))
        else {
            return;
        };
        let now = clock::now();
        for listener in self.records.listeners_of(number, &self.core) {
            if inodes.contains(&listener.inode()) {
                let waiting = Waiting::begin(length(&listener), now, limit);
                self.queues.waiting.insert(listener.inode(), waiting);
            }
        }
        self.arm_queues(now);
    }

    fn arm_queues(&mut self, now: Instant) {
        match self.queues.waiting.values().map(|waiting| waiting.next).min() {
            Some(next) => {
                let pause = next.saturating_duration_since(now);
                self.timers.arm(Alarm::Queues, Some(pause), now);
            }
            None => self.timers.disarm(Alarm::Queues),
        }
    }

    /// Look at the queues in which clients wait.
    pub(crate) fn look_at_queues(&mut self, now: Instant) {
        let Some(number) = self.queues.of else { return };
        let Some(limit) = self.view().accept_timeout(number) else {
            return;
        };
        for listener in self.records.listeners_of(number, &self.core) {
            let inode = listener.inode();
            let Some(waiting) = self.queues.waiting.get_mut(&inode) else {
                continue;
            };
            if waiting.next > now {
                continue;
            }
            match waiting.look(length(&listener), now, limit) {
                Course::Moves => self.goes_down(&listener),
                Course::Stands => {}
                Course::Suspect => {
                    if self.view().is_busy(number, &listener) {
                        self.excuse(&listener, now, limit);
                    }
                }
                Course::Overdue => {
                    self.excuse(&listener, now, limit);
                    self.wait_in_vain(number, &listener, limit);
                }
            }
        }
        self.arm_queues(now);
    }

    /// Clients of this listener are accepted: it tells when the next one waits.
    fn goes_down(&mut self, listener: &Listener) {
        self.queues.waiting.remove(&listener.inode());
        self.queues.before.remove(&listener.inode());
        if let Some(set) = &self.queues.set {
            // It can only fail for a descriptor that is not in the set.
            let _ = set.modify(listener, &mut once(listener));
        }
        if self.queues.notes.remove(&listener.inode()).is_some() {
            let text = format!("clients of {} are accepted again", called(listener));
            self.log.info(&text);
        }
    }

    fn excuse(&mut self, listener: &Listener, now: Instant, limit: Duration) {
        if let Some(waiting) = self.queues.waiting.get_mut(&listener.inode()) {
            waiting.excuse(now, limit);
        }
    }

    /// Its queue has not gone down for so long.
    fn wait_in_vain(&mut self, number: Number, listener: &Listener, limit: Duration) {
        // Nobody serves, and that is known; the next generation has as long again.
        if !self.core.somebody_serves() {
            return;
        }
        let waited = format!(
            "its clients have waited for {} and none was accepted",
            setting(limit)
        );
        let note = match self.view().hearing(number, listener) {
            Hearing::Busy => return,
            Hearing::Halted(pid) => format!("{waited}: pid {pid} is stopped or being debugged"),
            Hearing::Unclear(why) => format!("{waited}, as far as can be seen ({why})"),
            Hearing::Deaf => {
                self.is_deaf(number, listener, limit, waited);
                return;
            }
        };
        if self.queues.notes.insert(listener.inode(), note.clone()).is_none() {
            let text = format!("generation {number}, {}: {note}", called(listener));
            self.log.warning(&text);
        }
    }

    fn is_deaf(&mut self, number: Number, listener: &Listener, limit: Duration, note: String) {
        if self.queues.notes.insert(listener.inode(), note.clone()).is_none() {
            self.queues.untold = Some(format!("generation {number}, {}: {note}", called(listener)));
        }
        if self.queues.before.contains(&listener.inode()) {
            return;
        }
        if let Some(info) = self.records.generations.get_mut(&number) {
            let words = format!(
                "clients of {} waited for {} and it accepted none",
                called(listener),
                setting(limit)
            );
            info.findings.deaf = Some(words);
        }
        self.events.push_back(Event::Deaf(number));
    }
}

impl View<'_> {
    fn accept_timeout(&self, number: Number) -> Option<Duration> {
        let info = self.records.generations.get(&number)?;
        info.config.accept_timeout.filter(|limit| !limit.is_zero())
    }

    /// Whether a process has a connection of that port.
    fn is_busy(&self, number: Number, listener: &Listener) -> bool {
        match self.hearing(number, listener) {
            Hearing::Busy => true,
            Hearing::Halted(_) | Hearing::Unclear(_) | Hearing::Deaf => false,
        }
    }

    fn hearing(&self, number: Number, listener: &Listener) -> Hearing {
        let processes = self.party_of(number);
        let mut sight = Sight::of([listener.inode()]);
        processes.iter().for_each(|pid| sight.look_at(*pid));
        let connection = connection(listener.inode(), sight.others());
        if connection == Connection::Seen {
            return Hearing::Busy;
        }
        if let Some(halted) = processes.iter().find(|pid| is_halted(**pid)) {
            return Hearing::Halted(*halted);
        }
        match sight.blind() {
            Some((pid, why)) => Hearing::Unclear(format!("pid {pid} {why}")),
            None if connection == Connection::Unknown => {
                Hearing::Unclear("this machine has more sockets open than are looked through".to_owned())
            }
            None if is_any_unlisted(&not_ours(sight.others())) => {
                Hearing::Unclear("it may be at work for a client that has reset its connection".to_owned())
            }
            None => Hearing::Deaf,
        }
    }
}

/// Less what we have open as well: listeners, and where output goes, which may be of another network namespace.
fn not_ours(sockets: &[u64]) -> Vec<u64> {
    let own = sys::open_sockets(Pid::this().as_raw()).unwrap_or_default();
    let is_ours = |inode: &u64| own.iter().any(|(ours, _)| ours == inode);
    sockets.iter().copied().filter(|inode| !is_ours(inode)).collect()
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
    use std::os::fd::AsFd as _;
    sock::tcp_queue(listener.as_fd()).unwrap_or_else(|| {
        let mut asked = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut asked, PollTimeout::ZERO).map_or(0, |answers| u32::from(answers > 0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// Look at a queue with these lengths, one after the other, whenever it is due.
    fn course(lengths: &[u32]) -> (Course, Duration) {
        let begin = clock::now();
        let mut waiting = Waiting::begin(lengths[0], begin, LIMIT);
        let mut last = Course::Stands;
        let mut now = begin;
        for length in &lengths[1..] {
            now = waiting.next;
            last = waiting.look(*length, now, LIMIT);
            if !matches!(last, Course::Stands | Course::Suspect) {
                break;
            }
        }
        (last, now - begin)
    }

    #[test]
    fn a_queue_that_never_goes_down_is_overdue_when_its_time_is_over() {
        assert_eq!(course(&[1; 20]), (Course::Overdue, LIMIT));
        assert_eq!(course(&[1, 2, 2, 3, 4, 5, 6, 7, 8]), (Course::Overdue, LIMIT));
    }

    #[test]
    fn one_that_goes_down_once_moves() {
        assert_eq!(course(&[1, 0]), (Course::Moves, LIMIT / 2));
        assert_eq!(course(&[7, 6]), (Course::Moves, LIMIT / 2));
        assert_eq!(course(&[1, 9, 9, 9, 8]).0, Course::Moves);
        assert_eq!(course(&[1, 1, 1]).0, Course::Stands);
        assert_eq!(course(&[1, 1, 1, 1]).0, Course::Suspect);
    }

    #[test]
    fn nobody_is_blamed_for_the_time_in_which_nobody_could_run() {
        let begin = clock::now();
        let mut waiting = Waiting::begin(1, begin, LIMIT);
        let thawed = waiting.next + 4 * LIMIT;
        assert_eq!(waiting.look(9, thawed, LIMIT), Course::Stands);
        assert_eq!(waiting, Waiting::begin(9, thawed, LIMIT));
        assert_eq!(
            waiting.look(9, thawed + LIMIT, LIMIT),
            Course::Stands,
            "late again"
        );
    }

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

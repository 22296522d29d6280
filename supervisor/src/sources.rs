//! What the loop waits for: one epoll set, read in a fixed order.
//!
//! The order is part of the promise. Reports and notifications come before signals (and so before exits), so
//! that no word of a dead process is lost; control clients come last, so that they are told what is true now.

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// What may become ready. `W` names a worker, `C` a control client. The order of the variants is the order in
/// which a turn reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source<W, C> {
    /// The pipe on which a new process reports what became of its exec.
    Report(W),
    /// A worker's notify socket.
    Notify(W),
    /// Where a worker acks as under einhorn.
    Ack(W),
    /// What a hook writes, by its number.
    Hook(u32),
    /// The pidfd of a worker that is not our child: it has ended. Told once, and once more when it has been reaped; it stays
    /// readable, and its parent may take its time.
    Exit(W),
    /// The pidfd of a process that an earlier supervisor left draining, by its pid: it has ended.
    DrainingOrphan(i32),
    /// The signalfd.
    Signals,
    /// The links of a Unix listener have changed: its path may be gone.
    Paths,
    /// A set of listeners: clients wait in a queue.
    Queues,
    /// A set of slots of steered listeners: clients wait where new ones do not go.
    Slots,
    /// The control socket: a client wants in.
    Control,
    /// A client of the control socket.
    Client(C),
}

/// A source and what it is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ready<W, C> {
    /// Which source.
    pub(crate) source: Source<W, C>,
    /// Whether it can be written to; it can be read (or has hung up) if not.
    pub(crate) writable: bool,
    /// Whether it can be read, has hung up or failed.
    pub(crate) readable: bool,
}

/// The poll set.
#[derive(Debug)]
pub(crate) struct Sources<W, C> {
    epoll: Epoll,
    tokens: BTreeMap<u64, Source<W, C>>,
    by_source: BTreeMap<Source<W, C>, u64>,
    next: u64,
}

impl<W: Copy + Ord, C: Copy + Ord> Sources<W, C> {
    /// An empty set.
    pub(crate) fn new() -> Result<Self, Errno> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self {
            epoll,
            tokens: BTreeMap::new(),
            by_source: BTreeMap::new(),
            next: 0,
        })
    }

    /// Watch a descriptor for input. It must be taken out with [`Sources::remove`] before it is closed, since an
    /// epoll set forgets a closed descriptor only when no other process holds its open file description (epoll(7)).
    pub(crate) fn add(&mut self, source: Source<W, C>, fd: impl AsFd) -> Result<(), Errno> {
        let flags = match source {
            Source::Exit(_) => EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
            // Its end alone, which is always told: all that was said before is read then.
            Source::Report(_) => EpollFlags::EPOLLET,
            Source::Notify(_)
            | Source::Ack(_)
            | Source::Hook(_)
            | Source::DrainingOrphan(_)
            | Source::Signals
            | Source::Paths
            | Source::Queues
            | Source::Slots
            | Source::Control
            | Source::Client(_) => EpollFlags::EPOLLIN,
        };
        let token = self.next;
        self.epoll.add(fd, EpollEvent::new(flags, token))?;
        self.next += 1;
        self.tokens.insert(token, source);
        self.by_source.insert(source, token);
        Ok(())
    }

    /// Change what a watched descriptor is watched for.
    pub(crate) fn watch(&mut self, source: Source<W, C>, fd: BorrowedFd<'_>, flags: EpollFlags) {
        if let Some(token) = self.by_source.get(&source) {
            // It can only fail for a descriptor that is not in the set; the maps say that it is.
            let _ = self.epoll.modify(fd, &mut EpollEvent::new(flags, *token));
        }
    }

    /// Stop watching. Unknown sources are ignored.
    pub(crate) fn remove(&mut self, source: Source<W, C>, fd: impl AsFd) {
        if let Some(token) = self.by_source.remove(&source) {
            self.tokens.remove(&token);
            // Told once, it is silent from then on, also where a child that was forked meanwhile holds a copy of it; and its
            // descriptor is closed now.
            if matches!(source, Source::Report(_)) {
                return;
            }
            // It can only fail for a descriptor that is not in the set; the maps say that it is.
            let _ = self.epoll.delete(fd);
        }
    }

    /// Wait until something is ready or the deadline has passed, and return what is, in the fixed order. One exit stands for all, since
    /// one sweep sees every death. If the wait is interrupted (by a debugger, or because this process was stopped and goes on) it
    /// returns what is ready by then.
    pub(crate) fn wait(&self, deadline: Option<Instant>, now: Instant) -> Result<Vec<Ready<W, C>>, Errno> {
        // Room for all of them: the order holds among what one turn reads, and a deadline counts only against those that were
        // read (a watchdog, say, of one worker in a thousand).
        let mut events = vec![EpollEvent::empty(); self.tokens.len().max(1)];
        let mut patience = timeout(deadline, now);
        let count = loop {
            match self.epoll.wait(&mut events, patience) {
                Err(Errno::EINTR) => patience = EpollTimeout::ZERO,
                outcome => break outcome?,
            }
        };
        let ready = events.iter().take(count).filter_map(|event| {
            let source = *self.tokens.get(&event.data())?;
            let flags = event.events();
            let writable = flags.contains(EpollFlags::EPOLLOUT);
            let readable =
                flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
            Some(Ready {
                source,
                writable,
                readable,
            })
        });
        let mut ready: Vec<_> = ready.collect();
        ready.sort_unstable();
        let is_exit = |ready: &Ready<_, _>| matches!(ready.source, Source::Exit(_));
        ready.dedup_by(|next, before| is_exit(next) && is_exit(before));
        Ok(ready)
    }
}

/// The time until the deadline in whole milliseconds, rounded up: waking early would only mean waiting again.
fn timeout(deadline: Option<Instant>, now: Instant) -> EpollTimeout {
    let Some(deadline) = deadline else {
        return EpollTimeout::NONE;
    };
    let rest = deadline.saturating_duration_since(now);
    let millis = rest.as_millis() + u128::from(rest.subsec_nanos() % 1_000_000 != 0);
    let longest = Duration::from_secs(3600).as_millis();
    EpollTimeout::try_from(u32::try_from(millis.min(longest)).unwrap_or(0)).unwrap_or(EpollTimeout::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use nix::unistd::{pipe, write};

    #[test]
    fn ready_sources_come_in_the_fixed_order_whatever_the_order_of_their_becoming_ready() {
        let mut sources: Sources<u8, u8> = Sources::new().unwrap();
        let pipes: Vec<_> = (0..4).map(|_| pipe().unwrap()).collect();
        let mut ends = Vec::new();
        let named = [
            Source::Client(1),
            Source::Signals,
            Source::Notify(1),
            Source::Report(1),
        ];
        for ((read, write_end), source) in pipes.into_iter().zip(named) {
            sources.add(source, &read).unwrap();
            write(&write_end, b"x").unwrap();
            // A report is watched for its end.
            ends.push(read);
        }
        let ready = sources.wait(None, clock::now()).unwrap();
        let order: Vec<_> = ready.iter().map(|ready| ready.source).collect();
        assert_eq!(
            order,
            [
                Source::Report(1),
                Source::Notify(1),
                Source::Signals,
                Source::Client(1)
            ]
        );
    }

    #[test]
    fn one_turn_reads_everything_however_many_are_ready() {
        let mut sources: Sources<u16, u16> = Sources::new().unwrap();
        let (read, write_end) = pipe().unwrap();
        write(&write_end, b"x").unwrap();
        let copies: Vec<_> = (0..300).map(|_| read.try_clone().unwrap()).collect();
        for (number, copy) in (0..).zip(&copies) {
            sources.add(Source::Notify(number), copy).unwrap();
        }
        assert_eq!(sources.wait(None, clock::now()).unwrap().len(), copies.len());
    }

    #[test]
    fn a_removed_source_is_silent_though_its_description_lives_on() {
        let mut sources: Sources<u8, u8> = Sources::new().unwrap();
        let (read, write_end) = pipe().unwrap();
        let other_holder = read.try_clone().unwrap();
        sources.add(Source::Signals, &read).unwrap();
        sources.remove(Source::Signals, &read);
        drop(read);
        write(&write_end, b"x").unwrap();
        assert_eq!(sources.wait(Some(clock::now()), clock::now()).unwrap(), []);
        drop(other_holder);
    }

    #[test]
    fn an_end_is_told_once_though_the_pidfd_stays_readable() {
        let mut sources: Sources<u8, u8> = Sources::new().unwrap();
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pidfd = crate::sys::open_pidfd(nix::unistd::Pid::from_raw(child.id() as i32)).unwrap();
        sources.add(Source::Exit(1), &pidfd).unwrap();
        let ready = sources.wait(None, clock::now()).unwrap();
        assert_eq!(ready.first().map(|ready| ready.source), Some(Source::Exit(1)));
        assert_eq!(sources.wait(Some(clock::now()), clock::now()).unwrap(), []);
        child.wait().unwrap();
    }

    #[test]
    fn a_timeout_is_rounded_up_to_the_next_millisecond() {
        let now = clock::now();
        let in_micros = |micros| timeout(Some(now + Duration::from_micros(micros)), now);
        assert_eq!(in_micros(0), EpollTimeout::ZERO);
        assert_eq!(in_micros(1), EpollTimeout::from(1u8));
        assert_eq!(in_micros(1_000), EpollTimeout::from(1u8));
        assert_eq!(in_micros(1_001), EpollTimeout::from(2u8));
        assert_eq!(timeout(None, now), EpollTimeout::NONE);
    }
}

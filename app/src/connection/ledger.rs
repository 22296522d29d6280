//! What is known of one connection, and what follows from it: the rules of the drain, without any I/O.

use tokio::time::Instant;

use super::framing::Framing;
use crate::drain::Phase;
use crate::limits::Limits;

/// The books of one HTTP/1 connection (for HTTP/2 only the counts and the times are used).
#[derive(Debug)]
pub(super) struct Ledger {
    framing: Framing,
    accepted: Instant,
    last_activity: Instant,
    /// When the last request was done with; unlike the activity it does not move with HTTP/2 PINGs.
    last_finished: Instant,
    /// When the first byte of an unfinished head arrived.
    head_started: Option<Instant>,
    /// Since when a read, or a write, waits for the client.
    read_waits: Option<Instant>,
    write_waits: Option<Instant>,
    /// Requests handed to the service; responses begun; requests done with, whatever became of them.
    started: u64,
    answered: u64,
    finished: u64,
    flushed: bool,
    end_of_input: bool,
    upgraded: bool,
    /// A response was cut short by the service: only a reset is honest.
    broken: bool,
}

/// Why a connection must end now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It is idle and has been long enough: close it as gently as can be.
    Idle,
    /// The head of a request took too long: 408 and close.
    SlowHead,
    /// A body, or the reading of a response, stands still: reset.
    Stalled,
}

impl Ledger {
    pub(super) fn new(accepted: Instant) -> Ledger {
        Ledger {
            framing: Framing::new(),
            accepted,
            last_activity: accepted,
            last_finished: accepted,
            head_started: None,
            read_waits: None,
            write_waits: None,
            started: 0,
            answered: 0,
            finished: 0,
            flushed: true,
            end_of_input: false,
            upgraded: false,
            broken: false,
        }
    }

    pub(super) fn read(&mut self, bytes: &[u8], now: Instant) {
        self.read_waits = None;
        self.last_activity = now;
        if bytes.is_empty() {
            self.end_of_input = true;
            return;
        }
        let heads = self.framing.heads();
        self.framing.feed(bytes);
        if !self.framing.inside_head() {
            self.head_started = None;
        } else if self.framing.heads() != heads || self.head_started.is_none() {
            self.head_started = Some(now);
        }
    }

    /// Bytes have arrived before it is known which protocol they speak.
    pub(super) fn sniffing(&mut self, now: Instant) {
        self.head_started.get_or_insert(now);
    }

    /// Everything that was read has been deciphered; nothing of a head is under way but what the framing tells.
    pub(super) fn between_records(&mut self) {
        if !self.framing.inside_head() {
            self.head_started = None;
        }
    }

    pub(super) fn read_waits(&mut self, now: Instant) {
        self.read_waits.get_or_insert(now);
    }

    pub(super) fn wrote(&mut self, now: Instant) {
        self.write_waits = None;
        self.last_activity = now;
    }

    pub(super) fn write_waits(&mut self, now: Instant) {
        self.write_waits.get_or_insert(now);
    }

    /// hyper has given everything it had to the kernel.
    pub(super) fn flushed(&mut self, now: Instant) {
        self.write_waits = None;
        if self.finished == self.started && !self.flushed {
            self.flushed = true;
            self.last_activity = now;
        }
    }

    pub(super) fn request_started(&mut self) {
        self.started += 1;
    }

    pub(super) fn response_begun(&mut self) {
        self.answered += 1;
        self.flushed = false;
    }

    pub(super) fn request_finished(&mut self, now: Instant) {
        self.finished += 1;
        self.last_activity = now;
        self.last_finished = now;
    }

    pub(super) fn set_broken(&mut self) {
        self.broken = true;
    }

    pub(super) fn set_upgraded(&mut self) {
        self.upgraded = true;
        self.framing.lose();
    }

    pub(super) fn upgraded(&self) -> bool {
        self.upgraded
    }

    pub(super) fn end_of_input(&self) -> bool {
        self.end_of_input
    }

    pub(super) fn speaks_http2(&mut self) {
        self.framing.lose();
        self.head_started = None;
    }

    /// Requests that are being worked on, their responses included.
    pub(super) fn in_flight(&self) -> u64 {
        self.started - self.finished
    }

    pub(super) fn last_finished(&self) -> Instant {
        self.last_finished
    }

    /// Whether ending now would cut a response or leave a request unanswered.
    pub(super) fn owes(&self) -> bool {
        self.in_flight() > 0 || !self.flushed || self.broken
    }

    /// Whether the response that is about to be begun must be the last: the connection is to be closed, and no
    /// bytes of a further request have been read. With such bytes (pipelining, half a head) one more request is
    /// answered first, for as long as an idle connection would be waited for.
    pub(super) fn is_last_response(
        &self,
        phase: Phase,
        limits: &Limits,
        now: Instant,
        kernel_has_more: bool,
    ) -> bool {
        let Some((since, _)) = phase.closing_since() else {
            return false;
        };
        let more = self.framing.beyond(self.started) || (kernel_has_more && self.framing.between_requests());
        !more || now >= since + limits.linger
    }

    /// Whether nothing at all is under way, so that closing can lose nothing that has been read.
    pub(super) fn idle(&self) -> bool {
        !self.owes()
            && self.head_started.is_none()
            && self.framing.between_requests()
            && self.framing.heads() == self.started
    }

    /// When this HTTP/1 connection must end if nothing happens until then.
    pub(super) fn due(&self, phase: Phase, limits: &Limits) -> Option<(Instant, Due)> {
        if self.upgraded {
            return None;
        }
        let stalled = self.stalled(limits);
        if self.idle() {
            return Some((self.idle_until(phase, limits), Due::Idle));
        }
        let head = self
            .head_started
            .filter(|_| !self.owes())
            .map(|since| (since + limits.head, Due::SlowHead));
        [stalled, head].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// When a client that takes nothing, or sends nothing of the body that the service waits for, is given up.
    pub(super) fn stalled(&self, limits: &Limits) -> Option<(Instant, Due)> {
        let write = self.write_waits.map(|since| since + limits.write);
        let body = self
            .read_waits
            .filter(|_| self.framing.inside_body())
            .map(|since| since + limits.body);
        [write, body]
            .into_iter()
            .flatten()
            .min()
            .map(|at| (at, Due::Stalled))
    }

    fn idle_until(&self, phase: Phase, limits: &Limits) -> Instant {
        let (quiet_since, allowed) = match self.started {
            0 => (self.accepted, limits.first_request),
            _ => (self.last_activity, limits.linger),
        };
        let usual = quiet_since + limits.idle;
        match phase.closing_since() {
            None => usual,
            Some((since, None)) => usual.min(quiet_since.max(since) + allowed),
            // With a short drain timeout idle connections still end by a close and not by the reset of the deadline.
            Some((since, Some(deadline))) => {
                let margin = (deadline - since) / 10;
                (quiet_since.max(since) + allowed).min(deadline - margin)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn draining(since: Instant) -> Phase {
        Phase::Draining {
            since,
            deadline: since + 25 * SECOND,
        }
    }

    fn answer(ledger: &mut Ledger, now: Instant) {
        ledger.request_started();
        ledger.response_begun();
        ledger.request_finished(now);
        ledger.flushed(now);
    }

    #[test]
    fn a_fresh_connection_gets_five_seconds_from_the_drain() {
        let start = Instant::now();
        let ledger = Ledger::new(start);
        let limits = Limits::default();
        assert_eq!(
            ledger.due(Phase::Serving, &limits),
            Some((start + limits.idle, Due::Idle))
        );
        let drain = start + 30 * SECOND;
        assert_eq!(
            ledger.due(draining(drain), &limits),
            Some((drain + 5 * SECOND, Due::Idle))
        );
    }

    #[test]
    fn an_idle_one_lingers_and_half_a_head_is_waited_for() {
        let start = Instant::now();
        let limits = Limits::default();
        let mut ledger = Ledger::new(start);
        // One read holds the request and half of the next.
        ledger.read(b"GET / HTTP/1.1\r\n\r\nGET /", start);
        answer(&mut ledger, start);
        assert_eq!(
            ledger.due(draining(start), &limits),
            Some((start + limits.head, Due::SlowHead))
        );
        ledger.read(b" HTTP/1.1\r\n\r\n", start);
        assert_eq!(
            ledger.due(draining(start), &limits),
            None,
            "a request that hyper has not dispatched yet"
        );
        answer(&mut ledger, start + SECOND);
        assert_eq!(
            ledger.due(draining(start), &limits),
            Some((start + 11 * SECOND, Due::Idle))
        );
    }

    #[test]
    fn a_response_that_is_not_written_out_is_not_idle() {
        let start = Instant::now();
        let limits = Limits::default();
        let mut ledger = Ledger::new(start);
        ledger.read(b"GET / HTTP/1.1\r\n\r\n", start);
        ledger.request_started();
        assert_eq!(ledger.due(draining(start), &limits), None);
        ledger.response_begun();
        ledger.request_finished(start);
        ledger.write_waits(start);
        assert!(ledger.owes());
        assert_eq!(
            ledger.due(draining(start), &limits),
            Some((start + limits.write, Due::Stalled))
        );
    }

    #[test]
    fn only_the_last_pipelined_response_closes() {
        let start = Instant::now();
        let limits = Limits::default();
        let mut ledger = Ledger::new(start);
        ledger.read(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", start);
        ledger.request_started();
        assert!(!ledger.is_last_response(Phase::Serving, &limits, start, false));
        assert!(!ledger.is_last_response(draining(start), &limits, start, false));
        assert!(
            ledger.is_last_response(draining(start), &limits, start + limits.linger, false),
            "not for ever"
        );
        ledger.response_begun();
        ledger.request_finished(start);
        ledger.request_started();
        assert!(ledger.is_last_response(draining(start), &limits, start, false));
        assert!(
            !ledger.is_last_response(draining(start), &limits, start, true),
            "more waits in the kernel"
        );
    }

    #[test]
    fn a_short_drain_closes_idle_connections_before_it_resets() {
        let start = Instant::now();
        let ledger = Ledger::new(start);
        let phase = Phase::Draining {
            since: start,
            deadline: start + SECOND,
        };
        assert_eq!(
            ledger.due(phase, &Limits::default()),
            Some((start + SECOND * 9 / 10, Due::Idle))
        );
    }
}

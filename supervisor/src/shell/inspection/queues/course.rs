//! One queue in which clients wait: does it go down in time?

use std::time::{Duration, Instant};

/// Into how many parts the time is divided in which a queue must go down: after half of them it is looked at, and then after each.
const PARTS: u32 = 10;

/// A look that is this late says nothing of the app: the whole machine stood still, or a freezer held both (`docker pause`).
const TOO_LATE: Duration = Duration::from_millis(500);

/// A queue in which clients wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Since when it has not gone down.
    since: Instant,
    /// How long it was when it was last looked at.
    length: u32,
    /// When it is looked at again.
    pub(super) next: Instant,
}

/// In how many of the last parts of the time nobody may have a connection: a server of one worker has none for a moment between
/// two clients, however busy it is.
const QUIET_PARTS: u32 = 3;

/// What a look at a queue comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
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
    pub(super) fn begin(length: u32, now: Instant, limit: Duration) -> Self {
        Self {
            since: now,
            length,
            next: now + limit / 2,
        }
    }

    pub(super) fn look(&mut self, length: u32, now: Instant, limit: Duration) -> Course {
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
    pub(super) fn excuse(&mut self, now: Instant, limit: Duration) {
        self.since = now;
        self.next = now + limit / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

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
}

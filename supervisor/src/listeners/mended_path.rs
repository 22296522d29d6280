//! The path of a Unix listener that an app has taken away: put back, told once, and not for ever.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::unix_file::Mended;
use super::{ListenError, Listener};
use crate::clock;

/// So often a path is put back within [`WINDOW`]. An app that ends removes it once for each of its processes; one that removes it in a
/// loop would keep the supervisor busy.
const MOST_IN_WINDOW: u32 = 100;
/// How long a time counts together.
const WINDOW: Duration = Duration::from_secs(10);

const PUT_BACK: &str = "an app removed its path; it is there again";
const TOO_OFTEN: &str =
    "an app removes its path again and again; it is put back when a worker starts, is ready or exits";

/// How often the path of one socket was put back.
#[derive(Debug, Default)]
pub(super) struct PutBacks {
    since: Cell<Option<Instant>>,
    count: Cell<u32>,
    told: Cell<Option<&'static str>>,
}

impl PutBacks {
    /// Whether it may be put back once more.
    fn may(&self, now: Instant) -> bool {
        if self.since.get().is_none_or(|since| now > since + WINDOW) {
            self.since.set(Some(now));
            self.count.set(0);
        }
        self.count.set(self.count.get().saturating_add(1));
        self.count.get() <= MOST_IN_WINDOW
    }

    /// Each is told once, for an app that does it does so at each of its ends.
    fn tell(&self, what: &'static str) -> Option<&'static str> {
        let is_news = self.told.get() != Some(TOO_OFTEN) && self.told.get() != Some(what);
        is_news.then(|| self.told.set(Some(what)))?;
        Some(what)
    }
}

impl Listener {
    /// Puts its path back if an app has taken it away, and says so in a line the first time. To be called before each spawn, after
    /// readiness and after every exit.
    pub(crate) fn put_back_path(&self) -> Option<ListenError> {
        let file = self.socket.file()?;
        let said = match file.put_back() {
            Mended::InPlace | Mended::Not => None,
            Mended::PutBack => {
                self.socket.forget_damage();
                self.socket.put_backs().tell(PUT_BACK)
            }
        };
        said.map(|said| self.alarm(said))
    }

    /// The same when its links have changed at any other time; the second link is made again as well, if that is the one that is gone.
    pub(crate) fn mend_links(&self) -> Option<ListenError> {
        let file = self.socket.file()?;
        if file.has_both_links() {
            return None;
        }
        let put_backs = self.socket.put_backs();
        if put_backs.may(clock::now()) {
            let told = self.put_back_path();
            // No client uses the second link, so that its end is no news.
            file.keep();
            return told;
        }
        let said = Some(TOO_OFTEN).filter(|_| !file.is_in_place());
        said.and_then(|said| put_backs.tell(said))
            .map(|said| self.alarm(said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_put_back_a_hundred_times_in_ten_seconds_and_then_again_later() {
        let put_backs = PutBacks::default();
        let begin = clock::now();
        assert!((0..100).all(|_| put_backs.may(begin)));
        assert!(!put_backs.may(begin + WINDOW));
        assert!(put_backs.may(begin + WINDOW + Duration::from_millis(1)));
    }

    #[test]
    fn each_is_told_once() {
        let put_backs = PutBacks::default();
        let told = [PUT_BACK, PUT_BACK, TOO_OFTEN, PUT_BACK, TOO_OFTEN].map(|what| put_backs.tell(what));
        assert_eq!(told, [Some(PUT_BACK), None, Some(TOO_OFTEN), None, None]);
    }
}

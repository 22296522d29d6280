//! What workers say: their launch reports, and the words on their notify sockets.

use segue_lifecycle::{Event, Worker};

use crate::descent::{self, Origin};
use crate::launch::End;
use crate::readiness::{Believed, NotifySocket, Word};
use crate::shell::PollSet;
use crate::shell::fleet::worker::Launched;
use crate::shell::fleet::{Fleet, Ground, News};
use crate::sources::Source;

/// Which messages of a notify socket are taken.
pub(crate) type Receive = fn(&mut NotifySocket, &Believed<'_>) -> Vec<Word>;

impl Fleet {
    /// What workers said is put down: messages that were left in their queues for that may go.
    pub(crate) fn consume_recorded(&mut self) {
        let sockets = self.workers.values_mut();
        let sockets = sockets.filter_map(|info| info.notify.as_mut());
        sockets.for_each(NotifySocket::consume_recorded);
    }

    /// Whether a message was left in its queue until then.
    pub(crate) fn holds_words(&self) -> bool {
        let mut sockets = self.workers.values().filter_map(|info| info.notify.as_ref());
        sockets.any(NotifySocket::holds_words)
    }

    /// Whether the worker's process has become the app. The final word closes the socket.
    pub(crate) fn read_report(&mut self, worker: Worker, end: End, sources: &mut PollSet) -> Option<Event> {
        let info = self.workers.get_mut(&worker)?;
        let event = match info.read_report(end) {
            Launched::Pending => return None,
            Launched::Executed => Some(Event::Executed(worker)),
            // Its exit follows, and is the event.
            Launched::Failed => None,
        };
        if let Some(pipe) = info.report.take() {
            sources.remove(Source::Report(worker), pipe.as_fd());
        }
        event
    }

    /// What the worker says. Its launch report comes first, for it says who may speak.
    pub(crate) fn read_words(
        &mut self,
        worker: Worker,
        receive: Receive,
        ground: &Ground<'_>,
        sources: &mut PollSet,
    ) -> Vec<News> {
        let executed = self.read_report(worker, End::Unknown, sources).map(News::Event);
        let name = self.name_worker(worker);
        let mut news: Vec<News> = executed.into_iter().collect();
        let Some(info) = self.workers.get_mut(&worker) else {
            return news;
        };
        let Some(socket) = &mut info.notify else {
            return news;
        };
        let origin = info.pid.map(|leader| Origin {
            key: (),
            leader,
            notify: socket.path().to_owned(),
        });
        let is_descendant = |pid| descent::descendant_of(pid, origin.as_slice()).is_some();
        let words = receive(
            socket,
            &Believed::new(info.uid, &is_descendant).with_main(info.pid),
        );
        let ignored = socket.ignored();
        // Told once for each doubling, so that a flood of garbage is not answered by a flood of lines.
        if ignored.total() > 2 * info.ignored_told || (ignored.total() > 0 && info.ignored_told == 0) {
            info.ignored_told = ignored.total();
            ground.log.warning(&format!("{name}: ignored {ignored}"));
        }
        news.extend(words.into_iter().filter_map(|word| self.take_word(worker, word)));
        news
    }

    fn take_word(&mut self, worker: Worker, word: Word) -> Option<News> {
        let info = self.workers.get_mut(&worker)?;
        let event = match word {
            Word::Ready => Event::Ready(worker),
            Word::Watchdog => Event::Alive(worker),
            Word::WatchdogTrigger => {
                info.gave_up = true;
                Event::Stuck(worker)
            }
            Word::ExtendTimeout(time) => {
                info.more_time = Some(time);
                return Some(News::MoreTime(worker, time));
            }
            Word::Status(text) => {
                info.status = (!text.is_empty()).then_some(text);
                return None;
            }
            Word::Errno(errno) => {
                info.errno = Some(errno);
                return None;
            }
            // Neither changes what the supervisor does: an app that stops unasked exits, and that is the event; an
            // app that reloads itself goes on serving.
            Word::Stopping | Word::Reloading => return None,
        };
        Some(News::Event(event))
    }
}

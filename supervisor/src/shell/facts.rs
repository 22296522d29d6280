//! A fact is told to everybody whom it concerns: the log and the service manager, the clients that listen, and the commands that are
//! run at it.

use segue_lifecycle::Fact;

use crate::shell::narrator::view::{View, view};
use crate::shell::starting::Starting;

impl Starting<'_> {
    /// Tell it, in this order: a client or a command that hears of it finds it in the log.
    pub(crate) fn tell(&mut self, fact: Fact) {
        if matches!(fact, Fact::Deaf(_))
            && let Some(text) = self.queues.take_untold()
        {
            self.log.error(&text);
        }
        let view = view!(self);
        self.narrator.tell(fact, &view, self.timers);
        self.desk.publish(|| view.news_of(fact));
        if let Some(text) = self.narrator.progress.take() {
            self.desk.tell_progress(&text);
        }
        let occasion = view.occasion(fact);
        if fact == Fact::Stopping {
            self.end_before_reload();
        }
        if let Some(occasion) = occasion {
            self.run_hooks(&occasion);
        }
    }

    /// What was put down for clients goes out, once systemd knows as much.
    pub(crate) fn send_answers(&mut self) {
        if !self.desk.answers.is_empty() {
            self.narrator.tell_status(&view!(self));
            // A client that has an answer finds the lines, too.
            self.log.write_gathered();
        }
        self.desk.send_answers();
    }
}

//! A fact is told to everybody whom it concerns: the log and the service manager, the clients that listen, and the commands that are
//! run at it.

use segue_lifecycle::Fact;

use crate::shell::inspection::queues::Queues;
use crate::shell::narrator::view::View;
use crate::shell::starting::Starting;

/// What the loop lends to tell a fact.
#[derive(Debug)]
pub(crate) struct Telling<'a> {
    pub(crate) queues: &'a mut Queues,
    /// Hooks are started like anything else.
    pub(crate) starting: Starting<'a>,
}

impl Telling<'_> {
    /// Tell it, in this order: a client or a command that hears of it finds it in the log.
    pub(crate) fn tell(&mut self, fact: Fact) {
        if matches!(fact, Fact::Deaf(_))
            && let Some(text) = self.queues.take_untold()
        {
            self.starting.log.error(&text);
        }
        let starting = &mut self.starting;
        let view = View {
            core: starting.core,
            given: starting.given,
            records: starting.records,
            fleet: starting.fleet,
            queues: self.queues,
            log: starting.log,
        };
        starting.narrator.tell(fact, &view, starting.timers);
        starting.desk.publish(|| view.news_of(fact));
        if let Some(text) = starting.narrator.progress.take() {
            starting.desk.tell_progress(&text);
        }
        let occasion = view.occasion(fact);
        if fact == Fact::Stopping {
            starting.end_before_reload();
        }
        if let Some(occasion) = occasion {
            starting.run_hooks(&occasion);
        }
    }
}

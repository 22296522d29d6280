//! Facts for those who follow them, as data.

use segue_lifecycle::{Cause, Fact, Number, Worker};

use crate::clock;
use crate::protocol::{News, NewsKind, rfc3339};
use crate::shell::narrator::report::cause_code;
use crate::shell::narrator::view::View;

/// What a fact is about.
#[derive(Default)]
struct About {
    generation: Option<Number>,
    worker: Option<u16>,
    other: Option<Number>,
    cause: Option<Cause>,
}

impl About {
    fn generation(number: Number) -> Self {
        Self {
            generation: Some(number),
            ..Self::default()
        }
    }

    fn worker(worker: Worker) -> Self {
        Self {
            generation: Some(worker.generation),
            worker: Some(worker.slot),
            ..Self::default()
        }
    }

    fn failed(number: Number, cause: Cause) -> Self {
        Self {
            cause: Some(cause),
            ..Self::generation(number)
        }
    }

    fn after(number: Number, failed: Number, cause: Cause) -> Self {
        Self {
            other: Some(failed),
            ..Self::failed(number, cause)
        }
    }
}

impl View<'_> {
    /// How it is.
    pub(crate) fn news_now(&self) -> News {
        let serving = self.core.incumbent().map(|incumbent| incumbent.number);
        let about = About {
            generation: serving,
            ..About::default()
        };
        self.news(NewsKind::Now, about)
    }

    /// What has happened.
    pub(crate) fn news_of(&self, fact: Fact) -> News {
        let (kind, about) = match fact {
            Fact::HandoffBegan(number) => (NewsKind::HandoffBegan, About::generation(number)),
            Fact::WaitingForRoom => (NewsKind::WaitingForRoom, About::default()),
            Fact::ReloadOver => (NewsKind::ReloadOver, About::default()),
            Fact::StillWaiting(worker) => (NewsKind::StillWaiting, About::worker(worker)),
            Fact::WorkerReady(worker) => (NewsKind::WorkerReady, About::worker(worker)),
            Fact::TookOver(number, other) => {
                let about = About::generation(number);
                (NewsKind::TookOver, About { other, ..about })
            }
            Fact::Settled(number) => (NewsKind::Settled, About::generation(number)),
            Fact::Stepped(number, _) => (NewsKind::Stepped, About::generation(number)),
            Fact::CandidateFailed(number, cause) => (NewsKind::Failed, About::failed(number, cause)),
            Fact::RolledBack(failed, number, cause) => {
                (NewsKind::RolledBack, About::after(number, failed, cause))
            }
            Fact::SwitchedBack(failed, number, cause) => {
                (NewsKind::SwitchedBack, About::after(number, failed, cause))
            }
            Fact::LingerOver(number, _) => (NewsKind::LingerOver, About::generation(number)),
            Fact::NoWayBack(number, cause) => (NewsKind::NoWayBack, About::failed(number, cause)),
            Fact::Deaf(number) => (NewsKind::Deaf, About::generation(number)),
            Fact::Relief(number, _) => (NewsKind::Relief, About::generation(number)),
            Fact::ReliefFailed(number, cause) => (NewsKind::ReliefFailed, About::failed(number, cause)),
            Fact::NotSwitched(number) => (NewsKind::NotSwitched, About::generation(number)),
            Fact::Unaccepted(number) => (NewsKind::Unaccepted, About::generation(number)),
            Fact::Crashed(worker, cause) => {
                let about = About::worker(worker);
                let cause = Some(cause);
                (NewsKind::Crashed, About { cause, ..about })
            }
            Fact::Restarted(worker) => (NewsKind::Restarted, About::worker(worker)),
            Fact::Overran(worker) => (NewsKind::Overran, About::worker(worker)),
            Fact::Unkillable(worker) => (NewsKind::Unkillable, About::worker(worker)),
            Fact::Ended(number) => (NewsKind::Gone, About::generation(number)),
            Fact::Stopping => (NewsKind::Stopping, About::default()),
        };
        self.news(kind, about)
    }

    fn news(&self, event: NewsKind, about: About) -> News {
        News {
            event,
            at: rfc3339(clock::wall()),
            generation: about.generation,
            worker: about.worker,
            other: about.other,
            cause: about.cause.map(cause_code),
            reason: about.cause.map(|cause| self.reason(cause)),
            state: self.state(),
        }
    }
}

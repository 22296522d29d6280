//! What hooks are run at, and what they are told of it.

use segue_lifecycle::{Fact, Number, State};

use crate::config::{Moment, Word as _};
use crate::shell::narrator::view::View;

/// Something that hooks can be run at.
#[derive(Debug)]
pub(crate) struct Occasion {
    pub(crate) moment: Moment,
    /// The generation that it is about.
    pub(crate) number: Number,
    /// The variables that a hook finds.
    pub(crate) facts: Vec<(&'static str, String)>,
}

impl View<'_> {
    /// What a fact is to hooks, if there are any. There are none once a stop was asked for: generations end then because of it.
    pub(crate) fn occasion(&self, fact: Fact) -> Option<Occasion> {
        let incumbent = self.core.incumbent()?.number;
        if self.config_of(incumbent).on.is_empty() || self.core.state() == State::Stopping {
            return None;
        }
        let (moment, number, more) = match fact {
            Fact::TookOver(number, old) => {
                let old = old.map(|old| ("SEGUE_OLD_GENERATION", old.to_string()));
                (Moment::Takeover, number, old.into_iter().collect())
            }
            Fact::CandidateFailed(number, cause) | Fact::NoWayBack(number, cause) => {
                let why = vec![("SEGUE_REASON", self.reason(cause))];
                (Moment::Failure, number, why)
            }
            Fact::RolledBack(failed, number, cause) | Fact::SwitchedBack(failed, number, cause) => {
                let facts = vec![
                    ("SEGUE_FAILED_GENERATION", failed.to_string()),
                    ("SEGUE_REASON", self.reason(cause)),
                ];
                (Moment::Rollback, number, facts)
            }
            Fact::Ended(number) => (Moment::Drained, number, Vec::new()),
            Fact::HandoffBegan(_)
            | Fact::WaitingForRoom
            | Fact::ReloadOver
            | Fact::StillWaiting(_)
            | Fact::WorkerReady(_)
            | Fact::Settled(_)
            | Fact::Stepped(..)
            | Fact::Deaf(_)
            | Fact::Relief(..)
            | Fact::ReliefFailed(..)
            | Fact::NotSwitched(_)
            | Fact::Crashed(..)
            | Fact::Restarted(_)
            | Fact::Overran(_)
            | Fact::Unkillable(_)
            | Fact::LingerOver(..)
            | Fact::Unaccepted(_)
            | Fact::Stopping => return None,
        };
        let mut facts = vec![("SEGUE_EVENT", moment.word().to_owned())];
        facts.extend(more);
        Some(Occasion {
            moment,
            number,
            facts,
        })
    }
}

//! What clients are told.

use std::collections::BTreeSet;

use super::{Step, Verdict};
use crate::explore::world::{is_queue, is_stopping};
use crate::{Effect, Fact, Outcome, Ticket, Until};

/// A ticket is answered once, as soon as its generation has come as far as was asked or has failed, and before
/// the end.
pub(super) fn each_ticket_gets_one_answer(step: &Step) -> Verdict {
    let mut open: BTreeSet<Ticket> = step.world.tickets.keys().copied().collect();
    for (ticket, _) in step.answers() {
        if !open.remove(&ticket) {
            broken!("{ticket:?} is answered a second time");
        }
    }
    if step.then.finished && !open.is_empty() {
        broken!("{open:?} open at the end");
    }
    let over = [step.failed_candidate(), step.rollback().map(|(failed, _)| failed)];
    for (ticket, asked) in &step.then.tickets {
        if asked.generation.is_some() && over.contains(&asked.generation) {
            broken!("{ticket:?} is not answered though its generation has failed");
        }
        if asked.until == Until::Settled
            && asked.generation.is_some()
            && asked.generation == step.no_way_back()
        {
            broken!("{ticket:?} waits for the end of a probation that may never end");
        }
        let taken_over = step.takeover().map(|(number, _)| number);
        if taken_over.is_some() && asked.generation == taken_over && asked.until == Until::Takeover {
            broken!("{ticket:?} is not answered at the takeover");
        }
    }
    Ok(())
}

/// Only the first generation that was prepared after a request may answer it: an earlier one may have read an
/// older binary.
pub(super) fn answers_come_from_a_later_start(step: &Step) -> Verdict {
    step.walk(
        |effect| matches!(effect, Effect::Answer(..)),
        |effect, world| {
            let Effect::Answer(ticket, outcome) = effect else {
                return Ok(());
            };
            let answering = match outcome {
                Outcome::TookOver(number)
                | Outcome::Settled(number)
                | Outcome::Drained(number)
                | Outcome::Replaced(number, _)
                | Outcome::Failed(number, _)
                | Outcome::NoWayBack(number, _)
                | Outcome::RolledBack(number, _, _) => Some(*number),
                Outcome::Stopping => None,
            };
            let asked = world.tickets.get(ticket).map(|asked| asked.generation);
            if let (Some(number), Some(generation)) = (answering, asked)
                && generation != Some(number)
            {
                broken!("{ticket:?} belongs to {generation:?} and is answered by {number}");
            }
            Ok(())
        },
    )
}

/// Each answer says what has really happened, and what the ticket had asked for.
pub(super) fn answers_are_true(step: &Step) -> Verdict {
    step.walk(
        |effect| matches!(effect, Effect::Answer(..)),
        |effect, world| {
            let Effect::Answer(ticket, outcome) = effect else {
                return Ok(());
            };
            let Some(asked) = world.tickets.get(ticket) else {
                return Ok(());
            };
            let honest = match *outcome {
                Outcome::TookOver(number) => {
                    asked.until == Until::Takeover
                        && step.takeover().is_some_and(|(taker, _)| taker == number)
                }
                Outcome::Settled(number) => asked.until == Until::Settled && step.told(Fact::Settled(number)),
                Outcome::Drained(_) => {
                    let running = world.running();
                    asked.until == Until::Drained && !asked.draining.iter().any(|old| running.contains(old))
                }
                Outcome::Replaced(old, new) => {
                    let by_takeover = step.told(Fact::TookOver(new, Some(old)));
                    let stepped_aside = step
                        .before
                        .incumbent()
                        .is_some_and(|incumbent| incumbent.number == old)
                        && is_queue(step.after, new);
                    asked.until == Until::Settled && (by_takeover || stepped_aside)
                }
                Outcome::Failed(number, cause) => step.told(Fact::CandidateFailed(number, cause)),
                Outcome::RolledBack(failed, number, cause) => {
                    let in_vain = asked.draining.contains(&number);
                    let back = step.facts().any(|fact| match fact {
                        Fact::SwitchedBack(of, to, why) => {
                            (of == failed || in_vain) && (to, why) == (number, cause)
                        }
                        _ => false,
                    });
                    (back || step.told(Fact::RolledBack(failed, number, cause)))
                        && step
                            .after
                            .incumbent()
                            .is_some_and(|incumbent| incumbent.number == number)
                }
                Outcome::NoWayBack(number, cause) => {
                    asked.until == Until::Settled && step.told(Fact::NoWayBack(number, cause))
                }
                Outcome::Stopping => is_stopping(step.after),
            };
            if !honest {
                broken!("{ticket:?} ({:?}) is told {outcome:?}", asked.until);
            }
            Ok(())
        },
    )
}

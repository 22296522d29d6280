//! The token: whether a candidate accepts is seen, not believed.
//!
//! Where listeners are steered a connection of our own, the token, waits in the lane of a candidate from before its first process
//! is started: nobody but the candidate can accept it. A candidate takes over when it has, whatever it says. Where no token can be
//! had the shell says why ([`Token::Excused`]), and what is seen of the processes must do.

use crate::Lifecycle;
use crate::generation::{Generation, Role};
use crate::handoff::Progress;
use crate::vocabulary::{Cause, Effect, FIRST, Fact, Number, Timer, Wait};

/// What became of the token of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Token {
    /// There is none: it shares its sockets with others, or was not started by a handoff.
    Unasked,
    /// It is on its way into the lane. Nobody is started until it is there.
    Asked,
    /// It waits in the lane.
    Placed,
    /// It was accepted.
    Accepted,
    /// It cannot be used, and it was told why.
    Excused,
}

impl Lifecycle {
    /// Whether it is of interest that the token of this generation is accepted.
    pub fn is_token_placed(&self, number: Number) -> bool {
        self.token_of(number) == Some(Token::Placed)
    }

    /// What became of the token of a generation.
    pub fn token_of(&self, number: Number) -> Option<Token> {
        self.generations.get(&number).map(|generation| generation.token)
    }

    /// A candidate that is steered is to be seen accepting.
    pub(crate) fn ask_token(&mut self, number: Number) {
        let Some(candidate) = self.generations.get_mut(&number) else {
            return;
        };
        if candidate.plan.lanes > 0 {
            candidate.token = Token::Asked;
            self.effects.push(Effect::PlaceToken(number));
        }
    }

    /// Whether nobody of a generation may be started yet: whoever accepted before the token is there could not be told from others.
    pub(crate) fn awaits_token(&self, number: Number) -> bool {
        self.token_of(number) == Some(Token::Asked)
    }

    pub(crate) fn on_token_placed(&mut self, number: Number) {
        self.move_token(number, Token::Asked, Token::Placed);
    }

    pub(crate) fn on_token_excused(&mut self, number: Number) {
        self.move_token(number, Token::Asked, Token::Excused);
        self.move_token(number, Token::Placed, Token::Excused);
    }

    pub(crate) fn on_token_accepted(&mut self, number: Number) {
        self.move_token(number, Token::Placed, Token::Accepted);
    }

    fn move_token(&mut self, number: Number, from: Token, to: Token) {
        let generation = self.generations.get_mut(&number);
        if let Some(generation) = generation.filter(|generation| generation.token == from) {
            generation.token = to;
        }
    }

    /// Whether this candidate has yet to be seen accepting.
    pub(crate) fn is_unaccepted(&self, number: Number) -> bool {
        let unaccepted = |generation: &Generation| match generation.token {
            Token::Asked | Token::Placed => generation.role == Role::Candidate,
            Token::Unasked | Token::Accepted | Token::Excused => false,
        };
        !self.planted.takes_over_unaccepted() && self.generations.get(&number).is_some_and(unaccepted)
    }

    /// It was looked at once more. If it has yet to accept, it is looked at again.
    pub(crate) fn is_seen_accepting(&mut self, number: Number) -> bool {
        let unaccepted = self.is_unaccepted(number);
        if unaccepted {
            self.look_later(number);
        }
        !unaccepted
    }

    /// A candidate that is to accept has its start timeout for that, counted anew: an app may say READY=1 before the processes are
    /// up that accept. At the first start nobody is to be protected.
    pub(crate) fn look_later(&mut self, number: Number) {
        let wait = match self.is_unaccepted(number) && number != FIRST {
            true => Wait::Start,
            false => Wait::Await,
        };
        self.arm(Timer::Await(number), wait);
        self.arm(Timer::Look(number), Wait::Look);
    }

    /// Its time to accept is over: whether it fails for that. The first generation takes over with a note.
    pub(crate) fn fails_unaccepted(&mut self, number: Number) -> bool {
        if !self.is_unaccepted(number) {
            return false;
        }
        if number == FIRST {
            self.tell(Fact::Unaccepted(number));
            self.on_token_excused(number);
            return false;
        }
        self.fail_candidate(number, Cause::Unaccepted(number));
        true
    }

    /// Whether a handoff waits for the token of its candidate.
    pub fn awaits_acceptance(&self) -> Option<Number> {
        let number = self.handoff.candidate()?;
        let waits =
            self.handoff.is_at(number, Progress::Confirming) && self.timers.contains(&Timer::Await(number));
        (waits && self.is_unaccepted(number)).then_some(number)
    }
}

//! A steered candidate that has not accepted the connection in its slot: where it listens instead, and what is said of it.

use std::net::SocketAddr;
use std::rc::Rc;

use segue_lifecycle::{FIRST, Number, Timer, Token, Worker};

use crate::listeners::Listener;
use crate::protocol::setting;
use crate::shell::inspection::look::{Look, Seen, Verdict};
use crate::shell::narrator::view::View;
use crate::shell::records::findings::Findings;
use crate::sight::{Hold, Sight, listening_addresses};

impl View<'_> {
    /// A candidate has yet to accept on its slots. If it listens at the address of one by a socket of its own it will not, and clients
    /// may go there: it fails at once. At the first start nobody is to be protected.
    pub(crate) fn look_beside(&self, number: Number, look: Look) -> Look {
        let lent = self.records.lent_to(number, self.core);
        let slots: Vec<SocketAddr> = lent
            .iter()
            .filter(|listener| listener.slot().is_some())
            .filter_map(|listener| listener.plain_address().to_str()?.parse().ok())
            .collect();
        let own = self.own_addresses(number).into_iter();
        let mut own = own.filter(|own| slots.iter().any(|slot| takes_clients_of(own, *slot)));
        let Some(own) = own.next().filter(|_| number != FIRST) else {
            return look;
        };
        let findings = Findings {
            unheld: Some(format!(
                "{}, but it has bound {own} itself (SO_REUSEPORT), and accepts nothing on the socket that it was given",
                self.word_of(number)
            )),
            ..Findings::default()
        };
        Look::of(Verdict::Unheld, Some(findings), Seen::Party)
    }

    /// Where a generation listens besides the listeners that it was lent.
    fn own_addresses(&self, number: Number) -> Vec<String> {
        let lent = self.records.lent_to(number, self.core);
        let mut sight = Sight::of(lent.iter().map(|listener| listener.inode()));
        let party = self.party_of(number);
        party.iter().for_each(|pid| sight.look_at(*pid));
        let leader = self.leaders_of(number).into_iter().next();
        leader.map_or_else(Vec::new, |leader| listening_addresses(leader, sight.others()))
    }

    /// What a candidate has not accepted by the deadline of its start. Its processes may be gone when it is told why it has failed.
    pub(crate) fn unaccepted_by(&self, deadline: Timer) -> Option<(Number, String)> {
        let (Timer::Start(Worker {
            generation: number, ..
        })
        | Timer::Await(number)) = deadline
        else {
            return None;
        };
        let is_awaited = self.core.is_token_placed(number);
        is_awaited.then(|| (number, self.unaccepted_in_words(number)))
    }

    /// What a candidate has not accepted, in one clause.
    fn unaccepted_in_words(&self, number: Number) -> String {
        let slots = self.records.lent_to(number, self.core);
        let accepted = self.accepted_by(number);
        let unaccepted = |slot: &&Rc<Listener>| slot.slot().is_some() && !accepted.contains(&slot.inode());
        let slots = slots.iter().filter(unaccepted);
        let addresses: Vec<String> = slots.map(|slot| slot.address_text()).collect();
        let own = self.own_addresses(number);
        let own = match own.is_empty() {
            true => String::new(),
            false => format!("; it listens on {}", own.join(", ")),
        };
        format!("it accepted no connection on {}{own}", addresses.join(", "))
    }

    /// Why a candidate fails that has not accepted its token.
    pub(crate) fn why_unaccepted(&self, number: Number) -> String {
        let limit = self.config_of(number).start_timeout.filter(|_| number != FIRST);
        let limit = limit
            .map(|limit| format!(" for {}", setting(limit)))
            .unwrap_or_default();
        let info = self.records.generations.get(&number);
        let words = info.and_then(|info| info.findings.unaccepted.clone());
        let words = words.unwrap_or_else(|| self.unaccepted_in_words(number));
        format!("{}{limit}, but {words}", self.word_of(number))
    }

    /// Whether a generation holds this socket and was seen to accept on it: it may be at work just now.
    pub(super) fn has_accepted(&self, number: Number, listener: &Listener, sight: &Sight) -> bool {
        let inode = listener.inode();
        sight.hold(inode) != Hold::Absent && self.accepted_by(number).contains(&inode)
    }

    /// The sockets on which a generation was seen to accept: if an earlier supervisor saw it, all that can be reached by a token.
    pub(crate) fn accepted_by(&self, number: Number) -> Vec<u64> {
        let info = self.records.generations.get(&number);
        let seen = info.map(|info| info.accepted.clone()).unwrap_or_default();
        if !seen.is_empty() || self.core.token_of(number) != Some(Token::Accepted) {
            return seen;
        }
        let lent = self.records.lent_to(number, self.core);
        let slots = lent.iter().filter(|listener| listener.way().is_ok());
        slots.map(|listener| listener.inode()).collect()
    }
}

/// Whether who listens there is sure to think that he serves this slot: at its address, or at one that is more specific.
fn takes_clients_of(own: &str, slot: SocketAddr) -> bool {
    let own: Option<SocketAddr> = own.parse().ok();
    own.is_some_and(|own| own.port() == slot.port() && (own.ip() == slot.ip() || slot.ip().is_unspecified()))
}

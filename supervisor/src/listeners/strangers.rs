//! Sockets that are none of ours at the address of a steered listener: they stand in the kernel's order of its slots.

use std::ops::ControlFlow;

use super::Listener;
use super::group::Group;
use super::holder;
use super::local::BoundTo;
use crate::sys::diag::{self, Reach, States};

/// So many listening sockets at one port are looked at.
const MOST_LISTENERS: usize = 4096;

impl Listener {
    /// Whether a socket that is none of ours stands among those of its address.
    pub(crate) fn is_beside_strangers(&self) -> bool {
        let slot = self.slot.as_ref();
        slot.is_some_and(|slot| slot.group.count_places_of_strangers() > 0)
    }

    /// Who listens at the address of this slot with a socket that is none of ours, in one line, and what that means for clients as far as
    /// is known now. `None` also where the kernel does not tell.
    pub(crate) fn stranger_beside(&self) -> Option<String> {
        let group = &self.slot.as_ref()?.group;
        let strangers = group.strangers()?;
        let who = holder::of_inode(*strangers.first()?);
        let who = who.unwrap_or_else(|| "a process that cannot be seen".to_owned());
        let is_known = !group.certainty.is_guess() && group.count_places_of_strangers() == strangers.len();
        let so = match is_known {
            true => "no client is sent there",
            false => "clients may come there, for it is not known where it stands in the kernel's order",
        };
        let text = format!("{who} listens at its address with a socket that segue does not have: {so}");
        Some(self.alarm(&text).to_string())
    }
}

impl Group {
    /// Where one of them has left, the last has its place. Of several nobody can tell which has: then all places are a guess.
    pub(super) fn notice_strangers_that_left(&self) {
        let mut order = self.order();
        let places: Vec<usize> = (0..order.len()).filter(|place| order[*place].is_none()).collect();
        if places.is_empty() {
            return;
        }
        match (self.strangers().map(|strangers| strangers.len()), &places[..]) {
            (Some(0), [alone]) => {
                order.swap_remove(*alone);
                self.set_order(order);
                // What was a guess is one of other places now.
                if self.certainty.is_guess() {
                    self.certainty.guess_anew(self.members());
                }
            }
            (Some(left), places) if left < places.len() => self.certainty.guess_anew(self.members()),
            (Some(_) | None, _) => {}
        }
    }

    /// Slots have come to stand behind all others that are known. A socket that is none of ours and of which nobody knew stands before
    /// them.
    pub(super) fn notice_strangers_that_came(&self) {
        let strangers = self.strangers().map(|strangers| strangers.len());
        if strangers.is_some_and(|strangers| strangers != self.count_places_of_strangers()) {
            self.certainty.guess_anew(self.members());
        }
    }

    /// The sockets that listen at the address and are none of ours, by inode. `None` where the kernel does not tell.
    pub(super) fn strangers(&self) -> Option<Vec<u64>> {
        let members = self.members();
        let (_, first) = members.first()?;
        let BoundTo::Internet { address, .. } = first.local().bound_to else {
            return None;
        };
        let mut there = Vec::new();
        let reach = diag::search(States::LISTEN, address.port(), MOST_LISTENERS, |found| {
            if found.local == address {
                there.push((found.inode, found.interface));
            }
            ControlFlow::Continue(())
        });
        let is_ours = |inode: u64| members.iter().any(|(_, socket)| socket.inode() == inode);
        let (_, interface) = *there.iter().find(|(inode, _)| is_ours(*inode))?;
        // Those at another interface are a group of their own.
        let strangers = there
            .iter()
            .filter(|(inode, of)| *of == interface && !is_ours(*inode))
            .map(|(inode, _)| *inode);
        (reach == Ok(Reach::All)).then(|| strangers.collect())
    }
}

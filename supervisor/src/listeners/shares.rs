//! Several sockets on one address (`sockets=N`, SO_REUSEPORT): who is lent which.
//!
//! The kernel spreads new connections over the sockets, and what waits in the queue of one is seen by its holders alone. So each
//! socket must always have a worker, in every generation, and none is ever closed while the address is listened on: the supervisor
//! owns all of them for its whole life, and a reload passes each on with its queue, whatever the numbers of workers are.

use std::rc::Rc;

use super::Listener;

/// What the worker in this place of its generation is lent, in the order of the fds, where the generation began with so many workers
/// and has this slot of each steered listener. With as many sockets as
/// workers each gets its own; if there are fewer workers, each gets several; if there are more, some share one.
pub(crate) fn shares(listeners: &[Rc<Listener>], own: u8, slot: u16, workers: u16) -> Vec<&Listener> {
    let mut index = 0;
    let mut previous: Option<&Listener> = None;
    let mut lent = Vec::new();
    for listener in listeners {
        let same = previous.is_some_and(|previous| previous.is_beside(listener));
        index = if same { index + 1 } else { 0 };
        previous = Some(listener);
        let groups = listener
            .sockets()
            .map(|sockets| sockets.min(usize::from(workers)).max(1));
        if listener.slot().is_some_and(|slot| slot != own) {
            continue;
        }
        if groups.is_none_or(|groups| index % groups == usize::from(slot) % groups) {
            lent.push(&**listener);
        }
    }
    lent
}

/// With fewer workers than this, a socket would have none: those that run cannot be lent more.
pub(crate) fn least_workers(listeners: &[Rc<Listener>], workers: u16) -> u16 {
    let sockets = listeners.iter().filter_map(|listener| listener.sockets()).max();
    let sockets = sockets.and_then(|sockets| u16::try_from(sockets).ok());
    sockets.map_or(1, |sockets| sockets.min(workers).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listeners::tests::open_all;

    fn lent(listeners: &[Rc<Listener>], slot: u16, workers: u16) -> Vec<usize> {
        let place = |one: &Listener| listeners.iter().position(|known| known.inode() == one.inode());
        shares(listeners, 0, slot, workers)
            .into_iter()
            .filter_map(place)
            .collect()
    }

    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket() {
        let listeners = open_all(&["a=0", "b=0,sockets=4", "c=0,sockets=2"]);
        assert_eq!(listeners.len(), 7);
        assert_eq!(lent(&listeners, 0, 4), [0, 1, 5]);
        assert_eq!(lent(&listeners, 3, 4), [0, 4, 6]);
        assert_eq!(lent(&listeners, 1, 2), [0, 2, 4, 6]);
        assert_eq!(lent(&listeners, 0, 1), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(lent(&listeners, 6, 8), [0, 3, 5]);
        // One that came later shares with those that were there.
        assert_eq!(lent(&listeners, 2, 2), lent(&listeners, 0, 2));
        for workers in 1..9 {
            let all: Vec<usize> = (0..workers)
                .flat_map(|slot| lent(&listeners, slot, workers))
                .collect();
            assert!((0..7).all(|socket| all.contains(&socket)), "{workers}: {all:?}");
        }
        assert_eq!(listeners[1].address_text(), listeners[4].address_text());
        assert_ne!(listeners[1].address_text(), listeners[5].address_text());
        assert_eq!(least_workers(&listeners, 3), 3);
        assert_eq!(least_workers(&listeners, 8), 4);
        assert_eq!(least_workers(&listeners[..1], 8), 1);
    }
}

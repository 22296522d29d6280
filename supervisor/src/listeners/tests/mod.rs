//! Real sockets and real paths. What counts the fds of a process, or lives on fd 3, runs in a process of its own.

mod inherited;
mod late;
mod links;
mod opening;
mod paths;
mod reload;
mod shared;
mod slots;
mod steered;
mod switch;

use super::open::Opened;
use super::*;
use crate::address::ListenSpec;
use crate::sys::sock;
use std::time::{Duration, Instant};

/// All that live have the first slot.
const IN_THE_FIRST: Taken = Taken {
    shared: SharedSlot::Is(0),
    pointed: 0,
};

fn spec(text: &str) -> ListenSpec {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn specs(texts: &[&str]) -> Vec<ListenSpec> {
    texts.iter().map(|text| spec(text)).collect()
}

fn try_open(texts: &[&str]) -> Result<Opened, ListenError> {
    open(
        &specs(texts),
        &[],
        &mut Inherited::none(),
        Lookup::AtStart,
        IN_THE_FIRST,
    )
}

pub(super) fn open_all(texts: &[&str]) -> Vec<Rc<Listener>> {
    try_open(texts)
        .unwrap_or_else(|error| panic!("{error}"))
        .listeners
}

/// A connection that does not wait has arrived when it is in a queue.
pub(super) fn wait_for_queues(slots: &[Rc<Listener>], expected: &[u32]) {
    let queues = || -> Vec<u32> {
        let queues = slots.iter().map(|slot| sock::tcp_queue(slot.as_fd()));
        queues.map(Option::unwrap_or_default).collect()
    };
    let until = Instant::now() + Duration::from_secs(30);
    while queues() != expected && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(queues(), expected);
}

fn open_one(text: &str) -> Rc<Listener> {
    let mut listeners = open_all(&[text]);
    assert_eq!(listeners.len(), 1);
    listeners.remove(0)
}

/// The line that a refusal prints, checked to be one.
fn refusal(texts: &[&str]) -> String {
    line(try_open(texts))
}

fn line<T>(result: Result<T, ListenError>) -> String {
    let line = result.err().expect("it should be refused").to_string();
    assert!(
        !line.is_empty() && !line.chars().any(char::is_control),
        "{line:?}"
    );
    assert!(!line.contains("os error"), "{line}");
    line
}

fn reload(texts: &[&str], current: &[Rc<Listener>]) -> Result<Opened, ListenError> {
    open(
        &specs(texts),
        current,
        &mut Inherited::none(),
        Lookup::Refused,
        IN_THE_FIRST,
    )
}

/// `127.0.0.1:PORT` of a TCP listener.
fn address(listener: &Listener) -> String {
    listener.address_text()
}

fn number(listener: &Listener, level: i32, name: i32) -> i32 {
    sock::option_int(listener.as_fd(), sock::SocketOption { level, name }).unwrap()
}

fn is_nonblocking(listener: &Listener) -> bool {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = fcntl(listener.as_fd(), FcntlArg::F_GETFL).unwrap();
    OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK)
}

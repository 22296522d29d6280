//! Requests that are half sent when something happens, and finished after it.

use std::time::Instant;

use crate::http::{self, Client, Target};
use crate::ledger::{Entry, Ledger, Loss};

/// One request held in the middle.
struct Held {
    entry: Entry,
    client: Client,
    rest: Vec<u8>,
    body: Option<Vec<u8>>,
}

/// Requests of which a part has been sent, each on a connection of its own.
pub struct Parked {
    held: Vec<Held>,
}

impl Parked {
    /// One POST for every place at which its bytes can be cut: after nothing, after the first byte ... after the last but
    /// one. The head is part of what is cut.
    #[must_use]
    pub fn posts_cut_everywhere(target: &Target, ledger: &Ledger, body: &[u8]) -> Self {
        let request = http::post("/echo", body);
        let held = (0..request.len())
            .filter_map(|cut| {
                let label = format!("POST /echo cut at {cut} of {}", request.len());
                hold(
                    target,
                    ledger,
                    label,
                    &request[..cut],
                    &request[cut..],
                    Some(body),
                )
            })
            .collect();
        Self { held }
    }

    /// Whole requests that nobody has answered yet: with the server stopped they wait in the listener's queue.
    #[must_use]
    pub fn queued(target: &Target, ledger: &Ledger, count: usize) -> Self {
        let request = http::get_and_close("/ping");
        let held = (0..count)
            .filter_map(|number| {
                hold(
                    target,
                    ledger,
                    format!("queued request {number}"),
                    &request,
                    b"",
                    None,
                )
            })
            .collect();
        Self { held }
    }

    /// Whole requests for this path whose answers, of so many bytes, are not read before [`Parked::finish`]: the server is in
    /// the middle of them when something happens.
    #[must_use]
    pub fn unread(target: &Target, ledger: &Ledger, path: &str, length: usize, count: usize) -> Self {
        let letters: Vec<u8> = (b'a'..=b'z').collect();
        let mut expected = letters.repeat(length / letters.len() + 1);
        expected.truncate(length);
        let held = (0..count)
            .filter_map(|number| {
                let label = format!("GET {path}, unread answer {number}");
                hold(
                    target,
                    ledger,
                    label,
                    &http::get_and_close(path),
                    b"",
                    Some(&expected),
                )
            })
            .collect();
        Self { held }
    }

    /// Whole requests for this path, a ping by another name (`/slow?ms=200`), whose answers are not read before
    /// [`Parked::finish`].
    #[must_use]
    pub fn unanswered(target: &Target, ledger: &Ledger, path: &str, count: usize) -> Self {
        let held = (0..count)
            .filter_map(|number| {
                let label = format!("GET {path}, slow answer {number}");
                hold(target, ledger, label, &http::get_and_close(path), b"", None)
            })
            .collect();
        Self { held }
    }

    /// Kept connections with one answered request each, idle now. Where that answer announced the end of its connection (an
    /// app that has just been told to drain took it), there is none to keep, and another one is opened.
    #[must_use]
    pub fn idle(target: &Target, ledger: &Ledger, count: usize) -> Self {
        let mut held = Vec::new();
        let end = Instant::now() + crate::patience();
        while held.len() < count && Instant::now() < end {
            let number = held.len();
            match warm(target, ledger, number) {
                Warm::Kept(client) => held.push(Held {
                    entry: ledger.send(format!("second request on kept connection {number}")),
                    client,
                    rest: http::get("/ping"),
                    body: None,
                }),
                Warm::Ended => {}
                Warm::Lost => break,
            }
        }
        Self { held }
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Asks once on a new connection. The queue is first in, first out: when the answer has come, a server that accepts
    /// in one place has accepted everything held here.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn wait_until_accepted(&self, target: &Target) {
        let answer = target
            .connect()
            .and_then(|mut client| client.ask(&http::get_and_close("/ping")));
        if let Err(loss) = answer {
            panic!("no answer behind the held requests: {loss:?}");
        }
    }

    /// Waits until the server has closed one of the held connections: for negative controls.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn wait_for_a_close(&mut self) {
        let end = Instant::now() + crate::patience();
        while !self.held.iter_mut().any(|held| held.client.is_closed()) {
            assert!(
                Instant::now() < end,
                "the server closed none of the held connections"
            );
            std::thread::sleep(crate::LOOK);
        }
    }

    /// Sends the rests, all of them, then reads the answers and judges every request.
    pub fn finish(mut self) {
        for held in &mut self.held {
            let _ = held.client.write(&held.rest);
        }
        for mut held in self.held {
            match held.client.response() {
                Ok(response) => {
                    let checked = match &held.body {
                        Some(body) => response.ok_with(body),
                        None => super::http1::is_ping(&response),
                    };
                    held.entry.judge(checked);
                }
                Err(loss) => held.entry.lost(loss),
            }
        }
    }
}

/// What the first request on a connection leaves.
enum Warm {
    Kept(Client),
    Ended,
    Lost,
}

fn warm(target: &Target, ledger: &Ledger, number: usize) -> Warm {
    let entry = ledger.send(format!("first request on kept connection {number}"));
    let answer = target
        .connect()
        .and_then(|mut client| Ok((client.ask(&http::get("/ping"))?, client)));
    match answer {
        Ok((response, client)) => {
            entry.judge(super::http1::is_ping(&response));
            if response.close {
                Warm::Ended
            } else {
                Warm::Kept(client)
            }
        }
        Err(loss) => {
            entry.lost(loss);
            Warm::Lost
        }
    }
}

fn hold(
    target: &Target,
    ledger: &Ledger,
    label: String,
    now: &[u8],
    rest: &[u8],
    body: Option<&[u8]>,
) -> Option<Held> {
    let entry = ledger.send(label);
    match target.connect() {
        Ok(mut client) => {
            if let Err(error) = client.write(now) {
                entry.lost(Loss::new(
                    crate::ledger::Reason::ResetUnanswered,
                    format_args!("write: {error}"),
                ));
                return None;
            }
            Some(Held {
                entry,
                client,
                rest: rest.to_vec(),
                body: body.map(<[u8]>::to_vec),
            })
        }
        Err(loss) => {
            entry.lost(loss);
            None
        }
    }
}

//! The HTTP/1.1 generators.

use std::time::Duration;

use super::Worker;
use crate::http::{self, Client, Response};
use crate::ledger::{Loss, Reason};

/// What the sample app and the fixtures answer to `/ping`: `{"message": "..."}`.
pub(super) fn is_ping(response: &Response) -> Result<&Response, Loss> {
    let response = response.ok()?;
    ping_body(&response.body)?;
    Ok(response)
}

/// The same on the body alone.
pub(super) fn ping_body(body: &[u8]) -> Result<(), Loss> {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    match parsed
        .as_ref()
        .and_then(|json| json.get("message"))
        .and_then(serde_json::Value::as_str)
    {
        Some(_) => Ok(()),
        None => Err(Loss::new(Reason::WrongBody, String::from_utf8_lossy(body))),
    }
}

/// The pause between two looks at a connection that the server is to close.
const IDLE_LOOK: Duration = Duration::from_millis(10);

/// One request on a connection of its own.
fn single(
    worker: &Worker,
    label: &str,
    request: &[u8],
    check: impl Fn(&Response) -> Result<&Response, Loss>,
) {
    let entry = worker.ledger.send(label);
    let answer = worker.target.connect().and_then(|mut client| client.ask(request));
    match answer {
        Ok(response) => entry.judge(check(&response)),
        Err(loss) => entry.lost(loss),
    }
}

pub(super) fn fresh(worker: &mut Worker) {
    while worker.goes_on() {
        single(worker, "GET /ping", &http::get_and_close("/ping"), is_ping);
        worker.pause();
    }
}

pub(super) fn slow(worker: &mut Worker) {
    while worker.goes_on() {
        let path = format!("/slow?ms={}", worker.random.u32(1..50));
        single(worker, &path, &http::get_and_close(&path), Response::ok);
        worker.pause();
    }
}

/// A kept connection, renewed when the server announced its end or closed it while it was idle.
struct Kept(Option<Client>);

impl Kept {
    fn take(&mut self, worker: &Worker) -> Result<Client, Loss> {
        if let Some(mut client) = self.0.take() {
            if !client.is_closed() {
                return Ok(client);
            }
            worker.ledger.closed_idle();
        }
        worker.target.connect()
    }

    fn put_back(&mut self, client: Client, response: &Response) {
        if !response.close {
            self.0 = Some(client);
        }
    }
}

pub(super) fn keep_alive(worker: &mut Worker) {
    let mut kept = Kept(None);
    while worker.goes_on() {
        let client = kept.take(worker);
        let entry = worker.ledger.send("GET /ping, kept");
        let answer = client.and_then(|mut client| Ok((client.ask(&http::get("/ping"))?, client)));
        match answer {
            Ok((response, client)) => {
                entry.judge(is_ping(&response));
                kept.put_back(client, &response);
            }
            Err(loss) => entry.lost(loss),
        }
        worker.pause();
    }
}

pub(super) fn pausing(worker: &mut Worker) {
    while worker.goes_on() {
        let Some(mut client) = asked_twice(worker) else {
            continue;
        };
        while worker.goes_on() && !client.is_closed() {
            std::thread::sleep(IDLE_LOOK);
        }
    }
}

/// A connection on which two requests were answered, unless one was lost.
fn asked_twice(worker: &Worker) -> Option<Client> {
    let mut kept: Option<Client> = None;
    for _ in 0..2 {
        let entry = worker.ledger.send("GET /ping, before a long pause");
        let client = kept.take().map_or_else(|| worker.target.connect(), Ok);
        match client.and_then(|mut client| Ok((client.ask(&http::get("/ping"))?, client))) {
            Ok((response, client)) => {
                entry.judge(is_ping(&response));
                kept = Some(client);
            }
            Err(loss) => {
                entry.lost(loss);
                return None;
            }
        }
    }
    kept
}

pub(super) fn pipelined(worker: &mut Worker) {
    let mut kept = Kept(None);
    while worker.goes_on() {
        if let Some((client, last)) = batch(worker, &mut kept) {
            kept.put_back(client, &last);
        }
        worker.pause();
    }
}

fn batch(worker: &mut Worker, kept: &mut Kept) -> Option<(Client, Response)> {
    let bodies: Vec<Vec<u8>> = (0..worker.random.usize(2..=8))
        .map(|_| worker.body(2000))
        .collect();
    let wire: Vec<u8> = bodies.iter().flat_map(|body| http::post("/echo", body)).collect();
    let client = kept.take(worker);
    let mut entries: Vec<_> = (1..=bodies.len())
        .map(|number| {
            worker
                .ledger
                .send(format!("POST /echo, {number} of {} pipelined", bodies.len()))
        })
        .collect();
    entries.reverse();
    let mut client = match client {
        Ok(client) => client,
        Err(loss) => {
            entries.into_iter().for_each(|entry| entry.lost(loss.clone()));
            return None;
        }
    };
    // A write error shows in the answers: some may have come before the server closed.
    let _ = client.write(&wire);
    for body in &bodies {
        let entry = entries.pop()?;
        match client.response() {
            Ok(response) => {
                entry.judge(response.ok_with(body));
                if response.close || entries.is_empty() {
                    // Behind an announced end nothing is executed (RFC 9112 section 9.6).
                    entries.into_iter().for_each(crate::ledger::Entry::declined);
                    return Some((client, response));
                }
            }
            Err(loss) => {
                entry.lost(loss.clone());
                entries.into_iter().for_each(|entry| entry.lost(loss.clone()));
                return None;
            }
        }
    }
    None
}

pub(super) fn post(worker: &mut Worker) {
    while worker.goes_on() {
        let body = worker.body(64 * 1024);
        let request = http::post("/echo", &body);
        let cut = worker.random.usize(..=request.len());
        let entry = worker
            .ledger
            .send(format!("POST /echo cut at {cut} of {}", request.len()));
        let answer = worker.target.connect().and_then(|mut client| {
            let _ = client.write(&request[..cut]);
            worker.pause();
            client.ask(&request[cut..])
        });
        match answer {
            Ok(response) => entry.judge(response.ok_with(&body)),
            Err(loss) => entry.lost(loss),
        }
        worker.pause();
    }
}

pub(super) fn streamed(worker: &mut Worker) {
    while worker.goes_on() {
        let count = worker.random.usize(1..300_000);
        let path = format!("/bytes?n={count}");
        let entry = worker.ledger.send(path.as_str());
        let answer = worker.target.connect().and_then(|mut client| {
            let _ = client.write(&http::get_and_close(&path));
            // The server fills the socket's buffers and then has to wait for us.
            std::thread::sleep(Duration::from_millis(worker.random.u64(0..30)));
            client.response()
        });
        match answer {
            Ok(response) => {
                let whole = response.ok().and_then(|response| {
                    let wrong = || {
                        Loss::new(
                            Reason::WrongBody,
                            format_args!("{} of {count} bytes", response.body.len()),
                        )
                    };
                    if response.body.len() == count {
                        Ok(response)
                    } else {
                        Err(wrong())
                    }
                });
                entry.judge(whole);
            }
            Err(loss) => entry.lost(loss),
        }
        worker.pause();
    }
}

//! The HTTP/2 generator: prior knowledge, many streams, and an exact verdict on streams that a GOAWAY cut off.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use tokio::net::{TcpStream, UnixStream};

use super::Worker;
use crate::http::{self as http1, Target};
use crate::ledger::{Entry, Ledger, Loss, Reason};

/// Streams at a time on one connection.
const STREAMS: usize = 16;

pub(super) fn run(worker: &mut Worker) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("tokio: {error}"));
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        while worker.goes_on() {
            if let Err(loss) = connection(worker).await {
                worker.ledger.send("HTTP/2 connection").lost(loss);
                worker.pause();
            }
        }
    });
}

/// One connection from its first stream until the server says GOAWAY, it fails, or the load is stopped.
async fn connection(worker: &mut Worker) -> Result<(), Loss> {
    match &worker.target {
        Target::Tcp(address) => {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|error| refused(&error))?;
            let _ = stream.set_nodelay(true);
            streams(worker, stream).await
        }
        Target::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|error| refused(&error))?;
            streams(worker, stream).await
        }
        Target::Abstract(name) => Err(Loss::new(
            Reason::Abandoned,
            format!("{name}: HTTP/2 over abstract sockets"),
        )),
    }
}

fn refused(error: &io::Error) -> Loss {
    Loss::new(Reason::of_connect(error), error)
}

async fn streams<S>(worker: &mut Worker, stream: S) -> Result<(), Loss>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let (sender, driver) = h2::client::handshake(stream)
        .await
        .map_err(|error| Loss::new(Reason::ResetUnanswered, error))?;
    // The connection's own end shows in its streams.
    let driver = tokio::task::spawn_local(driver);
    let mut running = Vec::new();
    let mut fed = Fed::Open;
    while worker.goes_on() && matches!(fed, Fed::Open) {
        while running.len() < STREAMS && matches!(fed, Fed::Open) {
            let body = if worker.random.bool() {
                Some(worker.body(20_000))
            } else {
                None
            };
            let (next, task) = begin(&sender, &worker.ledger, body).await;
            fed = next;
            running.extend(task);
        }
        tokio::time::sleep(Duration::from_millis(worker.random.u64(1..5))).await;
        running.retain(|task: &tokio::task::JoinHandle<()>| !task.is_finished());
    }
    for task in running {
        let _ = task.await;
    }
    drop(sender);
    driver.abort();
    Ok(())
}

/// Whether the connection takes another stream.
enum Fed {
    Open,
    Closed,
}

/// Opens one stream and leaves it to a task.
async fn begin(
    sender: &SendRequest<Bytes>,
    ledger: &Ledger,
    body: Option<Vec<u8>>,
) -> (Fed, Option<tokio::task::JoinHandle<()>>) {
    // Not ready any more: the server said GOAWAY or is gone; no request is involved yet.
    let Ok(mut sender) = sender.clone().ready().await else {
        return (Fed::Closed, None);
    };
    let (method, path) = if body.is_some() {
        ("POST", "/echo")
    } else {
        ("GET", "/ping")
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("http://localhost{path}"))
        .body(());
    let request = request.unwrap_or_else(|error| panic!("request: {error}"));
    let entry = ledger.send(format!("{method} {path}, HTTP/2"));
    let (response, mut upload) = match sender.send_request(request, body.is_none()) {
        Ok(begun) => begun,
        Err(error) => {
            judge_error(entry, &error);
            return (Fed::Closed, None);
        }
    };
    let task = tokio::task::spawn_local(async move {
        if let Some(body) = &body {
            // A failed upload shows in the answer.
            let _ = upload.send_data(Bytes::copy_from_slice(body), true);
        }
        let answer = tokio::time::timeout(crate::patience(), whole(response)).await;
        match answer {
            Ok(Ok((response, got))) => judge(entry, &response, &got, body.as_deref()),
            Ok(Err(error)) => judge_error(entry, &error),
            Err(_) => entry.lost(Loss::new(Reason::TimedOut, "no whole answer in time")),
        }
    });
    (Fed::Open, Some(task))
}

async fn whole(response: h2::client::ResponseFuture) -> Result<(Response<()>, Vec<u8>), h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let mut got = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        let _ = body.flow_control().release_capacity(chunk.len());
        got.extend_from_slice(&chunk);
    }
    Ok((Response::from_parts(head, ()), got))
}

fn judge(entry: Entry, response: &Response<()>, got: &[u8], sent: Option<&[u8]>) {
    if response.status() != 200 {
        return entry.lost(Loss::new(Reason::WrongStatus, response.status()));
    }
    let checked = match sent {
        Some(sent) if sent == got => Ok(()),
        Some(sent) => Err(Loss::new(
            Reason::WrongBody,
            format_args!("{} of {} bytes", got.len(), sent.len()),
        )),
        None => super::http1::ping_body(got),
    };
    match checked {
        Ok(()) => {
            let header = |name: &str| {
                let value = response.headers().get(name).and_then(|value| value.to_str().ok());
                value.unwrap_or("").to_owned()
            };
            entry.answered_by(&header(http1::GENERATION), &header(http1::PID));
        }
        Err(loss) => entry.lost(loss),
    }
}

/// RFC 9113 section 6.8: streams above a GOAWAY's last id were not processed, and section 8.7: nor were those refused
/// with REFUSED_STREAM. Everything else may have been executed and counts as lost.
fn judge_error(entry: Entry, error: &h2::Error) {
    let unexecuted = error.is_remote()
        && ((error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
            || (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)));
    if unexecuted {
        entry.declined();
    } else {
        entry.lost(Loss::new(Reason::StreamFailed, error));
    }
}

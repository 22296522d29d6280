//! What became of the requests of a race with the drain: plain here, over TLS in `examples/servers`, which reads this file.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::common::PATIENCE;

pub(crate) const REQUEST: &[u8] = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Race {
    Idle,
    Fresh,
}

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered { closing: bool },
    Lost,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) trials: usize,
    pub(crate) lost: usize,
    /// Answers that carried `Connection: close`: these requests met the drain itself.
    pub(crate) closing: usize,
}

impl Tally {
    pub(crate) fn note(&mut self, fates: Vec<Fate>) {
        for fate in fates {
            self.trials += 1;
            match fate {
                Fate::Answered { closing } => self.closing += usize::from(closing),
                Fate::Lost => self.lost += 1,
            }
        }
    }

    /// Prints what became of all of them: `race` in words, and whom it was run against.
    pub(crate) fn tell(&self, race: &str, against: &str) {
        println!(
            "{race} against {against}: {} of {} lost ({} answered with close)",
            self.lost, self.trials, self.closing
        );
    }
}

/// The request is sent, and answered whole or lost.
pub(crate) async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Fate {
    match stream.write_all(REQUEST).await {
        Ok(()) => timeout(PATIENCE, response(&mut stream))
            .await
            .unwrap_or(Fate::Lost),
        Err(_) => Fate::Lost,
    }
}

/// A connection on which the server has answered once.
pub(crate) async fn kept<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> S {
    stream.write_all(REQUEST).await.unwrap();
    assert_eq!(response(&mut stream).await, Fate::Answered { closing: false });
    stream
}

async fn response(stream: &mut (impl AsyncRead + Unpin)) -> Fate {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if text.ends_with("\"}") {
            return Fate::Answered {
                closing: text.contains("\r\nconnection: close\r\n"),
            };
        }
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return Fate::Lost,
            Ok(_) => {}
        }
    }
}

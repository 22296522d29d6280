//! One status after the other. Whoever sits at the terminal is heeded while one is waited for, too.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::{
    ANSWER_TIME, Client, Display, Exit, Failure, REFRESH_TIME, Target, find, in_time, status_lost, written,
};
use crate::clock;
use crate::protocol::{Request, Seen, Status};

/// How long one try to get into a full backlog takes (connect(2) cannot be waited for there together with keys): a key waits no
/// longer.
const KNOCK_TIME: Duration = Duration::from_millis(100);

/// Why there is no status.
enum Halt {
    /// It did not come: why.
    Lost(Failure),
    /// Nobody waits for it any more.
    Over(io::Result<()>),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Lost(failure)
    }
}

impl Client<'_> {
    /// Ends only by a signal or a key, or when the first look fails or nobody reads any more.
    pub(super) fn watch(
        &mut self,
        target: &Target,
        timeout: Option<Duration>,
        display: &mut dyn Display,
    ) -> Result<Exit, Failure> {
        // From the second on this one, even if another starts.
        let (seen, control): (Seen, PathBuf) = self.fetch(target, timeout)?;
        let mut shown = display.show(Ok(seen));
        loop {
            match shown.and_then(|()| display.rest(REFRESH_TIME)) {
                Ok(ControlFlow::Continue(())) => {}
                ended => return over(ended.map(drop)),
            }
            shown = match ask(&control, timeout, display) {
                Ok(seen) => display.show(Ok(seen)),
                Err(Halt::Lost(failure)) => display.show(Err(&failure.text)),
                Err(Halt::Over(ended)) => return over(ended),
            };
        }
    }
}

fn over(ended: io::Result<()>) -> Result<Exit, Failure> {
    written(ended).map(|()| Exit::Done)
}

fn ask(control: &Path, timeout: Option<Duration>, display: &mut dyn Display) -> Result<Seen, Halt> {
    let deadline = clock::now() + timeout.unwrap_or(ANSWER_TIME);
    let asked = knock(control, deadline, display).and_then(|mut connection| {
        let status = answer(&mut connection, deadline, display)?;
        Ok(Seen {
            status,
            supervisor: connection.supervisor(),
        })
    });
    asked.map_err(|halt| match halt {
        Halt::Lost(failure) => Halt::Lost(in_time(failure, timeout, Some(deadline), "the status came")),
        Halt::Over(ended) => Halt::Over(ended),
    })
}

fn knock(control: &Path, deadline: Instant, display: &mut dyn Display) -> Result<Connection, Halt> {
    loop {
        let left = deadline.saturating_duration_since(clock::now());
        match Connection::open(control, left.min(KNOCK_TIME)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && left > KNOCK_TIME => {
                attend(display, None, clock::now())?;
            }
            opened => return opened.map_err(|error| find::nobody_there(control, error).into()),
        }
    }
}

fn answer(connection: &mut Connection, deadline: Instant, display: &mut dyn Display) -> Result<Status, Halt> {
    connection.send(Request::Status {});
    loop {
        attend(display, Some(connection.as_fd()), deadline)?;
        let so_far = connection.status_so_far(deadline);
        if let Some(status) = so_far.map_err(|lost| status_lost(lost, connection))? {
            return Ok(status);
        }
    }
}

fn attend(display: &mut dyn Display, answer: Option<BorrowedFd<'_>>, until: Instant) -> Result<(), Halt> {
    match display.attend(answer, until) {
        Ok(ControlFlow::Continue(())) => Ok(()),
        ended => Err(Halt::Over(ended.map(drop))),
    }
}

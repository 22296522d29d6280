//! `segue events`: what happens, one JSON object a line.

use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use super::connection::{Connection, Lost};
use super::{
    ANSWER_TIME, Client, Exit, Failure, Target, does_not_fit, find, in_time, refused, status_lost, written,
};
use crate::clock;
use crate::protocol::{News, NewsKind, Reply};

/// For how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    /// Only how it is.
    No,
    /// All that happens from now on.
    Yes,
}

impl Client<'_> {
    pub(super) fn events(
        &mut self,
        target: &Target,
        follow: Follow,
        timeout: Option<Duration>,
    ) -> Result<Exit, Failure> {
        let deadline = clock::now() + timeout.unwrap_or(ANSWER_TIME);
        let late = |failure| in_time(failure, timeout, Some(deadline), "the first event came");
        let mut connection = find::connect(target, &self.around, Some(deadline)).map_err(late)?;
        connection.send(crate::protocol::Request::Events {});
        // The first comes at once, and the next whenever something happens.
        let mut first = Some(deadline);
        let mut stops = false;
        let mut heard = false;
        loop {
            let reply = match connection.receive(first.take()) {
                // It was seen to stop: so it has.
                Err(Lost::Gone) if stops => return Ok(Exit::Done),
                Err(Lost::Gone) if heard => return Err(gone(&connection)),
                received => received.map_err(|lost| late(status_lost(lost, &connection)))?,
            };
            let news = match reply {
                Reply::Event(news) => news,
                Reply::Refused { message } => return Err(refused(&message)),
                Reply::Progress { .. } | Reply::Done { .. } | Reply::Failed { .. } | Reply::Status(_) => {
                    return Err(does_not_fit());
                }
            };
            heard = true;
            stops |= news.event == NewsKind::Stopping;
            let printed = self.print(&news);
            match &printed {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Exit::Done),
                Ok(()) | Err(_) => written(printed)?,
            }
            if follow == Follow::No {
                return Ok(Exit::Done);
            }
        }
    }

    fn print(&mut self, news: &News) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(news).unwrap_or_default();
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.out.flush()
    }
}

/// It had answered.
fn gone(connection: &Connection) -> Failure {
    let pid = connection.supervisor();
    let pid = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    Failure::new(
        Exit::NoSupervisor,
        format!(
            "the supervisor{pid} has gone without a word, so no more events come; ask `segue status` who serves"
        ),
    )
}

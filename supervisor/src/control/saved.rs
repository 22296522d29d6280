//! The control socket and its clients as rows and fds: an upgrade in place keeps them.

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;

use super::session::Session;
use super::socket::{Allowed, SocketFile};
use super::{CLIENT_ROW, ClientId, Control};
use crate::place::{Claim, Place};
use crate::state::{Custody, Fds, Field, Fields as _, Flaw, Passed, Row, Rows, written_as};

/// The kind of the row of the control socket, and the name of its fd.
const ROW: &str = "control";

written_as!(ClientId as u64: |client| client.0, ClientId;);

impl Control {
    /// Write the place, the control socket and its clients.
    pub(crate) fn save(&self, rows: &mut Rows) {
        self.place().save(rows);
        self.last_id.write("last-id", rows.begin(ROW));
        self.file.save(rows);
        self.allowed.group().write("group", rows);
        for (id, session) in &self.clients {
            id.write("id", rows.begin(CLIENT_ROW));
            session.save_fields(rows);
        }
    }

    /// The fds of the claim, of the control socket and of its clients.
    pub(crate) fn pass_on<'a>(&'a self, fds: &mut Passed<'a>) {
        self.claim.pass_on(fds);
        fds.push((ROW.to_owned(), self.as_fd()));
        for (id, session) in &self.clients {
            fds.push((id.fd_name(), session.as_fd()));
        }
    }

    /// The control socket and the clients that this process had before it executed another binary. The clients are to be
    /// watched anew: [`Control::changes`] says so.
    ///
    /// # Errors
    /// A row is not whole, an fd is missing, or the place is not ours any more.
    pub(crate) fn restore(rows: &[Row<'_>], fds: &mut Fds, custody: &Custody) -> Result<Self, Flaw> {
        let row = Row::of_kind(rows, ROW)?;
        let place = Place::restore(rows)?;
        let file = SocketFile::restore(row, custody)?;
        let mut clients = BTreeMap::new();
        for row in rows.iter().filter(|row| row.kind() == CLIENT_ROW) {
            let id = ClientId::read("id", *row)?;
            let fd = fds.take(&id.fd_name());
            let fd = fd.ok_or_else(|| Flaw::new(format_args!("the fd of {:?} is missing", row.line())))?;
            clients.insert(id, Session::restore(*row, fd)?);
        }
        let listener = fds
            .take(ROW)
            .ok_or_else(|| Flaw::new("the fd of the control socket is missing"))?;
        let allowed = Allowed::new(Field::read("group", row)?);
        let last_id = Field::read("last-id", row)?;
        let claim = Claim::restore(place, fds, custody)?;
        Ok(Self {
            clients,
            last_id,
            ..Self::new(UnixListener::from(listener), allowed, file, claim)
        })
    }
}

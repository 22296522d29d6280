//! Rows and fds become listeners again.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::told::{bound_to, label_of, slot_beside, was_bound_there};
use super::{
    LISTENER, NAMED, ORIGINAL, SOCKET, SavedListener, SavedOriginal, SavedSocket, SocketIdentity, fd_name,
    lock_name, restore_options,
};
use crate::address::Address;
use crate::listeners::regroup::in_groups;
use crate::listeners::resolve::Owner;
use crate::listeners::settings::Originals;
use crate::listeners::socket::{Birth, IoMode, Socket, Source};
use crate::listeners::unix_file::{PathLock, SocketFile};
use crate::listeners::{Listener, anew, bind};
use crate::state::{Custody, Fds, Field as _, Flaw, Row, Whole as _};
use crate::sys::sock::SocketOption;

/// What is restored beside the sockets.
struct Files<'a> {
    /// The locks that were taken over, and the paths that they guard: the sockets of one path share one.
    locks: Vec<(PathBuf, Rc<PathLock>)>,
    custody: &'a Custody,
}

fn io_mode(non_blocking: bool) -> IoMode {
    if non_blocking {
        IoMode::NonBlocking
    } else {
        IoMode::Blocking
    }
}

/// What is done about a socket whose fd is not among those that are left.
#[derive(Debug)]
pub(crate) enum Absent<'a> {
    /// It is missing, and with it the whole state.
    IsAFlaw,
    /// Nobody has it any more, so it is made anew. The addresses are added here, but for those of private listeners.
    IsMadeAnew(&'a mut Vec<String>),
}

impl Absent<'_> {
    /// The socket of this row, one of `rows`. Others of the same address may be there.
    fn deal_with(
        &mut self,
        (row, rows): (Row<'_>, &[Row<'_>]),
        inode: u64,
        there: &[Option<Rc<Socket>>],
        custody: &Custody,
    ) -> Result<Socket, Flaw> {
        match self {
            Absent::IsAFlaw => Err(Flaw::new(format_args!("the fd {} is missing", fd_name(inode)))),
            Absent::IsMadeAnew(told) => {
                let saved = SavedSocket::of_row(row)?;
                let there = at_its_place(rows, inode, there);
                let mut anew = |text: &str, options: &str, owner| {
                    let options = restore_options(options, Some(text))?;
                    let address = text.parse::<Address>().map_err(Flaw::new)?;
                    let made = anew::at(&address, options, owner, &there, custody.guard());
                    let made = made.map_err(Flaw::new)?;
                    told.push(made.local().text());
                    Ok(made)
                };
                match (saved.address.as_deref(), &saved.inherited) {
                    (Some(text), _) => anew(text, &saved.options, Owner::of_row(row)?),
                    (None, Some(_)) => {
                        let beside = slot_beside(rows, inode);
                        let beside = beside.ok_or_else(|| Flaw::new("an inherited socket is missing"))?;
                        let like = SavedSocket::of_row(beside)?;
                        anew(
                            &like.address.unwrap_or_default(),
                            &like.options,
                            Owner::of_row(beside)?,
                        )
                    }
                    (None, None) => {
                        bind::probe(Path::new(&row.os("path")?), custody.guard()).map_err(Flaw::new)
                    }
                }
            }
        }
    }
}

/// Those of the sockets that are there which a slot may be made anew beside: bound where it was. If none of its address is left, and
/// another was made anew already, with a port that the kernel has chosen again, it is that one.
fn at_its_place(rows: &[Row<'_>], inode: u64, there: &[Option<Rc<Socket>>]) -> Vec<Rc<Socket>> {
    let Some(bound) = bound_to(rows, inode) else {
        return there.iter().flatten().cloned().collect();
    };
    let text = |one: &Rc<Socket>| one.local().text();
    let fits = |one: &&Rc<Socket>| text(one) == bound || !was_bound_there(rows, &text(one));
    there.iter().flatten().filter(fits).cloned().collect()
}

/// The listeners that the rows tell of, by their numbers.
///
/// # Errors
/// A row is not whole, an fd is missing and cannot be made anew, or it is another socket than the row tells of.
pub(crate) fn restore(
    rows: &[Row<'_>],
    fds: &mut Fds,
    mut absent: Absent<'_>,
    custody: &Custody,
) -> Result<Vec<Rc<Listener>>, Flaw> {
    let mut sockets: Vec<Option<Rc<Socket>>> = Vec::new();
    let mut places: BTreeMap<u64, (usize, Row<'_>)> = BTreeMap::new();
    let mut files = Files {
        locks: Vec::new(),
        custody,
    };
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.kind() == SOCKET) {
        let inode = row.number("inode")?;
        places.insert(inode, (sockets.len(), *row));
        sockets.push(match fds.take(&fd_name(inode)) {
            Some(fd) => {
                let originals = restore_originals(&rows[index + 1..])?;
                let socket = restore_socket(*row, fd, originals, fds, &mut files)?;
                Some(Rc::new(socket))
            }
            None => None,
        });
    }
    let mut in_order: Vec<_> = places.iter().collect();
    in_order.sort_by_key(|(_, (place, _))| *place);
    for (inode, (place, row)) in in_order {
        if sockets[*place].is_none() {
            let socket = absent.deal_with((*row, rows), *inode, &sockets, custody)?;
            sockets[*place] = Some(Rc::new(socket));
        }
    }
    for (place, row) in places.values() {
        if let Some(socket) = &sockets[*place] {
            let saved = SavedSocket::of_row(*row)?;
            socket.want_io_mode(io_mode(saved.non_blocking));
            socket.was_born(io_mode(saved.born_non_blocking));
        }
    }
    let mut listeners = Vec::new();
    for row in rows.iter().filter(|row| row.kind() == LISTENER) {
        let saved = SavedListener::of_row(*row)?;
        let found = places.get(&saved.socket);
        let found = found.and_then(|(place, row)| Some((sockets.get(*place)?.as_ref()?, row)));
        let (socket, of_socket) =
            found.ok_or_else(|| Flaw::new(format_args!("no socket {}", saved.socket)))?;
        let address = of_socket.text_if_any("address")?;
        if saved.number != listeners.len() as u64 {
            return Err(Flaw::new("the listeners are not in order"));
        }
        let owner = Owner::of_row(*row)?;
        let restored = restore_listener(saved, owner, address.as_deref(), socket)?;
        listeners.push((restored, *row));
    }
    in_groups(listeners, &[], rows)
}

/// Those listeners of ours that the rows tell of and whose sockets are among the fds; what a generation was given for its probe is
/// not among them.
///
/// # Errors
/// A row is not whole, or it is another socket than the row tells of.
pub(crate) fn restore_found(
    rows: &[Row<'_>],
    fds: &mut Fds,
    custody: &Custody,
) -> Result<Vec<Rc<Listener>>, Flaw> {
    let mut found: BTreeMap<u64, Rc<Socket>> = BTreeMap::new();
    let mut files = Files {
        locks: Vec::new(),
        custody,
    };
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.kind() == SOCKET) {
        let inode = row.number("inode")?;
        if row.text_if_any("address")?.is_some()
            && let Some(fd) = fds.take(&fd_name(inode))
        {
            let originals = restore_originals(&rows[index + 1..])?;
            let socket = restore_socket(*row, fd, originals, fds, &mut files)?;
            found.insert(inode, Rc::new(socket));
        }
    }
    let mut listeners: Vec<(Listener, Row<'_>)> = Vec::new();
    let mut absent = Vec::new();
    for row in rows.iter().filter(|row| row.kind() == LISTENER) {
        let saved = SavedListener::of_row(*row)?;
        let Some(socket) = found.get(&saved.socket) else {
            absent.push((saved, *row));
            continue;
        };
        let address = match socket.source() {
            Source::Spec(address) => address.to_string(),
            Source::Inherited { .. } | Source::Probe => continue,
        };
        let owner = Owner::of_row(*row)?;
        listeners.push((restore_listener(saved, owner, Some(&address), socket)?, *row));
    }
    let mut closed = Vec::new();
    for (saved, row) in absent {
        // Its address is that of the others that were made for the same words.
        let spec = label_of(rows, SocketIdentity::of_inode(saved.socket));
        let beside = listeners.iter().find(|(one, _)| {
            let made_for =
                matches!(one.socket.source(), Source::Spec(address) if address.to_string() == spec);
            let bound = row.text("bound");
            one.name == saved.name && made_for && bound.map_or(true, |bound| bound == one.address_text())
        });
        closed.extend(beside.map(|(one, _)| (one.address_text(), row)));
    }
    in_groups(listeners, &closed, rows)
}

fn restore_listener(
    saved: SavedListener,
    owner: Owner,
    address: Option<&str>,
    socket: &Rc<Socket>,
) -> Result<Listener, Flaw> {
    Ok(Listener {
        options: restore_options(&saved.options, address)?,
        name: saved.name,
        owner,
        socket: Rc::clone(socket),
        slot: None,
    })
}

/// What the options of a socket were: those rows stand behind its own, before the next socket's.
fn restore_originals(behind: &[Row<'_>]) -> Result<Originals, Flaw> {
    let mut originals = Originals::new();
    for row in behind.iter().take_while(|row| row.kind() != SOCKET) {
        if row.kind() == ORIGINAL {
            let saved = SavedOriginal::of_row(*row)?;
            let option = SocketOption {
                level: saved.level,
                name: saved.option,
            };
            originals.push((option, saved.value));
        }
    }
    Ok(originals)
}

fn restore_socket(
    row: Row<'_>,
    fd: OwnedFd,
    originals: Originals,
    fds: &mut Fds,
    files: &mut Files<'_>,
) -> Result<Socket, Flaw> {
    let saved = SavedSocket::of_row(row)?;
    let inode = saved.inode;
    let name = fd_name(inode);
    let address = saved.address.as_deref();
    let source = match (address, saved.inherited) {
        (Some(address), _) => Source::Spec(address.parse::<Address>().map_err(Flaw::new)?),
        (None, Some(named)) => Source::Inherited {
            named: named == NAMED,
        },
        (None, None) => Source::Probe,
    };
    let socket = Socket::new(Birth {
        file: restore_file(row, inode, fds, files)?,
        fd,
        source,
        options: restore_options(&saved.options, address)?,
        owner: Owner::of_row(row)?,
        originals,
        backlog: saved.backlog,
    });
    let socket = socket.map_err(|why| Flaw::new(format_args!("{name}: {why}")))?;
    if socket.inode() != inode || saved.cookie.is_some_and(|cookie| socket.cookie() != Some(cookie)) {
        return Err(Flaw::new(format_args!("{name} is another socket by now")));
    }
    Ok(socket)
}

/// The path of a socket. Its lock comes with it, or is taken anew where its holder has died; one that somebody else has by now is
/// done without: the path is theirs then.
fn restore_file(
    row: Row<'_>,
    inode: u64,
    fds: &mut Fds,
    files: &mut Files<'_>,
) -> Result<Option<SocketFile>, Flaw> {
    let Some(mut file) = SocketFile::restore(row, files.custody)? else {
        return Ok(None);
    };
    if bool::read("locked", row)? {
        let path = file.path();
        let own = match fds.take(&lock_name(inode)) {
            Some(fd) => PathLock::restore(path, File::from(fd), files.custody.guard()),
            None => PathLock::take(path, files.custody.guard()).ok(),
        };
        let lock = match own {
            Some(lock) => {
                let lock = Rc::new(lock);
                files.locks.push((path.to_owned(), Rc::clone(&lock)));
                Some(lock)
            }
            // Looked for only then: there may be thousands.
            None => files
                .locks
                .iter()
                .find(|(known, _)| known == path)
                .map(|(_, lock)| Rc::clone(lock)),
        };
        file.keep_lock(lock);
    }
    Ok(Some(file))
}

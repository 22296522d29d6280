//! How an app is told which listeners it has: the variables of a protocol, and placeholders in its arguments.
//!
//! It is text alone: nothing is opened here, and nothing is known of processes but a pid. [`Protocol`] has the variables, and
//! [`fill`] replaces placeholders.

mod placeholders;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::path::Path;

use nix::unistd::Pid;

pub(crate) use placeholders::{Known, fill, has_any, has_runtime, problems};

/// The variables by which an app is told of its listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `LISTEN_FDS`, `LISTEN_FDNAMES` and `LISTEN_PID`: sd_listen_fds(3).
    #[default]
    Systemd,
    /// `SERVER_STARTER_PORT` and `SERVER_STARTER_GENERATION`, as Perl's Server::Starter sets them.
    ServerStarter,
    /// `EINHORN_FD_COUNT`, `EINHORN_FD_0`..., `EINHORN_MASTER_PID`, and `EINHORN_SOCK_PATH` for the ack.
    Einhorn,
    /// `NGINX`, as nginx tells its own successor.
    Nginx,
    /// `FPM_SOCKETS`, as php-fpm tells its own successor.
    PhpFpm,
}

/// One listener of a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) name: &'a str,
    /// Its number in the worker.
    pub(crate) fd: RawFd,
    /// `127.0.0.1:8080`, `[::]:8080`, a path, or `@` and an abstract name.
    pub(crate) address: &'a OsStr,
    /// `None` for a Unix socket.
    pub(crate) port: Option<u16>,
}

/// What placeholders stand for in one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    pub(crate) listeners: &'a [Told<'a>],
    pub(crate) generation: u64,
    pub(crate) worker: u16,
    /// The directory of this generation, if anything of it asks for one.
    pub(crate) runtime: Option<&'a Path>,
    /// Where the worker acks under einhorn's protocol.
    pub(crate) acks: Option<&'a Path>,
}

impl Told<'_> {
    /// As the constant of socket(2) is called.
    fn family(&self) -> &'static str {
        match self.port {
            None => "AF_UNIX",
            Some(_) if self.address.as_encoded_bytes().starts_with(b"[") => "AF_INET6",
            Some(_) => "AF_INET",
        }
    }
}

impl Protocol {
    /// Whether its workers ack on a socket of their own.
    pub(crate) fn has_acks(self) -> bool {
        self == Self::Einhorn
    }

    /// Whether the app learns of its listeners by sd_listen_fds(3).
    pub(crate) fn is_systemd(self) -> bool {
        self == Self::Systemd
    }

    /// The variables, but for those of systemd's protocol, which hold the pid of the app itself. `master` is the supervisor.
    pub(crate) fn variables(self, values: &Values<'_>, master: Pid) -> Vec<(String, OsString)> {
        let listeners = values.listeners;
        match self {
            Self::Systemd => Vec::new(),
            Self::ServerStarter => vec![
                ("SERVER_STARTER_PORT".to_owned(), pairs(listeners, ";")),
                (
                    "SERVER_STARTER_GENERATION".to_owned(),
                    values.generation.to_string().into(),
                ),
            ],
            Self::Einhorn => {
                let numbers = listeners.iter().enumerate();
                let of_each = numbers.flat_map(|(index, told)| {
                    [
                        (format!("EINHORN_FD_{index}"), told.fd.to_string().into()),
                        (format!("EINHORN_FD_FAMILY_{index}"), told.family().into()),
                    ]
                });
                let mut variables: Vec<(String, OsString)> = of_each.collect();
                variables.push(("EINHORN_CHILD_INDEX".to_owned(), values.worker.to_string().into()));
                variables.push(("EINHORN_FD_COUNT".to_owned(), listeners.len().to_string().into()));
                // A worker takes it for einhorn only if it is its parent.
                variables.push(("EINHORN_MASTER_PID".to_owned(), master.to_string().into()));
                variables.extend(
                    values
                        .acks
                        .map(|path| ("EINHORN_SOCK_PATH".to_owned(), path.into())),
                );
                variables
            }
            Self::Nginx => {
                let fds: String = listeners.iter().map(|told| format!("{};", told.fd)).collect();
                vec![("NGINX".to_owned(), fds.into())]
            }
            Self::PhpFpm => vec![("FPM_SOCKETS".to_owned(), pairs(listeners, ","))],
        }
    }
}

/// `ADDRESS=FD` of each.
fn pairs(listeners: &[Told<'_>], between: &str) -> OsString {
    let mut text = OsString::new();
    for (index, told) in listeners.iter().enumerate() {
        if index > 0 {
            text.push(between);
        }
        text.push(told.address);
        text.push(format!("={}", told.fd));
    }
    text
}

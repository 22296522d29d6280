//! The listeners that a server accepts on: handed over by the supervisor, or bound by the app when it runs alone.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockRef, Socket, Type};

use crate::connection::Security;
use crate::environment::Inherited;
use crate::error::{Error, Result};
use crate::limits::BACKLOG;

/// A socket on which connections arrive. Dropping it closes this process's copy; if the app bound a Unix path
/// itself, the path is removed too, unless another socket lies there by now.
///
/// # Example
///
/// ```
/// # fn main() -> segue_app::Result<()> {
/// use segue_app::{Environment, Listener, Server};
///
/// let server = Server::new(Environment::default())?.listener(Listener::bind("127.0.0.1:0")?);
/// assert_eq!(server.listeners().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Listener {
    pub(crate) kind: ListeningSocket,
    name: String,
    pub(crate) path: Option<OwnPath>,
    /// What is spoken on it; `None`: as on the others.
    pub(crate) security: Option<Security>,
}

#[derive(Debug)]
pub(crate) enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A path in the file system that this process made and removes.
#[derive(Debug)]
pub(crate) struct OwnPath {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // Somebody may have removed it in between; there is nothing left to do then.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Takes over a socket of the supervisor's. Its flags and its backlog stay as they are, except that it is
    /// made non-blocking (all who share it share that flag).
    ///
    /// # Errors
    /// If it is no listening TCP or Unix stream socket; the message says its name.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// use segue_app::{Environment, Listener};
    ///
    /// let mut environment = Environment::take()?;
    /// let admin = environment.take_named("admin").map(Listener::from_inherited).transpose()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_inherited(socket: Inherited) -> Result<Listener> {
        let name = socket.name().to_owned();
        if !socket.is_listener() {
            return Err(Error::new(format!(
                "serve the socket '{name}' of LISTEN_FDS: it is no listening stream socket (an app that wants it \
                 takes it with Environment::take_named)"
            )));
        }
        Listener::from_fd(name.clone(), socket.into_fd())
            .map_err(|cause| Error::io(format!("serve the socket '{name}' of LISTEN_FDS"), cause))
    }

    fn from_fd(name: String, fd: OwnedFd) -> io::Result<Listener> {
        let socket = SockRef::from(&fd);
        socket.set_nonblocking(true)?;
        let kind = match socket.domain_of()? {
            Domain::UNIX => ListeningSocket::Unix(UnixListener::from(fd)),
            _ => ListeningSocket::Tcp(TcpListener::from(fd)),
        };
        Ok(Listener {
            kind,
            name,
            path: None,
            security: None,
        })
    }

    /// Binds an address: `PORT` (on 127.0.0.1), `HOST:PORT`, `[::1]:PORT`, `*:PORT` or `:PORT` (every address, IPv4
    /// and IPv6), `unix:PATH` or `unix:@NAME` (abstract). Of a host with several addresses the first that can be
    /// bound. A Unix path that nobody listens on any more is replaced; the new one is removed at the end.
    ///
    /// # Errors
    /// One line with the address and the cause.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> segue_app::Result<()> {
    /// let listener = segue_app::Listener::bind("127.0.0.1:0")?;
    /// assert!(listener.address().starts_with("127.0.0.1:"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn bind(address: &str) -> Result<Listener> {
        let listener = match address.strip_prefix("unix:") {
            Some(path) => bind_unix(path),
            None => bind_tcp(address),
        };
        listener.map_err(|cause| Error::io(format!("listen {address}"), cause))
    }

    /// Speaks TLS on this listener, whatever the others speak. Needs the feature `tls`.
    ///
    /// ```no_run
    /// # fn config() -> segue_app::rustls::ServerConfig { unimplemented!() }
    /// use segue_app::{Environment, Listener, Server};
    ///
    /// # fn main() -> segue_app::Result<()> {
    /// let mut environment = Environment::take()?;
    /// // segue run --listen http=80 --listen https=443 ...
    /// let https = environment.take_named("https").map(Listener::from_inherited);
    /// let mut server = Server::new(environment)?;
    /// if let Some(https) = https {
    ///     server = server.listener(https?.tls(config()));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: impl Into<std::sync::Arc<tokio_rustls::rustls::ServerConfig>>) -> Listener {
        self.security = Some(Security::Tls(config.into().into()));
        self
    }

    /// Its name: that of `LISTEN_FDNAMES`, or `bound`.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> segue_app::Result<()> {
    /// let listener = segue_app::Listener::bind("127.0.0.1:0")?;
    /// assert_eq!(listener.name(), "bound");
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address as people write it, with the real port.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> segue_app::Result<()> {
    /// let listener = segue_app::Listener::bind("127.0.0.1:0")?;
    /// println!("http://{}/", listener.address());
    /// # Ok(())
    /// # }
    /// ```
    pub fn address(&self) -> String {
        match &self.kind {
            ListeningSocket::Tcp(socket) => socket
                .local_addr()
                .map_or_else(|_| "?".to_owned(), |address| address.to_string()),
            ListeningSocket::Unix(socket) => unix_address(socket),
        }
    }

    /// The TCP address, if it is a TCP listener.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> segue_app::Result<()> {
    /// let listener = segue_app::Listener::bind("127.0.0.1:0")?;
    /// assert_ne!(listener.tcp_address().map(|address| address.port()), Some(0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.kind {
            ListeningSocket::Tcp(socket) => socket.local_addr().ok(),
            ListeningSocket::Unix(_) => None,
        }
    }
}

trait DomainOf {
    fn domain_of(&self) -> io::Result<Domain>;
}

impl DomainOf for SockRef<'_> {
    /// SO_DOMAIN is not there on every system; the family of the own address always is.
    fn domain_of(&self) -> io::Result<Domain> {
        Ok(self.local_addr()?.domain())
    }
}

fn unix_address(socket: &UnixListener) -> String {
    let Ok(address) = socket.local_addr() else {
        return "unix:?".to_owned();
    };
    if let Some(path) = address.as_pathname() {
        return format!("unix:{}", path.display());
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        if let Some(name) = address.as_abstract_name() {
            return format!("unix:@{}", String::from_utf8_lossy(name));
        }
    }
    "unix:?".to_owned()
}

fn bind_tcp(address: &str) -> io::Result<Listener> {
    if let Some(port) = address.strip_prefix("*:").or_else(|| address.strip_prefix(':')) {
        let port = port
            .parse()
            .map_err(|_| invalid("the port must be a number from 0 to 65535"))?;
        // A host without IPv6 still has every IPv4 address.
        return listen_tcp(SocketAddr::from(([0_u16; 8], port)))
            .or_else(|_| listen_tcp(SocketAddr::from(([0_u8; 4], port))));
    }
    let found: Vec<SocketAddr> = match address.parse::<u16>() {
        Ok(port) => vec![SocketAddr::from(([127, 0, 0, 1], port))],
        Err(_) => address.to_socket_addrs()?.collect(),
    };
    let mut last = invalid("the name has no address");
    for address in found {
        match listen_tcp(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn listen_tcp(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(Listener {
        kind: ListeningSocket::Tcp(socket.into()),
        name: "bound".to_owned(),
        path: None,
        security: None,
    })
}

fn bind_unix(path: &str) -> io::Result<Listener> {
    let address = match path.strip_prefix('@') {
        Some(name) => socket2::SockAddr::unix(format!("\0{name}"))?,
        None => {
            remove_stale(Path::new(path))?;
            socket2::SockAddr::unix(path)?
        }
    };
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address)?;
    let own = match path.starts_with('@') {
        true => None,
        false => Some(OwnPath {
            path: path.into(),
            inode: inode(Path::new(path))?,
        }),
    };
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(Listener {
        kind: ListeningSocket::Unix(socket.into()),
        name: "bound".to_owned(),
        path: own,
        security: None,
    })
}

/// Removes a socket that nobody listens on any more; anything else at the path is left, and bind() will say so.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(invalid("something that is no socket is there")),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            Ok(_) | Err(_) => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_every_form() {
        assert!(Listener::bind("0").unwrap().address().starts_with("127.0.0.1:"));
        assert!(
            Listener::bind("localhost:0")
                .unwrap()
                .tcp_address()
                .unwrap()
                .ip()
                .is_loopback()
        );
        assert!(
            Listener::bind("*:0")
                .unwrap()
                .tcp_address()
                .unwrap()
                .ip()
                .is_unspecified()
        );
        let name = format!("unix:@segue-app-listener-{}", std::process::id());
        assert_eq!(Listener::bind(&name).unwrap().address(), name);
    }

    #[test]
    fn replaces_a_stale_path_and_removes_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let address = format!("unix:{}", path.display());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::bind(&address).unwrap();
        assert_eq!(listener.address(), address);
        assert!(
            Listener::bind(&address)
                .unwrap_err()
                .to_string()
                .ends_with("address already in use")
        );
        drop(listener);
        assert!(!path.exists());
        fs::write(&path, "text").unwrap();
        assert!(
            Listener::bind(&address)
                .unwrap_err()
                .to_string()
                .ends_with("something that is no socket is there")
        );
    }

    #[test]
    fn errors_name_the_address() {
        for address in ["*:66666", "", "unix:", "nowhere.invalid:1", "1.2.3.4.5:6"] {
            let error = Listener::bind(address).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("listen {address}: ")) && !error.contains('\n'),
                "{error}"
            );
        }
    }
}

//! The app's words to its supervisor, by sd_notify(3).
//!
//! The words are those of the crate sd-notify. Sending them is done here: the crate reads `NOTIFY_SOCKET` from the
//! environment at every call (it is gone by then), cannot reach an abstract socket (`@`) and lets a newline in a STATUS
//! begin a new field.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::error::{Error, Result};

/// How long one notification may wait for room in the supervisor's socket; it never has to on a living one.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest STATUS that is sent, in bytes; systemd drops messages of 4096 bytes and more.
const MAX_STATUS: usize = 512;

/// Tells the supervisor how the app is. Without a supervisor every word is simply not sent.
///
/// # Example
///
/// ```no_run
/// # fn main() -> segue_app::Result<()> {
/// let environment = segue_app::Environment::take()?;
/// let notifier = segue_app::Notifier::new(environment.notify_socket());
/// notifier.status("reading the catalogue")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Notifier {
    path: Option<PathBuf>,
}

impl Notifier {
    /// A notifier for this path (or `@` and an abstract name), or one that says nothing.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> segue_app::Result<()> {
    /// let nobody = segue_app::Notifier::new(None);
    /// nobody.ready("not sent, and no error")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(path: Option<&Path>) -> Notifier {
        Notifier {
            path: path.map(Path::to_owned),
        }
    }

    /// `READY=1`, with a status line.
    ///
    /// # Errors
    /// When it cannot be sent: the supervisor would wait for it in vain.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let environment = segue_app::Environment::take()?;
    /// let notifier = segue_app::Notifier::new(environment.notify_socket());
    /// notifier.ready("serving 4 queues")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn ready(&self, status: &str) -> Result<()> {
        self.say(NotifyState::Ready, Some(status))
    }

    /// `STOPPING=1`, with a status line.
    ///
    /// # Errors
    /// When it cannot be sent.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let environment = segue_app::Environment::take()?;
    /// let notifier = segue_app::Notifier::new(environment.notify_socket());
    /// notifier.stopping("2 jobs left")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn stopping(&self, status: &str) -> Result<()> {
        self.say(NotifyState::Stopping, Some(status))
    }

    /// `WATCHDOG=1`: the app is alive.
    ///
    /// # Errors
    /// When it cannot be sent.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let environment = segue_app::Environment::take()?;
    /// let notifier = segue_app::Notifier::new(environment.notify_socket());
    /// notifier.watchdog()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn watchdog(&self) -> Result<()> {
        self.say(NotifyState::Watchdog, None)
    }

    /// `STATUS=`: one line for people. Control characters become spaces, so that no text can begin a field of its
    /// own; 512 bytes at most.
    ///
    /// # Errors
    /// When it cannot be sent.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let environment = segue_app::Environment::take()?;
    /// let notifier = segue_app::Notifier::new(environment.notify_socket());
    /// notifier.status("warming the cache: 40 %")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn status(&self, status: &str) -> Result<()> {
        self.send(&NotifyState::Status(&one_line(status)).to_string())
            .map_err(|cause| self.error("STATUS", cause))
    }

    fn say(&self, word: NotifyState<'_>, status: Option<&str>) -> Result<()> {
        let word = word.to_string();
        let message = match status.map(one_line) {
            Some(status) => format!("{word}\n{}", NotifyState::Status(&status)),
            None => word.clone(),
        };
        self.send(&message).map_err(|cause| self.error(&word, cause))
    }

    fn error(&self, word: &str, cause: io::Error) -> Error {
        let path = self.path.as_deref().unwrap_or(Path::new(""));
        Error::io(format!("send {word} to {}", path.display()), cause)
    }

    fn send(&self, message: &str) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        match path.as_os_str().as_encoded_bytes().strip_prefix(b"@") {
            Some(name) => send_abstract(&socket, name, message),
            None => socket.send_to(message.as_bytes(), path).map(drop),
        }
    }
}

#[cfg(target_os = "linux")]
fn send_abstract(socket: &UnixDatagram, name: &[u8], message: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    socket.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn send_abstract(_: &UnixDatagram, _: &[u8], _: &str) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "abstract sockets exist on Linux only",
    ))
}

/// A status that cannot begin a field of its own, and that is not too long.
fn one_line(status: &str) -> String {
    let mut line = String::new();
    for letter in status.chars() {
        if line.len() + letter.len_utf8() > MAX_STATUS {
            break;
        }
        line.push(if letter.is_control() { ' ' } else { letter });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_stays_one_field() {
        assert_eq!(one_line("all\nMAINPID=1\r\u{85}x"), "all MAINPID=1  x");
        assert!(one_line(&"ä".repeat(4000)).len() <= MAX_STATUS);
    }

    #[test]
    fn reaches_a_path_and_an_abstract_name() {
        use std::os::linux::net::SocketAddrExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        Notifier::new(Some(&path)).ready("here").unwrap();
        let mut buffer = [0; 64];
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\nSTATUS=here");

        let name = format!("segue-app-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let receiver = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::new(Some(Path::new(&format!("@{name}"))))
            .watchdog()
            .unwrap();
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"WATCHDOG=1");
    }

    #[test]
    fn says_where_it_could_not_be_sent() {
        let error = Notifier::new(Some(Path::new("/nowhere/notify")))
            .ready("")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "send READY=1 to /nowhere/notify: no such file or directory"
        );
        Notifier::new(None).ready("nobody listens").unwrap();
    }
}

//! Unix paths: made as asked for, never at the cost of what is there, removed only if still ours.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use super::*;
use crate::state::Guard;

struct Spot {
    _dir: tempfile::TempDir,
    path: PathBuf,
    text: String,
}

/// What is said of a path that this very process serves.
fn in_use_by_us() -> String {
    let pid = std::process::id();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    format!("address already in use (by {}, pid {pid})", name.trim_end())
}

fn spot() -> Spot {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let text = format!("unix:{}", path.display());
    Spot {
        _dir: dir,
        path,
        text,
    }
}

impl Spot {
    fn lock(&self) -> PathBuf {
        self.path.with_extension("sock.lock")
    }

    fn mode(&self) -> u32 {
        fs::metadata(&self.path).unwrap().mode() & 0o7777
    }

    fn is_empty(&self) -> bool {
        fs::symlink_metadata(&self.path).is_err() && !self.lock().exists()
    }

    fn locked_by(&self, pid: u32) -> bool {
        let text = fs::read_to_string(self.lock()).unwrap();
        text.split_whitespace().next() == Some(pid.to_string().as_str())
    }

    /// Waits until nobody has the socket any more that was closed here: a child that another test forks in that instant
    /// has it until it executes.
    fn wait_until_dead(&self, connect: impl Fn(&Path) -> io::Result<()>) {
        let end = Instant::now() + Duration::from_secs(60);
        while connect(&self.path).is_ok() {
            assert!(Instant::now() < end, "somebody has {}", self.path.display());
            std::thread::yield_now();
        }
    }

    fn refused(&self) -> String {
        let line = refusal(&[&self.text]);
        line.strip_prefix(&format!("listen {}: ", self.text))
            .unwrap()
            .to_owned()
    }
}

#[test]
fn a_path_lives_as_long_as_its_listener() {
    let spot = spot();
    let listener = open_one(&spot.text);
    assert!(fs::metadata(&spot.path).unwrap().file_type().is_socket());
    assert!(spot.locked_by(std::process::id()));
    drop(listener);
    assert!(spot.is_empty());
}

#[test]
fn the_mode_is_what_was_asked_for_whatever_the_umask() {
    let spot = spot();
    drop(open_one(&spot.text));
    let _listener = open_one(&spot.text);
    assert_eq!(spot.mode(), 0o666);
    drop(_listener);
    let _listener = open_one(&format!("{},mode=0617", spot.text));
    assert_eq!(spot.mode(), 0o617);
}

#[test]
fn a_path_is_born_without_any_access() {
    let spot = spot();
    let listener = UnixDatagram::unbound().unwrap();
    let _file = unix_file::SocketFile::bind(listener.as_fd(), &spot.path, None, Guard::armed()).unwrap();
    assert_eq!(spot.mode(), 0);
}

#[test]
fn the_owner_is_who_was_asked_for() {
    let spot = spot();
    let text = format!("{},user=12345,group=54321", spot.text);
    if !geteuid().is_root() {
        assert!(refusal(&[&text]).contains("cannot change the owner: operation not permitted"));
        assert!(spot.is_empty());
        return;
    }
    let listener = open_one(&text);
    let meta = fs::metadata(&spot.path).unwrap();
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o777),
        (12345, 54321, 0o666)
    );
    drop(listener);
    let _by_name = open_one(&format!("{},user=root", spot.text));
    assert_eq!(fs::metadata(&spot.path).unwrap().gid(), 0);
}

#[test]
fn unknown_users_and_groups_are_refused_by_name() {
    let spot = spot();
    let refused = |option: &str| {
        let line = refusal(&[&format!("{},{option}", spot.text)]);
        line.rsplit_once(": ").unwrap().1.to_owned()
    };
    assert_eq!(refused("user=segue-nobody"), "there is no user \"segue-nobody\"");
    assert_eq!(
        refused("group=segue-nobody"),
        "there is no group \"segue-nobody\""
    );
    assert!(spot.is_empty());
}

#[test]
fn what_is_no_socket_stays() {
    let spot = spot();
    fs::write(&spot.path, "precious").unwrap();
    assert_eq!(
        spot.refused(),
        "there is a regular file at that path, not a socket, and it stays"
    );
    assert_eq!(fs::read_to_string(&spot.path).unwrap(), "precious");
    assert!(!spot.lock().exists());
    fs::remove_file(&spot.path).unwrap();

    fs::create_dir(&spot.path).unwrap();
    assert_eq!(
        spot.refused(),
        "there is a directory at that path, not a socket, and it stays"
    );
    fs::remove_dir(&spot.path).unwrap();

    symlink("/nowhere", &spot.path).unwrap();
    assert_eq!(
        spot.refused(),
        "there is a symbolic link at that path, not a socket, and it stays"
    );
}

#[test]
fn a_dead_socket_is_replaced() {
    let spot = spot();
    drop(UnixListener::bind(&spot.path).unwrap());
    assert!(spot.path.exists());
    spot.wait_until_dead(|path| UnixStream::connect(path).map(drop));
    let _listener = open_one(&spot.text);
    UnixStream::connect(&spot.path).unwrap();
}

#[test]
fn a_dead_datagram_socket_is_replaced_and_a_live_one_is_not() {
    let spot = spot();
    let text = spot.text.replace("unix:", "unix-dgram:");
    let other = UnixDatagram::bind(&spot.path).unwrap();
    assert!(refusal(&[&text]).ends_with(&in_use_by_us()));
    drop(other);
    spot.wait_until_dead(|path| UnixDatagram::unbound()?.connect(path));
    drop(open_one(&text));
    assert!(spot.is_empty());
}

#[test]
fn a_live_socket_stays_even_if_it_is_of_another_kind_or_full() {
    let spot = spot();
    let live = in_use_by_us();
    let other = UnixListener::bind(&spot.path).unwrap();
    assert_eq!(spot.refused(), live);
    // The question itself waits in the queue now, which is full with that: the next one cannot connect.
    sock::listen(other.as_fd(), 0).unwrap();
    assert_eq!(spot.refused(), live);
    drop(other);
    fs::remove_file(&spot.path).unwrap();
    let _other = UnixDatagram::bind(&spot.path).unwrap();
    assert_eq!(spot.refused(), live);
}

#[test]
fn a_locked_path_is_refused_with_the_pid_of_its_holder() {
    let spot = spot();
    let _listener = open_one(&spot.text);
    assert_eq!(
        spot.refused(),
        "an earlier generation still has it; reload again when that one is gone"
    );
    let lock = spot.lock();
    let ours = fs::read_to_string(&lock).unwrap();
    let (pid, namespace) = ours.trim().split_once(' ').unwrap();
    // Every supervisor that is PID 1 of a container has the same number.
    for (holder, who) in [
        (format!("1 {namespace}"), "pid 1".to_owned()),
        (format!("{pid} 1"), format!("pid {pid} in another pid namespace")),
        (pid.to_owned(), format!("pid {pid} in another pid namespace")),
    ] {
        fs::write(&lock, holder + "\n").unwrap();
        let why = format!(
            "another supervisor has it ({who} holds the lock {})",
            lock.display()
        );
        assert_eq!(spot.refused(), why);
    }
    fs::write(spot.lock(), "\u{1b}[2J").unwrap();
    assert_eq!(
        spot.refused(),
        format!("another supervisor has it (lock {})", lock.display())
    );
}

#[test]
fn a_lock_file_that_was_left_behind_does_no_harm() {
    let spot = spot();
    fs::write(spot.lock(), "999999\n").unwrap();
    let listener = open_one(&spot.text);
    assert!(spot.locked_by(std::process::id()));
    drop(listener);
    assert!(spot.is_empty());
}

#[test]
fn a_lock_file_that_leads_elsewhere_is_not_written() {
    let spot = spot();
    let precious = spot.path.with_extension("precious");
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, spot.lock()).unwrap();
    assert!(spot.refused().contains("lock file"), "{}", spot.refused());
    fs::remove_file(spot.lock()).unwrap();
    fs::hard_link(&precious, spot.lock()).unwrap();
    drop(open_one(&spot.text));
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
}

#[test]
fn a_path_that_leads_to_another_socket_by_now_is_not_removed() {
    let spot = spot();
    let listener = open_one(&spot.text);
    fs::remove_file(&spot.path).unwrap();
    let _other = UnixListener::bind(&spot.path).unwrap();
    drop(listener);
    UnixStream::connect(&spot.path).unwrap();
}

#[test]
fn a_missing_directory_is_told_and_made_if_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let parent = dir.path().join("a/b");
    let text = format!("unix:{}", parent.join("s").display());
    assert_eq!(
        refusal(&[&text]),
        format!(
            "listen {text}: directory {} does not exist (directory-mode=0755 makes it)",
            parent.display()
        )
    );
    let _listener = open_one(&format!("{text},directory-mode=0711"));
    assert_eq!(fs::metadata(&parent).unwrap().permissions().mode() & 0o777, 0o711);
}

#[test]
fn a_path_below_a_file_is_refused() {
    let spot = spot();
    fs::write(&spot.path, "").unwrap();
    let text = format!("{}/s", spot.text);
    assert!(refusal(&[&text]).starts_with(&format!("listen {text}: not a directory")));
}

#[test]
fn a_relative_path_that_becomes_too_long_is_refused() {
    let error = bind::absolute(std::path::Path::new(&"p".repeat(107))).unwrap_err();
    assert!(error.starts_with("path too long ("), "{error}");
}

#[test]
fn a_failure_takes_back_what_was_made_before() {
    let spot = spot();
    let busy = open_one("0");
    refusal(&[&spot.text, &address(&busy)]);
    assert!(spot.is_empty());
}

#[test]
fn a_probe_listener_is_private_and_goes_with_its_generation() {
    let spot = spot();
    let probe = probe_listener(&spot.path).unwrap();
    assert_eq!((probe.name(), probe.kind()), ("probe", SocketKind::Unix));
    assert_eq!(spot.mode(), 0o600);
    assert!(!spot.lock().exists());
    UnixStream::connect(&spot.path).unwrap();
    probe.give_to(geteuid()).unwrap();
    if geteuid().is_root() {
        probe.give_to(12345.into()).unwrap();
        let meta = fs::metadata(&spot.path).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o777), (12345, 0o600));
    }
    fs::remove_file(&spot.path).unwrap();
    probe.restore_flags().unwrap();
    probe.give_to(geteuid()).unwrap();
    drop(probe);
    drop(probe_listener(&spot.path).unwrap());
    assert!(spot.is_empty());
    fs::write(&spot.path, "").unwrap();
    assert!(line(probe_listener(&spot.path)).ends_with("not a socket, and it stays"));
}

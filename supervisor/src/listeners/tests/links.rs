//! Paths that apps take away, and the second link by which they come back.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;
use crate::listeners::PathWatch;
use crate::listeners::settings::Originals;
use crate::listeners::socket::{Birth, Source};

struct Spot {
    dir: tempfile::TempDir,
    path: PathBuf,
    second: PathBuf,
}

impl Spot {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (path, second) = (dir.path().join("s"), dir.path().join("s.kept"));
        Self { dir, path, second }
    }

    fn open(&self) -> Rc<Listener> {
        open_one(&self.text())
    }

    fn text(&self) -> String {
        format!("web=unix:{}", self.path.display())
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(self.dir.path()).unwrap().next().is_none()
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|there| there.ino())
}

fn told(listener: &Listener) -> Option<String> {
    listener.mend_links().map(|said| said.to_string())
}

#[test]
fn a_path_that_is_put_back_is_the_same_socket_with_its_access_and_its_queue() {
    let spot = Spot::new();
    let listener = open_one(&format!("{},mode=0620", spot.text()));
    let before = fs::symlink_metadata(&spot.path).unwrap();
    let _waits = UnixStream::connect(&spot.path).unwrap();
    fs::remove_file(&spot.path).unwrap();

    let said = told(&listener).unwrap();
    assert!(
        said.ends_with("): an app removed its path; it is there again"),
        "{said}"
    );
    let after = fs::symlink_metadata(&spot.path).unwrap();
    assert_eq!(
        (after.ino(), after.uid(), after.gid()),
        (before.ino(), before.uid(), before.gid())
    );
    assert_eq!(after.permissions().mode() & 0o7777, 0o620);
    let _next = UnixStream::connect(&spot.path).unwrap();
    let app = UnixListener::from(listener.as_fd().try_clone_to_owned().unwrap());
    app.set_nonblocking(true).unwrap();
    assert!(app.accept().is_ok() && app.accept().is_ok());

    fs::remove_file(&spot.path).unwrap();
    assert!(listener.put_back_path().is_none(), "it is told once");
    assert_eq!(inode(&spot.path), Some(before.ino()));
    drop((listener, app));
    assert!(spot.is_empty());
}

#[test]
fn the_second_link_is_made_again_as_well() {
    let spot = Spot::new();
    let listener = spot.open();
    fs::remove_file(&spot.second).unwrap();
    assert_eq!(told(&listener), None);
    assert_eq!(inode(&spot.second), inode(&spot.path));
}

#[test]
fn an_app_that_takes_the_second_link_away_in_a_loop_keeps_nobody_busy() {
    let spot = Spot::new();
    let listener = spot.open();
    let taken = (0..1000).take_while(|_| {
        fs::remove_file(&spot.second).unwrap();
        assert_eq!(told(&listener), None, "clients miss nothing");
        inode(&spot.second).is_some()
    });
    assert!(taken.count() < 1000);
    assert!(inode(&spot.path).is_some());
}

#[test]
fn a_path_that_was_renamed_is_made_again_and_the_other_name_stays() {
    let spot = Spot::new();
    let listener = spot.open();
    let elsewhere = spot.path.with_extension("old");
    fs::rename(&spot.path, &elsewhere).unwrap();
    assert!(told(&listener).is_some());
    assert_eq!(inode(&spot.path), inode(&elsewhere));
}

#[test]
fn what_an_app_has_put_there_is_never_replaced() {
    let spot = Spot::new();
    let listener = spot.open();
    fs::remove_file(&spot.path).unwrap();
    let theirs = UnixListener::bind(&spot.path).unwrap();
    let its_inode = inode(&spot.path);
    assert_eq!(told(&listener), None);
    let alarm = line(listener.restore_flags());
    assert!(
        alarm.ends_with("something else lies at its path, and no client finds it until the next reload"),
        "{alarm}"
    );
    assert_eq!(inode(&spot.path), its_inode);
    // Once that has gone, it is ours again.
    fs::remove_file(&spot.path).unwrap();
    assert!(listener.put_back_path().is_some() && !listener.is_dead());
    fs::rename(&spot.path, spot.path.with_extension("old")).unwrap();
    fs::remove_file(spot.path.with_extension("old")).unwrap();
    fs::write(&spot.path, "theirs").unwrap();
    drop((listener, theirs));
    assert_eq!(fs::read_to_string(&spot.path).unwrap(), "theirs");
    assert_eq!(inode(&spot.second), None);
}

#[test]
fn without_a_second_link_it_is_told_that_nobody_finds_it() {
    let spot = Spot::new();
    let theirs = UnixListener::bind(&spot.second).unwrap();
    let its_inode = inode(&spot.second);
    let listener = spot.open();
    assert_eq!(inode(&spot.second), its_inode, "somebody serves there");
    fs::remove_file(&spot.path).unwrap();
    assert_eq!(told(&listener), None);
    let alarm = line(listener.restore_flags());
    assert!(
        alarm.ends_with("an app removed its path, and no client finds it until the next reload"),
        "{alarm}"
    );
    drop((listener, theirs));
    assert_eq!(inode(&spot.second), its_inode);
}

#[test]
fn what_a_killed_supervisor_has_left_makes_room() {
    let spot = Spot::new();
    let dead = |path| drop(UnixListener::bind(path).unwrap());
    dead(&spot.path);
    dead(&spot.second);
    // Another test may fork in that instant, and its child has the sockets until it executes.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while UnixStream::connect(&spot.path).is_ok() || UnixStream::connect(&spot.second).is_ok() {
        assert!(std::time::Instant::now() < end, "somebody has them");
        std::thread::yield_now();
    }
    let linked = format!("{},linked", spot.text());
    for text in [spot.text(), linked] {
        let listener = open_one(&text);
        assert_eq!(inode(&spot.second), inode(&spot.path));
        drop(listener);
        assert!(spot.is_empty());
    }
}

#[test]
fn one_that_is_bound_afresh_has_the_second_link_for_itself() {
    let spot = Spot::new();
    let before = vec![spot.open()];
    fs::remove_file(&spot.path).unwrap();
    fs::remove_file(&spot.second).unwrap();
    let after = super::reload(&[&spot.text()], &before).unwrap().listeners;
    assert!(!after[0].shares_socket(&before[0]));
    drop(before);
    assert_eq!(inode(&spot.second), inode(&spot.path));
    fs::remove_file(&spot.path).unwrap();
    assert!(told(&after[0]).is_some());
    UnixStream::connect(&spot.path).unwrap();
}

#[test]
fn a_link_to_something_else_is_not_followed() {
    let spot = Spot::new();
    let listener = spot.open();
    let secret = spot.dir.path().join("secret");
    fs::write(&secret, "").unwrap();
    for lead in [
        |from: &Path, to: &Path| fs::hard_link(from, to),
        |from: &Path, to: &Path| std::os::unix::fs::symlink(from, to),
    ] {
        let _ = fs::remove_file(&spot.path);
        fs::remove_file(&spot.second).unwrap();
        lead(&secret, &spot.second).unwrap();
        assert_eq!(told(&listener), None);
        assert_eq!(inode(&spot.path), None);
    }
}

#[test]
fn a_linked_path_stays_when_an_app_removes_the_name_that_its_socket_tells() {
    let spot = Spot::new();
    let linked = format!("{},linked,mode=0620", spot.text());
    let before = open_all(&[&linked]);
    let listener = &before[0];
    let told_to_apps = UnixListener::from(listener.as_fd().try_clone_to_owned().unwrap());
    let told_to_apps = told_to_apps.local_addr().unwrap();
    assert_eq!(told_to_apps.as_pathname(), Some(&*spot.second));
    assert_eq!(listener.plain_address(), spot.second.as_os_str());
    assert_eq!(listener.address_text(), format!("unix:{}", spot.path.display()));
    let mode = fs::symlink_metadata(&spot.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o620);

    fs::remove_file(&spot.second).unwrap();
    UnixStream::connect(&spot.path).unwrap();
    assert_eq!((told(listener), listener.trouble()), (None, None));
    assert_eq!(inode(&spot.second), inode(&spot.path));

    let after = super::reload(&[&linked], &before).unwrap().listeners;
    assert!(after[0].shares_socket(listener));
    let refused = line(super::reload(&[&spot.text()], &before));
    assert!(
        refused.ends_with(": linked cannot change while the socket is open"),
        "{refused}"
    );
    drop((before, after));
    assert!(spot.is_empty());
}

#[test]
fn a_linked_path_is_not_made_where_somebody_serves_its_second_name() {
    let spot = Spot::new();
    let theirs = UnixListener::bind(&spot.second).unwrap();
    let its_inode = inode(&spot.second);
    let linked = format!("{},linked", spot.text());
    let refused = refusal(&[&linked]);
    assert!(
        refused.contains("/s.kept: address already in use (by "),
        "{refused}"
    );
    assert_eq!((inode(&spot.path), inode(&spot.second)), (None, its_inode));
    drop(theirs);
    fs::remove_file(&spot.second).unwrap();
    fs::write(&spot.second, "theirs").unwrap();
    let refused = refusal(&[&linked]);
    assert!(refused.ends_with("not a socket, and it stays"), "{refused}");
    assert_eq!(fs::read_to_string(&spot.second).unwrap(), "theirs");
}

fn is_readable(watch: &PathWatch) -> bool {
    let mut asked = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
    poll(&mut asked, PollTimeout::ZERO).unwrap() > 0
}

#[test]
fn a_watch_hears_of_the_links_of_its_sockets_and_of_nothing_else() {
    let spot = Spot::new();
    let listeners = vec![spot.open()];
    let mut watch = PathWatch::open().unwrap();
    let (begun, failed) = watch.watch(&listeners);
    assert!(begun.len() == 1 && failed.is_empty(), "{failed:?}");
    assert!(watch.watch(&listeners).0.is_empty());
    fs::write(spot.dir.path().join("other"), "").unwrap();
    let client = UnixStream::connect(&spot.path).unwrap();
    drop(client);
    assert!(!is_readable(&watch));

    fs::remove_file(&spot.path).unwrap();
    assert!(is_readable(&watch));
    assert_eq!(watch.take(), [listeners[0].inode()]);
    assert!(told(&listeners[0]).is_some());
    watch.take();
    assert!(!is_readable(&watch), "its own link is the last that it hears of");
    fs::rename(&spot.path, spot.dir.path().join("moved")).unwrap();
    assert_eq!(watch.take(), [listeners[0].inode()]);

    let (begun, failed) = watch.watch(&[]);
    assert!(begun.is_empty() && failed.is_empty());
    fs::remove_file(&spot.second).unwrap();
    assert!(watch.take().is_empty());
}

#[test]
fn an_inherited_socket_gets_no_link_in_the_directory_of_another_and_that_is_told() {
    let spot = Spot::new();
    let theirs = UnixListener::bind(&spot.path).unwrap();
    let socket = Socket::new(Birth {
        file: None,
        fd: theirs.into(),
        source: Source::Inherited { named: false },
        options: SocketOptions::default(),
        owner: Owner::default(),
        originals: Originals::new(),
        backlog: None,
    });
    let listener = Rc::new(Listener {
        name: "web".to_owned(),
        options: SocketOptions::default(),
        owner: Owner::default(),
        socket: Rc::new(socket.unwrap()),
        slot: None,
    });
    assert!(!listener.keeps_path() && inode(&spot.second).is_none());
    listener.restore_flags().unwrap();
    fs::remove_file(&spot.path).unwrap();
    assert_eq!(told(&listener), None);
    let removed = "its path was removed, and no client finds it until segue is given another";
    assert!(line(listener.restore_flags()).ends_with(removed));
    assert_eq!(listener.trouble(), Some(removed));
    listener.restore_flags().unwrap();
    assert!(!listener.is_dead(), "nor is it ours to bind afresh");
    drop(listener);
    assert!(spot.is_empty());
}

#[test]
fn a_private_listener_has_no_second_link() {
    let spot = Spot::new();
    let probe = crate::listeners::probe_listener(&spot.path).unwrap();
    assert!(!probe.keeps_path() && inode(&spot.second).is_none());
    fs::remove_file(&spot.path).unwrap();
    assert!(told(&probe).is_none() && inode(&spot.path).is_none());
    assert!(PathWatch::open().unwrap().watch(&[probe]).0.is_empty());
}

//! Real processes in the place of the next binary. That segue itself takes over is tested from outside, in `tests/`.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::parcel::{self, receive};
use super::*;
use crate::state::{Passed, Row, Rows};
use crate::sys::{self, ExitStatus, Who};

const STATE: &[u8] = b"segue-state version=1 by=0.0.9 pid=PID\nother row=%20\n";

fn state() -> Vec<u8> {
    let text = String::from_utf8_lossy(STATE).replace("PID", &Pid::this().to_string());
    text.into_bytes()
}

/// A process that was started by this path.
fn origin(path: &Path) -> Origin {
    let mut rows = Rows::default();
    rows.begin("origin").os("path", path.as_os_str());
    for word in ["segue", "run", "--name", "a b", "--", "app"] {
        rows.begin("own-argument").text("is", word);
    }
    let text = rows.finish();
    Origin::restore(&Row::all(&text).unwrap()).unwrap()
}

/// Lets it check, and gives its verdict.
fn verdict_of(path: &Path) -> Result<String, String> {
    let (held, _other) = nix::unistd::pipe().unwrap();
    let fds: Passed<'_> = vec![("held".to_owned(), held.as_fd())];
    let started = Check::start(&origin(path), &fds, &state())?;
    let mut ended = [PollFd::new(started.pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut ended, PollTimeout::NONE).unwrap();
    let dead = sys::reap(Who::Process(started.pid)).unwrap().unwrap();
    started.check.verdict(dead.status)
}

fn file(directory: &Path, name: &str, mode: u32, content: &[u8]) -> std::path::PathBuf {
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn what_is_no_segue_says_so_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let there = directory.path();
    let here = there.display();
    let elf = fs::read("/proc/self/exe").unwrap();
    let mut foreign = elf[..4096].to_vec();
    // The machine of an ELF header, elf(5): none that this kernel runs.
    foreign[18..20].copy_from_slice(&[0x12, 0x34]);
    let cases = [
        (
            there.join("none"),
            format!("exec {here}/none: no such file or directory"),
        ),
        (there.to_owned(), format!("exec {here}: is a directory")),
        (
            file(there, "plain", 0o644, &elf),
            format!("exec {here}/plain: permission denied"),
        ),
        (
            file(there, "script", 0o755, b"#!/bin/sh\nexit 0\n"),
            format!("{here}/script is a script and no segue"),
        ),
        (
            file(there, "empty", 0o755, b""),
            format!("exec {here}/empty: exec format error (the file is empty)"),
        ),
        (
            file(there, "foreign", 0o755, &foreign),
            format!("exec {here}/foreign: exec format error (wrong architecture, or a script without #!)"),
        ),
        (
            "/bin/true".into(),
            "/bin/true is no segue: asked for its version, it said \"true (".to_owned(),
        ),
        (
            "/bin/false".into(),
            "/bin/false does not tell its version: exited with status 1, it said \"false (".to_owned(),
        ),
        (
            "/bin/sh".into(),
            "/bin/sh does not tell its version: exited with status 2, it said \"".to_owned(),
        ),
    ];
    for (path, expected) in cases {
        let refusal = verdict_of(&path).unwrap_err();
        assert!(refusal.starts_with(&expected), "{}: {refusal}", path.display());
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
}

#[test]
fn only_its_own_words_and_status_make_a_yes() {
    let (read, write) = nix::unistd::pipe().unwrap();
    nix::unistd::write(&write, b"ld.so: no such library\nok segue 7.8.9\nand more\n").unwrap();
    drop(write);
    let binary = crate::launch::Binary::find("/bin/true".as_ref(), nix::fcntl::AT_FDCWD, None).unwrap();
    let said_yes = check::of(binary, read);
    assert_eq!(said_yes.verdict(ExitStatus::Code(0)), Ok("7.8.9".to_owned()));
    // What was said is read once; nothing is left.
    assert!(said_yes.verdict(ExitStatus::Code(0)).is_err());
    let crashed = said_yes
        .verdict(ExitStatus::Signal {
            number: 11,
            core_dumped: false,
        })
        .unwrap_err();
    assert_eq!(crashed, "/bin/true says no: killed by SIGSEGV, it said nothing");
    let (read, write) = nix::unistd::pipe().unwrap();
    nix::unistd::write(&write, b"ok\n").unwrap();
    drop(write);
    let binary = crate::launch::Binary::find("/bin/true".as_ref(), nix::fcntl::AT_FDCWD, None).unwrap();
    let without_version = check::of(binary, read).verdict(ExitStatus::Code(0)).unwrap_err();
    let reason = "/bin/true knows of no upgrades: asked, it said \"ok\"";
    assert_eq!(without_version, reason);
}

#[test]
fn a_parcel_arrives_with_its_fds() {
    let (read, write) = nix::unistd::pipe().unwrap();
    let fds: Passed<'_> = vec![
        ("one".to_owned(), read.as_fd()),
        ("two".to_owned(), write.as_fd()),
    ];
    let sent = origin(Path::new("/opt/new release/segue"));
    let file = parcel::write(&sent, &fds, &state()).unwrap();
    nix::unistd::write(&file, b"x").expect_err("sealed");
    let before = [read.as_raw_fd(), write.as_raw_fd()];
    drop(fds);
    std::mem::forget((read, write));

    let number = OsString::from(file.into_raw_fd().to_string());
    let mut saved = receive(&number, Pid::this()).unwrap();
    assert_eq!((saved.by.as_str(), &saved.origin), ("0.0.9", &sent));
    assert!(saved.rows.starts_with(&state()));
    let taken = ["one", "two"].map(|name| saved.fds.take(name).unwrap());
    // What lies under the numbers now; another test may open something meanwhile.
    let inode = |fd: OwnedFd| nix::sys::stat::fstat(fd).unwrap().st_ino;
    let lie = || before.map(|left| sys::duplicate_fd(left).ok().map(inode));
    let pipe = taken.each_ref().map(|fd| Some(inode(fd.try_clone().unwrap())));
    assert_eq!(lie(), pipe);
    receive(&number, Pid::this()).expect("it can be received again");
    saved.left.close();
    assert!(lie().iter().zip(&pipe).all(|(now, then)| now != then));
    nix::unistd::write(&taken[1], b"x").unwrap();
    assert_eq!(nix::unistd::read(&taken[0], &mut [0; 2]), Ok(1));
}

/// The text of a parcel that was written for us, with a pipe in it, and the number of the pipe's fd, which nobody owns.
fn text_of_a_parcel() -> (Vec<u8>, i32) {
    let (read, _) = nix::unistd::pipe().unwrap();
    let fds: Passed<'_> = vec![("one".to_owned(), read.as_fd())];
    let file = parcel::write(&origin(Path::new("/segue")), &fds, &state()).unwrap();
    drop(fds);
    (parcel::contents(file).unwrap(), read.into_raw_fd())
}

#[test]
fn what_is_no_parcel_for_us_is_refused() {
    let refusal = |text: &[u8], writer| {
        let file = parcel::sealed(text).unwrap();
        let number = OsString::from(file.into_raw_fd().to_string());
        receive(&number, writer).unwrap_err().to_string()
    };
    let (text, number) = text_of_a_parcel();
    let changed = |from: &str, to: &str| {
        let text = String::from_utf8(text.clone()).unwrap();
        assert!(text.contains(from), "{text}");
        text.replacen(from, to, 1).into_bytes()
    };
    let us = Pid::this();
    let ours = format!("number={number} ");
    for (text, writer, expected) in [
        (b"".to_vec(), us, "state: it does not begin as one"),
        (b"\xff".to_vec(), us, "state: not text"),
        (
            changed("segue-state", "others-state"),
            us,
            "state: it does not begin as one",
        ),
        (
            changed("version=1", "version=2"),
            us,
            "state: it is of version 2, and only version 1 is understood",
        ),
        (
            changed("version=1 ", ""),
            us,
            "state: row \"segue-state by=0.0.9 pid",
        ),
        (
            text.clone(),
            Pid::from_raw(1),
            "state: it is that of another process",
        ),
        (changed("origin path", "oregin path"), us, "state: no row origin"),
        (changed(&ours, "number=1 "), us, "state: fd one: bad file number"),
        (
            changed(&ours, "number=1000000 "),
            us,
            "state: fd one: bad file number",
        ),
        (changed(&ours, "number=-7 "), us, "state: fd one: bad file number"),
        (
            changed(&ours, "number=x "),
            us,
            "state: row \"fd name=one number=x",
        ),
    ] {
        let refusal = refusal(&text, writer);
        assert!(refusal.starts_with(expected), "{refusal}");
    }
    // The number leads to another file by now.
    let other = changed("inode=", "inode=1");
    assert_eq!(refusal(&other, us), "state: fd one: it is another file by now");

    for number in ["", "x", "1", "1000000"] {
        let flaw = receive(&number.into(), us).unwrap_err().to_string();
        assert!(flaw.starts_with("state: its fd"), "{flaw}");
    }
    let plain = tempfile::tempfile().unwrap().into_raw_fd();
    let flaw = receive(&plain.to_string().into(), us).unwrap_err().to_string();
    assert_eq!(flaw, "state: cannot be read: invalid argument");
    let unsealed = sys::memory_file(c"test").unwrap().into_raw_fd();
    let flaw = receive(&unsealed.to_string().into(), us).unwrap_err().to_string();
    assert_eq!(flaw, "state: it is not sealed");
}

#[test]
fn an_exec_that_fails_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "segue", 0o755, b"");
    let binary = crate::launch::Binary::find(path.as_os_str(), nix::fcntl::AT_FDCWD, None).unwrap();
    let (read, _write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let check = check::of(binary, nix::unistd::pipe().unwrap().0);
    let fds: Passed<'_> = vec![("one".to_owned(), read.as_fd())];
    let Err(text) = check.execute(&origin(&path), &fds, &state());
    assert_eq!(
        text,
        format!("exec {}: exec format error (the file is empty)", path.display())
    );
    let flags = nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_GETFD).unwrap();
    assert_eq!(
        flags,
        nix::fcntl::FdFlag::FD_CLOEXEC.bits(),
        "close-on-exec again"
    );
    assert!(std::env::var_os("SEGUE_STATE").is_none());
}

#[test]
fn the_binary_is_looked_for_where_it_was_found() {
    let origin = Origin::of_this_process();
    let exe = fs::read_link("/proc/self/exe").unwrap();
    assert_eq!(fs::canonicalize(origin.path().unwrap()).unwrap(), exe);
    assert_eq!(origin.arguments().len(), std::env::args_os().count());
}

#[test]
fn only_the_hidden_word_with_a_number_is_a_check() {
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    assert_eq!(
        asked_to_check(&words(&["segue", "check-state", "7"])),
        Some("7".into())
    );
    for other in [
        &["segue", "check", "7"][..],
        &["segue", "check-state"],
        &["segue", "check-state", "7", "8"],
        &[],
    ] {
        assert_eq!(asked_to_check(&words(other)), None);
    }
}

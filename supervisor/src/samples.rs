//! The recorded states in `tests/samples`, one for each version that was released: this version goes on with each of them.
//!
//! The text stays as it was written. What it tells of the machine on which it was recorded (numbers of fds, inodes, cookies of sockets, the
//! pid) becomes that of fds of the same kinds that the test opens.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use nix::sys::stat::fstat;
use nix::unistd::Pid;

use crate::launch::InheritedEnvironment;
use crate::sys::{self, alone::alone};
use crate::{understand, upgrade};

/// What is opened for an fd of that name; `address` is that of its socket.
fn open(name: &str, address: &str, directory: &Path) -> OwnedFd {
    let path = directory.join(name);
    let file = || File::create_new(&path).unwrap().into();
    let kind = name.split('-').next().unwrap();
    match kind {
        "control" => UnixListener::bind(&path).unwrap().into(),
        "client" => {
            let (ours, theirs) = UnixStream::pair().unwrap();
            std::mem::forget(theirs);
            ours.into()
        }
        // It is known by its path.
        "notify" => {
            let worker = name.trim_start_matches("notify-");
            UnixDatagram::bind(directory.join("control.notify").join(worker))
                .unwrap()
                .into()
        }
        "listener" if address.starts_with("unix-dgram:") => UnixDatagram::bind(&path).unwrap().into(),
        "listener" if address.starts_with("unix:") || address.is_empty() => {
            UnixListener::bind(&path).unwrap().into()
        }
        "listener" => TcpListener::bind("127.0.0.1:0").unwrap().into(),
        "pidfd" => sys::open_pidfd(Pid::this()).unwrap(),
        "report" => nix::unistd::pipe().unwrap().0,
        "cwd" => File::open(directory).unwrap().into(),
        "binary" => File::open("/proc/self/exe").unwrap().into(),
        "lock" | "pid" | "pathlock" | "state" => file(),
        other => panic!("what is {other}, of {name}?"),
    }
}

fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let mut words = line.split(' ');
    words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// The text with everything of its machine exchanged, as an open sealed file in memory.
fn prepared(sample: &str, directory: &Path) -> i32 {
    fs::create_dir(directory.join("control.notify")).unwrap();
    let sample = sample.replace("/srv/example", &directory.display().to_string());
    let sockets = sample.lines().filter(|line| line.starts_with("socket "));
    let addresses: Vec<_> = sockets
        .map(|line| {
            (
                field(line, "inode").unwrap(),
                field(line, "address").unwrap_or_default(),
            )
        })
        .collect();
    let mut text = format!("{sample}\n");
    let mut exchanged = Vec::new();
    for line in sample.lines().filter(|line| line.starts_with("fd ")) {
        let (name, inode) = (field(line, "name").unwrap(), field(line, "inode").unwrap());
        let address = addresses
            .iter()
            .find(|(of, _)| *of == inode)
            .map_or("", |(_, address)| address);
        let fd = open(name, address, directory);
        let what = fstat(&fd).unwrap();
        let now = format!(
            "fd name={name} number={} device={} inode={}",
            fd.as_raw_fd(),
            what.st_dev,
            what.st_ino
        );
        text = text.replace(line, &now);
        if ["listener-", "binary-", "cwd-"]
            .iter()
            .any(|kind| name.starts_with(kind))
        {
            exchanged.push((inode, what.st_ino));
        }
        let _ = fd.into_raw_fd();
    }
    for (old, new) in exchanged {
        for (before, after) in [
            ("-", " "),
            ("inode=", " "),
            ("socket=", " "),
            ("inode=", "\n"),
            ("socket=", "\n"),
        ] {
            text = text.replace(&format!("{before}{old}{after}"), &format!("{before}{new}{after}"));
        }
    }
    let kept = text.lines().map(|line| {
        let kept = line.split(' ').filter(|word| !word.starts_with("cookie="));
        kept.collect::<Vec<_>>().join(" ") + "\n"
    });
    let head = field(text.lines().next().unwrap(), "pid").unwrap().to_owned();
    let text =
        kept.collect::<String>()
            .replacen(&format!(" pid={head}"), &format!(" pid={}", Pid::this()), 1);
    upgrade::sealed(text.as_bytes()).unwrap().into_raw_fd()
}

#[test]
fn every_recorded_state_is_understood() {
    alone("samples::every_recorded_state_is_understood", || {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/samples");
        let mut count = 0;
        for entry in fs::read_dir(samples).unwrap() {
            let path = entry.unwrap().path();
            let sample = fs::read_to_string(&path).unwrap();
            let directory = tempfile::tempdir().unwrap();
            let number = prepared(sample.trim_end(), directory.path());
            let outcome = upgrade::receive(&number.to_string().into(), Pid::this())
                .and_then(|saved| understand(saved, InheritedEnvironment::of_this_process()));
            assert!(outcome.is_ok(), "{}: {outcome:?}", path.display());
            count += 1;
            // A state from which something is missing is not.
            let cut = sample.lines().filter(|line| !line.starts_with("core-machine"));
            let cut = cut.collect::<Vec<_>>().join("\n");
            let elsewhere = tempfile::tempdir().unwrap();
            let number = prepared(&cut, elsewhere.path());
            let outcome = upgrade::receive(&number.to_string().into(), Pid::this())
                .and_then(|saved| understand(saved, InheritedEnvironment::of_this_process()));
            assert!(outcome.is_err(), "{}", path.display());
        }
        assert!(count > 0);
    });
}

//! `LISTEN_FDS`: the claim by random texts, the taking over in processes that are born with sockets at fd 3.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, IntoRawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::*;
use crate::listeners::claim;
use crate::listeners::socket::{IoMode, set_io_mode};
use crate::trials::cases;

type Env = Vec<(OsString, OsString)>;

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs
        .iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

fn claimed(pairs: &[(&str, &str)]) -> Result<Option<claim::Claim>, ListenError> {
    claim::read(&env(pairs), 42)
}

#[test]
fn a_claim_is_read_strictly() {
    assert_eq!(claimed(&[]), Ok(None));
    assert_eq!(claimed(&[("LISTEN_PID", "7"), ("LISTEN_FDNAMES", "a")]), Ok(None));
    let none = [("LISTEN_PID", "7"), ("LISTEN_FDS", "0"), ("LISTEN_FDNAMES", "")];
    assert_eq!(claimed(&none), Ok(None), "nothing is given, to whomever");
    let claim = claimed(&[
        ("LISTEN_PID", "42"),
        ("LISTEN_FDS", "3"),
        ("LISTEN_FDNAMES", "web::a/b"),
    ]);
    let claim = claim.unwrap().unwrap();
    assert_eq!(claim.count, 3);
    assert_eq!(claim.names.unwrap(), ["web", "unknown", "a/b"]);
    assert_eq!(claimed(&[("LISTEN_FDS", "2")]).unwrap().unwrap().names, None);
}

#[test]
fn a_claim_that_cannot_be_true_is_refused_in_one_line() {
    let refused = |pairs: &[(&str, &str)]| line(claimed(pairs));
    assert_eq!(
        refused(&[("LISTEN_PID", "41"), ("LISTEN_FDS", "1")]),
        "LISTEN_PID=\"41\": it names another process than segue (pid 42): a wrapper forked, let it exec segue"
    );
    assert_eq!(
        refused(&[("LISTEN_PID", ""), ("LISTEN_FDS", "1")]),
        "LISTEN_PID=\"\": not a pid"
    );
    for count in ["", "00", "-1", "+1", " 1", "x", "2147483647", "99999999999"] {
        let expected = format!("LISTEN_FDS=\"{count}\": not a number of sockets");
        assert_eq!(refused(&[("LISTEN_FDS", count)]), expected);
    }
    assert_eq!(
        refused(&[("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "web")]),
        "LISTEN_FDNAMES=\"web\": 1 names for 2 sockets"
    );
    assert_eq!(
        refused(&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a\nb")]),
        "LISTEN_FDNAMES=\"a\\nb\": a name may have printable ascii characters only"
    );
    assert_eq!(
        refused(&[("LISTEN_FDS", "1"), ("LISTEN_FDS_FIRST_FD", "5")]),
        "LISTEN_FDS_FIRST_FD=\"5\": inherited sockets begin at fd 3"
    );
}

fn random_value(random: &mut fastrand::Rng) -> OsString {
    const PIECES: &[&str] = &[
        "1",
        "2",
        "3",
        "0",
        "42",
        "web",
        ":",
        "a:b",
        "a:b:c",
        "-",
        "+",
        " ",
        "2000000000",
        "\n",
        "é",
        "unknown",
    ];
    let mut bytes = Vec::new();
    for _ in 0..random.usize(0..4) {
        match random.u8(0..8) {
            0 => bytes.push(random.u8(1..)),
            1 => bytes.extend(vec![b'x'; random.usize(0..300)]),
            _ => bytes.extend(PIECES[random.usize(..PIECES.len())].as_bytes()),
        }
    }
    OsString::from_vec(bytes)
}

fn random_env(random: &mut fastrand::Rng, pid: &str) -> Env {
    let mut env = Env::new();
    let mut set = |key: &str, plain: &str, random: &mut fastrand::Rng| match random.u8(0..4) {
        0 => {}
        1 => env.push((key.into(), random_value(random))),
        _ => env.push((key.into(), plain.into())),
    };
    let count = random.usize(1..4);
    set("LISTEN_PID", pid, random);
    set("LISTEN_FDS", &count.to_string(), random);
    set("LISTEN_FDNAMES", &vec!["web"; count].join(":"), random);
    if random.u8(0..8) == 0 {
        set("LISTEN_FDS_FIRST_FD", "3", random);
    }
    env
}

#[test]
fn random_environments_are_taken_or_refused_in_one_line() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let cases = cases(1_000_000);
    let mut taken = 0;
    for _ in 0..cases {
        let env = random_env(&mut random, "42");
        match claim::read(&env, 42) {
            Ok(None) => {}
            Ok(Some(claim)) => {
                taken += 1;
                assert!(claim.count > 0, "seed {seed}: {env:?}");
                if let Some(names) = &claim.names {
                    assert_eq!(
                        i32::try_from(names.len()),
                        Ok(claim.count),
                        "seed {seed}: {env:?}"
                    );
                }
            }
            Err(error) => {
                let line = error.to_string();
                let clear = !line.is_empty() && !line.chars().any(char::is_control) && line.len() < 2000;
                assert!(clear, "seed {seed}: {env:?} is refused with {line:?}");
            }
        }
    }
    assert!(
        taken > cases / 100,
        "seed {seed}: only {taken} of {cases} were taken, the test sees too little"
    );
}

/// Runs `as_a_child` of this test program in a process of its own whose fd 3 is free, with `LISTEN_PID` right.
fn in_a_child(case: &str, variables: &[(&str, &str)]) {
    let script = r#"exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-; export LISTEN_PID=$$; exec "$0" "$@""#;
    let output = Command::new("/bin/sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "listeners::tests::inherited::as_a_child",
            "--test-threads=1",
            "--nocapture",
        ])
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_FDNAMES")
        .env("SEGUE_TEST_CASE", case)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = !output.status.success() || !said.contains("1 passed");
    assert!(
        !failed,
        "{case}: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Does nothing in the test run itself; the tests below run it with a case to play.
#[test]
fn as_a_child() {
    match std::env::var("SEGUE_TEST_CASE").as_deref() {
        Ok("names") => child_by_names(),
        Ok("addresses") => child_by_addresses(),
        Ok("shared") => child_of_a_shared_name(),
        Ok("refusals") => child_refusals(),
        Ok("leaks") => child_leaks(),
        Ok(other) => panic!("no case {other}"),
        Err(_) => {}
    }
}

#[test]
fn inherited_sockets_keep_their_names_and_flags() {
    in_a_child("names", &[("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "web:log:web")]);
}

#[test]
fn where_a_name_is_shared_and_a_socket_is_missing_the_address_decides() {
    in_a_child("shared", &[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "web")]);
}

#[test]
fn a_spec_stands_aside_for_its_address() {
    in_a_child("addresses", &[("LISTEN_FDS", "3")]);
}

#[test]
fn what_cannot_be_a_listener_is_refused_by_name() {
    in_a_child("refusals", &[]);
}

#[test]
fn no_fd_is_leaked_by_refusals() {
    in_a_child("leaks", &[]);
}

/// Puts an fd at the number at which the process would have been born with it.
fn born(fd: impl IntoRawFd + AsFd, number: i32) {
    fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    assert_eq!(fd.into_raw_fd(), number, "the test needs this fd to be free");
}

fn process_env() -> Env {
    std::env::vars_os().collect()
}

fn child_of_a_shared_name() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = first.local_addr().unwrap();
    born(first, 3);
    let (mut inherited, _) = Inherited::from_environment(&process_env()).unwrap();
    let asked = specs(&[&format!("web={place}"), "web=127.0.0.1:0"]);
    let opened = open(&asked, &[], &mut inherited, Lookup::AtStart, IN_THE_FIRST).unwrap();
    let listeners: Vec<_> = opened
        .listeners
        .iter()
        .map(|one| (one.name(), one.is_inherited()))
        .collect();
    assert_eq!(listeners, [("web", true), ("web", false)]);
}

fn child_by_names() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    first.set_nonblocking(true).unwrap();
    sock::listen(first.as_fd(), 17).unwrap();
    born(first, 3);
    born(UdpSocket::bind("127.0.0.1:0").unwrap(), 4);
    born(TcpListener::bind("127.0.0.1:0").unwrap(), 5);
    let (mut inherited, _) = Inherited::from_environment(&process_env()).unwrap();

    // A failure leaves them for another try.
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let asked = specs(&[&busy.local_addr().unwrap().to_string()]);
    line(open(&asked, &[], &mut inherited, Lookup::AtStart, IN_THE_FIRST));

    let asked = specs(&["extra=0", "web=127.0.0.1:1,no-delay,mark=1"]);
    let opened = open(&asked, &[], &mut inherited, Lookup::AtStart, IN_THE_FIRST).unwrap();
    let names: Vec<_> = opened.listeners.iter().map(|one| one.name()).collect();
    assert_eq!(
        names,
        ["log", "extra", "web", "web"],
        "what nobody asked for first, then in the order asked for"
    );
    assert_eq!(
        opened.warnings,
        ["listen 127.0.0.1:1: the inherited socket web stands in, without no-delay, mark"]
    );
    let web = &opened.listeners[2];
    assert!(web.is_inherited() && is_nonblocking(web));
    assert_eq!(web.backlog(), Some(17));
    let flags = FdFlag::from_bits_retain(fcntl(web.as_fd(), FcntlArg::F_GETFD).unwrap());
    assert!(flags.contains(FdFlag::FD_CLOEXEC));

    // The flag and the backlog that it came with are what is restored.
    sock::listen(web.as_fd(), 1).unwrap();
    set_io_mode(web.as_fd(), IoMode::Blocking).unwrap();
    web.restore_flags().unwrap();
    assert!(is_nonblocking(web));
    assert_eq!(sock::tcp_backlog(web.as_fd()), Some(17));

    // At a reload they stay, asked for or not.
    let after = reload(&["web=127.0.0.1:1"], &opened.listeners).unwrap().listeners;
    let names: Vec<_> = after.iter().map(|one| one.name()).collect();
    assert_eq!(names, ["log", "web", "web"]);
    assert!(Rc::ptr_eq(&after[1], web));
}

fn child_by_addresses() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = first.local_addr().unwrap().to_string();
    born(first, 3);
    let second = TcpListener::bind("0.0.0.0:0").unwrap();
    let every = format!("*:{}", second.local_addr().unwrap().port());
    born(second, 4);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    born(std::os::unix::net::UnixListener::bind(&path).unwrap(), 5);
    let (mut inherited, _) = Inherited::from_environment(&process_env()).unwrap();
    let file = format!("unix:{}", path.display());
    let asked = specs(&[&format!("file={file}"), &every, "0", &format!("web={text}")]);
    let opened = open(&asked, &[], &mut inherited, Lookup::AtStart, IN_THE_FIRST).unwrap();
    let found: Vec<_> = opened
        .listeners
        .iter()
        .map(|one| (one.name(), one.is_inherited()))
        .collect();
    assert_eq!(
        found,
        [
            ("file", true),
            ("unknown", true),
            ("listen2", false),
            ("web", true)
        ]
    );
    assert!(opened.warnings.is_empty());
    TcpStream::connect(&text).unwrap();
    opened.listeners[0].restore_flags().unwrap();
    assert_eq!(opened.listeners[0].backlog(), None);
    let again = open(
        &asked,
        &opened.listeners,
        &mut Inherited::none(),
        Lookup::Refused,
        IN_THE_FIRST,
    )
    .unwrap();
    for (old, new) in opened.listeners.iter().zip(&again.listeners) {
        assert!(old.shares_socket(new) && old.name() == new.name());
    }
    drop((opened, again, inherited));
    assert!(
        path.exists(),
        "a path that Segue did not make is not Segue's to remove"
    );
}

fn child_refusals() {
    let pid = std::process::id().to_string();
    let refused = |count: &str, names: &str| {
        let pairs = [
            ("LISTEN_PID", pid.as_str()),
            ("LISTEN_FDS", count),
            ("LISTEN_FDNAMES", names),
        ];
        line(Inherited::from_environment(&env(&pairs)))
    };
    born(File::open("/dev/null").unwrap(), 3);
    assert_eq!(
        refused("1", "web"),
        "inherited socket \"web\" (fd 3): it is no socket"
    );
    nix::unistd::close(3).unwrap();

    let (one, other) = UnixStream::pair().unwrap();
    born(one, 3);
    born(other, 4);
    let connected = "it is connected; segue needs the listener (Accept=no in a socket unit)";
    assert_eq!(
        refused("2", "a:b"),
        format!("inherited socket \"a\" (fd 3): {connected}")
    );
    nix::unistd::close(3).unwrap();

    let bound = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
    born(bound, 3);
    assert_eq!(
        refused("1", "web"),
        "inherited socket \"web\" (fd 3): it does not listen"
    );
    nix::unistd::close(3).unwrap();
    nix::unistd::close(4).unwrap();

    born(UnixDatagram::unbound().unwrap(), 3);
    assert_eq!(
        refused("2", "log:web"),
        "inherited socket \"web\" (fd 4): that fd is not open"
    );
    nix::unistd::close(3).unwrap();

    let netlink = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::empty(), None).unwrap();
    born(netlink, 3);
    assert_eq!(
        refused("1", "n"),
        "inherited socket \"n\" (fd 3): it is neither tcp, udp nor a unix socket, and segue hands on nothing else"
    );
}

fn open_fds() -> BTreeSet<String> {
    let names = std::fs::read_dir("/proc/self/fd").unwrap();
    names
        .flatten()
        .map(|fd| fd.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Refusals of every kind, with real sockets in place, must leave the table of fds as it was.
fn child_leaks() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let pid = std::process::id().to_string();
    born(TcpListener::bind("127.0.0.1:0").unwrap(), 3);
    born(File::open("/dev/null").unwrap(), 4);
    let dir = tempfile::tempdir().unwrap();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let held = TcpListener::bind(busy).unwrap();
    let before = open_fds();
    for _ in 0..cases(1_000_000) {
        let env = random_env(&mut random, &pid);
        if let Err(error) = Inherited::from_environment(&env) {
            assert!(
                !error.to_string().chars().any(char::is_control),
                "seed {seed}: {env:?}: {error:?}"
            );
        }
    }
    assert_eq!(
        open_fds(),
        before,
        "seed {seed}: fds were leaked or closed by claims"
    );

    let good = format!("unix:{}", dir.path().join("s").display());
    let bad = [
        busy.to_string(),
        "192.0.2.1:0".to_owned(),
        format!("unix:{}", dir.path().display()),
        format!("unix:{}/none/s", dir.path().display()),
        format!("{good}2,user=segue-nobody"),
        "0,tcp-congestion=none".to_owned(),
    ];
    let current = open_all(&["0", &good]);
    let with_current = open_fds();
    for _ in 0..200 {
        for bad in &bad {
            line(reload(&["0,backlog=9", &good, "new=0", bad], &current));
        }
    }
    assert_eq!(open_fds(), with_current, "fds were leaked by reloads that failed");
    drop(current);
    assert_eq!(open_fds(), before);
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "paths were left behind"
    );
    drop(held);
}

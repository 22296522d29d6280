//! The words of the supervisor: random odd environments, and the errors of a real process.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::common::{app, cases, example, listener};
use segue_app::environment::{Handed, MAX_SOCKETS, parse};

const PID: u32 = 4242;

fn read(variables: &[(&str, &str)]) -> Result<Handed, String> {
    let map: HashMap<&str, &str> = variables.iter().copied().collect();
    parse(|name| map.get(name).map(OsString::from), PID).map_err(|error| error.to_string())
}

#[test]
fn what_is_right_is_read() {
    assert_eq!(read(&[]), Ok(Handed::default()));
    let all = read(&[
        ("LISTEN_FDS", "2"),
        ("LISTEN_PID", "4242"),
        ("LISTEN_FDNAMES", "web:"),
        ("NOTIFY_SOCKET", "@abstract"),
        ("WATCHDOG_USEC", "3000000"),
        ("WATCHDOG_PID", "4242"),
        ("SEGUE_NAME", "shop"),
        ("SEGUE_GENERATION", "7"),
        ("SEGUE_WORKER", "1"),
        ("SEGUE_DRAIN_TIMEOUT_MS", "30000"),
    ])
    .unwrap();
    assert_eq!(all.names, ["web", ""]);
    assert_eq!(all.notify.as_deref(), Some(Path::new("@abstract")));
    assert_eq!(all.watchdog, Some(Duration::from_secs(3)));
    assert_eq!((all.generation, all.worker), (Some(7), Some(1)));
    assert_eq!(all.drain_timeout, Some(Duration::from_secs(30)));
    assert_eq!(
        read(&[("LISTEN_FDS", "2")]).unwrap().names,
        ["unknown", "unknown"],
        "LISTEN_PID may be absent"
    );
    assert_eq!(
        read(&[("LISTEN_PID", "1")]),
        Ok(Handed::default()),
        "without LISTEN_FDS it means nothing"
    );
    assert_eq!(
        read(&[("WATCHDOG_USEC", "5"), ("WATCHDOG_PID", "1")])
            .unwrap()
            .watchdog,
        None,
        "another's watchdog"
    );
}

#[test]
fn what_is_wrong_is_refused_with_its_reason() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("LISTEN_FDS", "")],
            "LISTEN_FDS='': it must be a decimal number",
        ),
        (&[("LISTEN_FDS", "-1")], "decimal number"),
        (&[("LISTEN_FDS", "+1")], "decimal number"),
        (&[("LISTEN_FDS", " 1")], "decimal number"),
        (&[("LISTEN_FDS", "0")], "from 1 to 65536"),
        (&[("LISTEN_FDS", "2000000000")], "from 1 to 65536"),
        (&[("LISTEN_FDS", "99999999999999999999999")], "decimal number"),
        (&[("LISTEN_FDS", "1"), ("LISTEN_PID", "")], "LISTEN_PID=''"),
        (
            &[("LISTEN_FDS", "1"), ("LISTEN_PID", "123")],
            "LISTEN_PID=123, but this is process 4242: a wrapper forked",
        ),
        (
            &[("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "one")],
            "1 names for the 2 sockets",
        ),
        (
            &[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a:b")],
            "2 names for the 1 sockets",
        ),
        (
            &[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a\nb")],
            "'a\\nb' is no name",
        ),
        (&[("NOTIFY_SOCKET", "relative")], "absolute path"),
        (&[("NOTIFY_SOCKET", "@")], "absolute path"),
        (&[("WATCHDOG_USEC", "0")], "above zero"),
        (&[("SEGUE_GENERATION", "x")], "SEGUE_GENERATION='x'"),
    ];
    for (variables, reason) in cases {
        let error = read(variables).unwrap_err();
        assert!(error.contains(reason), "{variables:?}: {error}");
    }
}

#[test]
fn random_environments_are_read_or_refused_in_one_clear_line() {
    const NAMES: [&str; 10] = [
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "SEGUE_NAME",
        "SEGUE_GENERATION",
        "SEGUE_WORKER",
        "SEGUE_DRAIN_TIMEOUT_MS",
    ];
    const PARTS: [&[u8]; 20] = [
        b"",
        b"0",
        b"1",
        b"2",
        b"3",
        b"4242",
        b"65536",
        b"18446744073709551615",
        b"18446744073709551616",
        b":",
        b"a",
        b"web",
        b"/",
        b"@",
        b"\n",
        b"\x1b[2J",
        b"\xff\xfe",
        "ä\u{85}\u{2028}".as_bytes(),
        b" ",
        b"-",
    ];
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..cases(1_000_000) {
        let mut map: HashMap<&str, OsString> = HashMap::new();
        for name in NAMES {
            if random.u8(..) < 90 {
                let value: Vec<u8> = match random.u8(..8) {
                    0 => (0..random.usize(..12)).map(|_| random.u8(1..)).collect(),
                    1 => vec![b'n'; random.usize(..600)],
                    _ => (0..random.usize(1..4))
                        .flat_map(|_| PARTS[random.usize(..PARTS.len())])
                        .copied()
                        .collect(),
                };
                map.insert(name, OsString::from_vec(value));
            }
        }
        match parse(|name| map.get(name).cloned(), PID) {
            Ok(handed) => {
                accepted += 1;
                assert!(handed.names.len() <= MAX_SOCKETS);
                assert!(
                    handed
                        .names
                        .iter()
                        .all(|name| name.len() <= 255 && !name.contains(['\n', ':']))
                );
            }
            Err(error) => {
                refused += 1;
                let line = error.to_string();
                assert!(
                    !line.is_empty() && line.len() < 4096 && !line.chars().any(char::is_control),
                    "{line:?}"
                );
            }
        }
    }
    println!("{accepted} read, {refused} refused");
    let few = cases(1_000_000) / 100;
    assert!(accepted > few && refused > few);
}

/// Runs `program` with `socket` at fd 3 and `shell` put before the exec.
fn run(program: &Path, socket: OwnedFd, shell: &str) -> (bool, String, String) {
    let output = Command::new("/bin/sh")
        .args(["-c", &format!("{shell} exec \"$0\" 3<&0 </dev/null")])
        .arg(program)
        .stdin(Stdio::from(socket))
        .env_remove("NOTIFY_SOCKET")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_process_takes_its_sockets_and_scrubs_the_environment() {
    let (well, stdout, stderr) = run(
        &example("inherited"),
        listener().into(),
        "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web NOTIFY_SOCKET=@x WATCHDOG_USEC=1000000 WATCHDOG_PID=$$",
    );
    assert!(well, "{stderr}");
    assert!(stdout.starts_with("fd 3 name web listener\n"), "{stdout}");
    assert!(
        stdout.contains("notify Some(\"@x\") watchdog Some(1s)"),
        "{stdout}"
    );
    assert!(!stdout.contains("left "), "{stdout}");
}

#[test]
fn a_process_refuses_what_it_cannot_serve() {
    let refused = |socket: OwnedFd, shell: &str, reason: &str| {
        let (well, _, stderr) = run(app(), socket, shell);
        assert!(
            !well && stderr.contains(reason) && stderr.lines().count() == 1,
            "{stderr}"
        );
    };
    refused(
        listener().into(),
        "LISTEN_PID=1 LISTEN_FDS=1",
        "LISTEN_PID=1, but this is process",
    );
    refused(
        listener().into(),
        "LISTEN_FDS=2",
        "take fd 4 (unknown) of LISTEN_FDS: bad file descriptor",
    );
    refused(
        std::fs::File::open("/dev/null").unwrap().into(),
        "LISTEN_FDS=1",
        "socket operation on non-socket",
    );
    let datagram = UdpSocket::bind("127.0.0.1:0").unwrap();
    refused(
        datagram.into(),
        "LISTEN_FDS=1 LISTEN_FDNAMES=dns",
        "'dns' of LISTEN_FDS: it is no listening stream socket",
    );
    let listener = listener();
    let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    refused(connected.into(), "LISTEN_FDS=1", "it is a connected socket");
}

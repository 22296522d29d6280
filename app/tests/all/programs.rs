//! The two programs from the outside: what `app` answers and where it takes its words from, and what `segue-poll`
//! prints and exits with.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use super::common::{Client, Running, app, listener, start};

fn poll(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_segue-poll"))
        .args(arguments)
        .env_remove("SEGUE_PROBE")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs `app` alone; Running wants its READY=1, which it sends too.
fn alone(set: impl FnOnce(&mut Command)) -> Running {
    let mut command = Command::new(app());
    for name in ["LISTEN_FDS", "LISTEN_PID", "APP_MESSAGE", "SEGUE_GENERATION"] {
        command.env_remove(name);
    }
    set(&mut command);
    Running::start(command)
}

/// A log that takes nothing: the disk is full.
#[test]
fn a_full_log_does_not_end_the_app() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut command = super::common::command(app(), socket.into());
    command.env_remove("NOTIFY_SOCKET").stderr(full);
    let mut child = command.spawn().unwrap();
    // It may take its time: the listener is open, so the request waits in the queue.
    let mut client = Client::connect(address);
    client.send(b"GET /ping HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(
        child.wait().unwrap().success(),
        "the report could not be told, and that is all"
    );
}

#[test]
fn the_message_and_who_answers() {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let server = start(
        app(),
        &listener,
        &[("APP_MESSAGE", "a \"quoted\" one"), ("SEGUE_GENERATION", "12")],
    );
    let mut client = Client::connect(address);
    let response = client.get("/ping");
    assert_eq!(text(&response.body), r#"{"message": "a \"quoted\" one"}"#);
    assert_eq!(response.header("x-segue-generation"), Some("12"));
    assert_eq!(
        response.header("x-segue-pid"),
        Some(server.pid().to_string().as_str())
    );
    assert_eq!(
        text(&client.get("/bytes?n=30").body),
        "abcdefghijklmnopqrstuvwxyzabcd"
    );
    assert_eq!(client.get("/bytes?n=x").status, 400);
    client.send(b"POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\necho");
    assert_eq!(client.response().body, b"echo");
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let _server = start(app(), &listener, &[]);
    let mut client = Client::connect(address);
    for body in ["echo", "once more"] {
        let head = format!(
            "POST /echo HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        client.send(head.as_bytes());
        assert_eq!(client.line().trim_end(), "HTTP/1.1 100 Continue");
        assert_eq!(client.line().trim_end(), "");
        client.send(body.as_bytes());
        let response = client.response();
        assert_eq!(
            response.header("content-length"),
            Some(body.len().to_string().as_str())
        );
        assert_eq!(response.body, body.as_bytes());
    }
}

#[test]
fn alone_it_binds_what_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app");
    let mut server = alone(|command| {
        command
            .args([
                "--bind",
                &format!("unix:{}", path.display()),
                "--message",
                "alone",
            ])
            .env("APP_MESSAGE", "second");
    });
    let polled = poll(&[
        "--unix",
        path.to_str().unwrap(),
        "--count",
        "1",
        "http://localhost/ping",
    ]);
    assert!(polled.status.success());
    assert!(
        text(&polled.stdout).starts_with("UP: response was {\"message\": \"alone\"} [20"),
        "{polled:?}"
    );
    server.drain();
    assert!(server.end().status.success());
    assert!(!path.exists(), "what it bound it removes");
    let refused = Command::new(app())
        .args(["--bind", "300.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).starts_with("app: listen 300.0.0.1:1: "),
        "{refused:?}"
    );
    let checked = Command::new(app())
        .args(["--check", "--bind", "300.0.0.1:1"])
        .status()
        .unwrap();
    assert!(checked.success());
}

#[test]
fn the_watchdog_is_fed() {
    let listener = listener();
    let mut server = start(app(), &listener, &[("WATCHDOG_USEC", "200000")]);
    for _ in 0..3 {
        assert_eq!(server.notification(), "WATCHDOG=1");
    }
    server.drain();
}

#[test]
fn polling_sees_up_changed_and_down() {
    let listener = listener();
    let url = format!("http://{}/ping", listener.local_addr().unwrap());
    let mut poll = Command::new(env!("CARGO_BIN_EXE_segue-poll"))
        .args([
            url.as_str(),
            "--interval",
            "5ms",
            "--timeout",
            "2s",
            "--count",
            "100000",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(poll.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut until = |wanted: &str| lines.find(|line| line.starts_with(wanted)).unwrap();
    let mut old = start(app(), &listener, &[("APP_MESSAGE", "one")]);
    until("UP: response was {\"message\": \"one\"} [");
    let new = start(app(), &listener, &[("APP_MESSAGE", "two")]);
    old.drain();
    until("UP AND CHANGED: response was {\"message\": \"two\"} [");
    drop((old, new, listener));
    // A request that the server or its queue had when they went away is cut, and counts first; a request that comes later is
    // refused.
    let refused = |line: &String| line.starts_with("DOWN [") && line.ends_with("] connection refused");
    assert!(lines.any(|line| refused(&line)));
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(poll.id() as i32),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    assert!(lines.any(|line| line.contains(" requests, ") && line.contains(", longest gap ")));
    assert_eq!(poll.wait().unwrap().code(), Some(1));
}

#[test]
fn polling_speaks_json_and_keeps_connections() {
    let listener = listener();
    let server = start(app(), &listener, &[("SEGUE_GENERATION", "3")]);
    let url = format!("{}/ping", listener.local_addr().unwrap());
    let arguments = [
        "--json",
        "--keep-alive",
        "--connections",
        "3",
        "--count",
        "30",
        "--interval",
        "0",
        "--timeout",
        "5s",
    ];
    let polled = poll(&[&[url.as_str()], &arguments[..]].concat());
    assert!(polled.status.success(), "{polled:?}");
    let lines: Vec<serde_json::Value> = text(&polled.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 31);
    assert_eq!(lines[0]["event"], "up");
    assert_eq!(lines[0]["body"], "{\"message\": \"test\"}");
    let summary = &lines[30];
    assert_eq!((&summary["requests"], &summary["down"]), (&30.into(), &0.into()));
    assert_eq!(summary["versions"][0]["version"], "generation 3");
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = server.end();
    assert!(
        ended.stderr.contains("(30 requests on 3 connections"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_picture_shows_what_the_summary_says() {
    let listener = listener();
    let mut server = start(app(), &listener, &[("SEGUE_GENERATION", "3")]);
    let url = format!("{}/ping", listener.local_addr().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.svg");
    let drawn = |count: &str| {
        let picture = file.to_str().unwrap();
        let arguments = [
            url.as_str(),
            "--count",
            count,
            "--interval",
            "0",
            "--timeout",
            "5s",
        ];
        let polled = poll(&[&arguments[..], &["--picture", picture, "--title", "A <run>"]].concat());
        (polled, std::fs::read_to_string(&file).unwrap())
    };
    let (polled, svg) = drawn("20");
    assert!(polled.status.success(), "{polled:?}");
    assert!(
        svg.contains("20 requests, 0 failed") && svg.contains("generation 3: 20"),
        "{svg}"
    );
    assert!(svg.contains("A &lt;run&gt;"), "{svg}");
    server.drain();
    drop(server);
    drop(listener);
    let (polled, svg) = drawn("2");
    assert_eq!(polled.status.code(), Some(1), "{polled:?}");
    assert!(
        svg.contains("2 requests, 2 failed") && svg.contains("failed: 2"),
        "{svg}"
    );
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        1,
        "a temporary file was left"
    );
}

#[test]
fn polling_refuses_what_it_cannot_do() {
    for arguments in [
        &["--picture", "/nowhere/run.svg"][..],
        &["--title", "without a picture"],
        &["https://localhost/"],
        &["--unix"],
        &["--timeout", "5"],
        &["http://"],
        &["--connections", "0"],
    ] {
        let polled = poll(arguments);
        assert_eq!(polled.status.code(), Some(2), "{arguments:?} {polled:?}");
    }
}

#[test]
fn a_probe_is_asked_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("probe");
    let _server = alone(|command| {
        command.args(["--bind", &format!("unix:{}", path.display())]);
    });
    let mut probe = Command::new(env!("CARGO_BIN_EXE_segue-poll"));
    probe
        .args(["--timeout", "5s", "--unix"])
        .env("SEGUE_PROBE", &path);
    let polled = probe.output().unwrap();
    assert!(polled.status.success());
    assert!(text(&polled.stdout).contains("\n1 request, 0 down"), "{polled:?}");
    let missing = probe.env("SEGUE_PROBE", "/nowhere").output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
}

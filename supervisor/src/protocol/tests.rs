//! What goes over the control socket, and what does not.

use super::*;
use crate::trials::cases;

#[test]
fn requests_read_as_documented() {
    for (line, request) in [
        (
            r#"{"request":"reload"}"#,
            Request::Reload {
                until: Until::Takeover,
            },
        ),
        (
            r#"{"request":"reload","until":"accepted"}"#,
            Request::Reload {
                until: Until::Accepted,
            },
        ),
        (
            r#"{"request":"reload","until":"settled"}"#,
            Request::Reload {
                until: Until::Settled,
            },
        ),
        (
            r#"{"until":"drained","request":"reload"}"#,
            Request::Reload {
                until: Until::Drained,
            },
        ),
        (r#" { "request" : "status" } "#, Request::Status {}),
        (r#"{"request":"stop"}"#, Request::Stop {}),
        (r#"{"request":"upgrade"}"#, Request::Upgrade {}),
        (
            r#"{"request":"workers","change":{"set":4}}"#,
            Request::Workers {
                change: Change::Set(4),
            },
        ),
        (
            r#"{"request":"workers","change":{"add":1}}"#,
            Request::Workers {
                change: Change::Add(1),
            },
        ),
        (
            r#"{"request":"workers","change":{"remove":2}}"#,
            Request::Workers {
                change: Change::Remove(2),
            },
        ),
    ] {
        assert_eq!(Request::parse(line.as_bytes()), Ok(request), "{line}");
        assert_eq!(Request::parse(&request.to_line()), Ok(request), "{line}");
    }
}

#[test]
fn half_understood_requests_are_refused() {
    for line in [
        "",
        "reload",
        "[]",
        "{}",
        r#"{"request":"reboot"}"#,
        r#"["status"]"#,
        r#" ["reload","drained"]"#,
        r#"{"request":1}"#,
        r#"{"request":null}"#,
        r#"{"request":"stop","now":true}"#,
        r#"{"request":"stop","until":"drained"}"#,
        r#"{"request":"status","now":null}"#,
        r#"{"now":1,"request":"upgrade"}"#,
        r#"{"request":"reload","until":"settled","now":true}"#,
        r#"{"request":"reload","until":"settled","until":"settled"}"#,
        r#"{"request":"reload","until":null}"#,
        r#"{"request":"reload","until":0}"#,
        r#"{"request":"reload","until":["settled"]}"#,
        r#"{"request":"status","request":"stop"}"#,
        r#"{"request":"reload","until":"noon"}"#,
        r#"{"request":"workers"}"#,
        r#"{"request":"workers","change":4}"#,
        r#"{"request":"workers","change":"set"}"#,
        r#"{"request":"workers","change":["set",4]}"#,
        r#"{"request":"workers","change":{}}"#,
        r#"{"request":"workers","change":{"set":4,"set":4}}"#,
        r#"{"request":"workers","change":{"set":[4]}}"#,
        r#"{"request":"workers","change":{"set":"4"}}"#,
        r#"{"request":"workers","change":{"set":4.0}}"#,
        r#"{"request":"workers","change":{"double":4}}"#,
        r#"{"request":"workers","change":{"set":4},"now":1}"#,
        r#"{"request":"workers","change":{"set":0}}"#,
        r#"{"request":"workers","change":{"set":-1}}"#,
        r#"{"request":"workers","change":{"set":70000}}"#,
        r#"{"request":"workers","change":{"set":1,"add":1}}"#,
        r#"{"request":"status"} {"request":"status"}"#,
        "{\"request\":\"re\u{0}load\"}",
    ] {
        let error = Request::parse(line.as_bytes()).expect_err(line).to_string();
        assert_clear(&error);
    }
    let long = vec![b' '; REQUEST_MAX + 1];
    assert_eq!(Request::parse(&long), Err(ProtocolError::too_long()));
}

#[test]
fn refusals_quote_garbage_harmlessly() {
    let error = Request::parse(b"{\"request\":\"\\u001b[2J\\nok\\u202e\"}")
        .expect_err("garbage")
        .to_string();
    assert_clear(&error);
    assert!(error.contains("\\u{1b}[2J\\nok"), "{error}");
}

#[test]
fn garbage_lines_get_one_clear_line_each() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..cases(1_000_000) {
        let line = garbage(&mut random);
        match Request::parse(&line) {
            Ok(request) => assert_eq!(Request::parse(&request.to_line()), Ok(request)),
            Err(error) => assert_clear(&error.to_string()),
        }
    }
}

/// A random line: bytes, pieces of the grammar, or a good request with a few bytes changed.
pub(crate) fn garbage(random: &mut fastrand::Rng) -> Vec<u8> {
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\u0000",
        "\\ud800",
        "null",
        "true",
        "1e999",
        "-0",
        "18446744073709551616",
        "\"request\"",
        "\"reload\"",
        "\"status\"",
        "\"stop\"",
        "\"workers\"",
        "\"until\"",
        "\"change\"",
        "\"set\"",
        "\"add\"",
        "\u{202e}",
        "\t",
        "\r",
        "\u{1b}[2J",
        "é",
    ];
    const GOOD: &[&str] = &[
        r#"{"request":"reload","until":"settled"}"#,
        r#"{"request":"workers","change":{"add":12}}"#,
        r#"{"request":"stop"}"#,
    ];
    match random.u8(0..4) {
        0 => (0..random.usize(0..40)).map(|_| random.u8(..)).collect(),
        1 | 2 => {
            let pieces = random.usize(0..16);
            (0..pieces)
                .flat_map(|_| random.choice(PIECES).copied().unwrap_or_default().bytes())
                .collect()
        }
        _ => {
            let mut line = random
                .choice(GOOD)
                .copied()
                .unwrap_or_default()
                .as_bytes()
                .to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..line.len());
                line[at] = random.u8(..);
            }
            line
        }
    }
}

fn assert_clear(line: &str) {
    assert!(line.starts_with("request not understood: "), "{line:?}");
    assert!(
        !line.chars().any(char::is_control) && line.len() < 1024,
        "{line:?}"
    );
}

#[test]
fn replies_read_back() {
    let serving = Serving {
        generation: 8,
        pids: vec![123],
    };
    for reply in [
        Reply::Progress {
            message: "generation 7 drains: 3 connections".into(),
        },
        Reply::reload_ok(serving.clone(), Duration::from_millis(41), "", verdict(None)),
        Reply::reload_failed(
            "not ready after 30s",
            Some(serving.clone()),
            verdict(Some(CauseCode::NotReady)),
        ),
        Reply::Failed {
            message: "upgrade failed: exec".into(),
            serving: None,
            verdict: None,
        },
        Reply::reload_failed("stopping", None, verdict(Some(CauseCode::Stopping))),
        Reply::Refused {
            message: "stopping".into(),
        },
    ] {
        let line = reply.to_line();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(Reply::parse(&line), Ok(reply));
    }
    let Reply::Done { message, .. } = Reply::reload_ok(serving, Duration::from_millis(41), "", verdict(None))
    else {
        panic!("not done")
    };
    assert_eq!(message, "reload ok: generation 8 serves (pid 123) after 41 ms");
}

fn verdict(cause: Option<CauseCode>) -> Verdict {
    Verdict {
        outcome: if cause.is_some() {
            Outcome::Failed
        } else {
            Outcome::Ok
        },
        probation: Probation::Running,
        generation: Some(8),
        cause,
        reason: cause.map(|_| "not ready".to_owned()),
        words: cause.map(|_| words()).unwrap_or_default(),
    }
}

fn words() -> LastWords {
    LastWords {
        last_lines: vec!["ValueError: \"x\"".to_owned(), "bye".to_owned()],
        stderr: Some(StderrPlace {
            path: Some("/var/log/app".to_owned()),
            ..StderrPlace::new(StderrKind::File)
        }),
    }
}

/// The codes are a promise, too.
#[test]
fn the_answer_to_a_reload_has_the_documented_codes() {
    let failed = Reply::reload_failed("not ready", None, verdict(Some(CauseCode::NotReady)));
    assert_eq!(
        String::from_utf8_lossy(&failed.to_line()),
        concat!(
            r#"{"reply":"failed","message":"reload failed: not ready","serving":null,"#,
            r#""outcome":"failed","probation":"running","generation":8,"cause":"not-ready","reason":"not ready","#,
            r#""last_lines":["ValueError: \"x\"","bye"],"#,
            r#""stderr":{"kind":"file","path":"/var/log/app","identifier":null,"pid":null,"since":null}}"#,
            "\n"
        )
    );
}

#[test]
fn replies_may_have_keys_that_we_do_not_know() {
    let line = br#"{"reply":"done","message":"ok","serving":{"generation":1,"pids":[],"x":1},"duration_ms":null,"later":{}}"#;
    assert!(matches!(Reply::parse(line), Ok(Reply::Done { .. })));
}

#[test]
fn replies_with_codes_that_make_no_sense_are_refused() {
    let good = r#"{"reply":"done","message":"ok","outcome":"ok","probation":"running","cause":null}"#;
    assert!(matches!(
        Reply::parse(good.as_bytes()),
        Ok(Reply::Done { verdict: Some(_), .. })
    ));
    for (part, other) in [
        (r#""outcome":"ok""#, r#""outcome":"splendid""#),
        (r#""outcome":"ok""#, r#""outcome":null"#),
        (r#","probation":"running""#, ""),
        (r#""cause":null"#, r#""cause":"weather""#),
        (r#""cause":null"#, r#""last_lines":"bye""#),
        (r#""message":"ok""#, r#""message":1"#),
        (r#""message":"ok""#, r#""message":"ok","message":"ok""#),
        (r#""done""#, r#""later""#),
    ] {
        let line = good.replace(part, other);
        let error = Reply::parse(line.as_bytes()).expect_err(&line).to_string();
        assert!(error.starts_with("reply not understood: "), "{error}");
    }
}

#[test]
fn many_pids_are_cut_short() {
    let serving = |count| {
        Serving {
            generation: 2,
            pids: (1..=count).collect(),
        }
        .to_string()
    };
    assert_eq!(serving(0), "generation 2 serves");
    assert_eq!(serving(2), "generation 2 serves (pids 1, 2)");
    assert_eq!(serving(5), "generation 2 serves (pids 1, 2, 3 and 2 more)");
}

#[test]
fn durations_read_well() {
    let text = |ms| elapsed(Duration::from_millis(ms));
    assert_eq!(
        [text(0), text(9_999), text(12_345), text(125_000)],
        ["0 ms", "9999 ms", "12.3 s", "2 min 5 s"]
    );
}

#[test]
fn set_durations_read_as_they_are_written() {
    let text = |ms| setting(Duration::from_millis(ms));
    assert_eq!(
        [
            text(0),
            text(250),
            text(6_000),
            text(90_000),
            text(300_000),
            text(3_600_000)
        ],
        ["0s", "250ms", "6s", "1m30s", "5m", "1h"]
    );
}

#[test]
fn one_line_is_one_line_of_at_most_its_width() {
    assert_eq!(one_line("plain", 5), "plain");
    assert_eq!(one_line("plainer", 6), "pla...");
    assert_eq!(one_line("a\nb", 80), "a\\nb");
    assert_eq!(one_line("\n\n\n", 4), "\\...");
    assert_eq!(one_line("abc", 2), "..");
    assert_eq!(one_line("é\u{202e}", 80), "é\\u{202e}");
    assert_eq!(one_line("a\u{200b}\u{feff}", 80), "a\\u{200b}\\u{feff}");
}

/// The schema is a promise: these are its keys, all of them, in this order.
#[test]
fn status_has_the_documented_keys() {
    let time = "2026-11-22T10:00:00.000Z".to_owned();
    let status = Status {
        schema: SCHEMA,
        name: "app".into(),
        pid: 1,
        since: time.clone(),
        version: "0.1.0".into(),
        state: State::HandingOff,
        generation: Some(7),
        listeners: vec![Listener {
            name: "web".into(),
            address: "127.0.0.1:80".into(),
            backlog: Some(4096),
            queued: None,
            trouble: None,
            inode: None,
            slot: None,
            generation: None,
        }],
        generations: vec![Generation {
            generation: 7,
            role: Role::Incumbent,
            since: time.clone(),
            probation: Probation::Passed,
            workers: vec![Worker {
                pid: 2,
                state: WorkerState::Serving,
                since: time.clone(),
                connections: None,
                limit_ms: None,
                status: None,
            }],
            strays: 0,
            binary: Binary {
                path: "/srv/app".into(),
                inode: 3,
                sha256: None,
            },
            replaced: None,
        }],
        last_reload: Some(LastReload {
            outcome: Outcome::RolledBack,
            cause: Some(CauseCode::Exited),
            reason: Some("killed by SIGSEGV".into()),
            duration_ms: 4,
            generation: Some(6),
            at: time.clone(),
            words: words(),
        }),
        last_crash: Some(LastCrash {
            generation: 7,
            worker: 1,
            pid: Some(9),
            reason: "exited with status 3".into(),
            at: time,
            words: LastWords::default(),
        }),
        restarts: 5,
        rollbacks: 6,
        oom_kills: 7,
    };
    assert!(status.serves());
    let json = serde_json::to_string(&status).expect("serialises");
    assert_eq!(
        json,
        concat!(
            r#"{"schema":1,"name":"app","pid":1,"since":"2026-11-22T10:00:00.000Z","version":"0.1.0","state":"handing-off","generation":7,"#,
            r#""listeners":[{"name":"web","address":"127.0.0.1:80","backlog":4096,"queued":null,"trouble":null,"slot":null,"generation":null}],"#,
            r#""generations":[{"generation":7,"role":"incumbent","since":"2026-11-22T10:00:00.000Z","probation":"passed","#,
            r#""workers":[{"pid":2,"state":"serving","since":"2026-11-22T10:00:00.000Z","connections":null,"status":null,"limit_ms":null}],"#,
            r#""strays":0,"binary":{"path":"/srv/app","inode":3,"sha256":null},"replaced":null}],"#,
            r#""last_reload":{"outcome":"rolled-back","cause":"exited","reason":"killed by SIGSEGV","duration_ms":4,"generation":6,"at":"2026-11-22T10:00:00.000Z","#,
            r#""last_lines":["ValueError: \"x\"","bye"],"#,
            r#""stderr":{"kind":"file","path":"/var/log/app","identifier":null,"pid":null,"since":null}},"#,
            r#""last_crash":{"generation":7,"worker":1,"pid":9,"reason":"exited with status 3","at":"2026-11-22T10:00:00.000Z","#,
            r#""last_lines":[],"stderr":null},"#,
            r#""restarts":5,"rollbacks":6,"oom_kills":7}"#
        )
    );
    let reply = Reply::Status(Box::new(status));
    assert_eq!(Reply::parse(&reply.to_line()), Ok(reply));
}

//! What people and programs get to see.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::protocol::{
    Binary, CauseCode, Generation, LastCrash, LastReload, LastWords, Listener, Outcome, Probation, Reply,
    Role, SCHEMA, State, Status, StderrKind, StderrPlace, Worker, WorkerState, rfc3339,
};

/// 2026-11-22T10:00:00Z.
const NOW: Duration = Duration::from_secs(1_795_341_600);

pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + NOW
}

fn before(seconds: u64) -> String {
    rfc3339(now() - Duration::from_secs(seconds))
}

pub(super) fn worker(
    pid: i32,
    state: WorkerState,
    seconds: u64,
    connections: Option<u64>,
    status: Option<&str>,
) -> Worker {
    Worker {
        pid,
        state,
        since: before(seconds),
        connections,
        status: status.map(str::to_owned),
        limit_ms: None,
    }
}

pub(super) fn generation(generation: u64, role: Role, seconds: u64, workers: Vec<Worker>) -> Generation {
    let binary = Binary {
        path: format!("/srv/app/releases/{generation}/app"),
        inode: 42,
        sha256: None,
    };
    Generation {
        generation,
        role,
        since: before(seconds),
        probation: Probation::Passed,
        workers,
        strays: 0,
        binary,
        replaced: None,
    }
}

pub(super) fn status() -> Status {
    let listener = |name: &str, address: &str, backlog, queued| Listener {
        name: name.into(),
        address: address.into(),
        backlog,
        queued,
        trouble: None,
        inode: None,
        slot: None,
        generation: None,
    };
    Status {
        schema: SCHEMA,
        name: "app".into(),
        pid: 4242,
        since: before(11_520),
        version: "0.1.0".into(),
        state: State::Serving,
        generation: Some(8),
        listeners: vec![
            listener("web", "127.0.0.1:8080", Some(4096), Some(0)),
            listener("admin", "unix:/run/app/admin.sock", Some(128), None),
        ],
        generations: vec![
            generation(
                8,
                Role::Incumbent,
                130,
                vec![
                    worker(123, WorkerState::Serving, 130, Some(12), Some("ready to serve")),
                    worker(124, WorkerState::Serving, 130, Some(10), None),
                ],
            ),
            generation(
                7,
                Role::Retired,
                12,
                vec![worker(99, WorkerState::Draining, 12, None, None)],
            ),
        ],
        last_reload: Some(LastReload {
            outcome: Outcome::Ok,
            cause: None,
            reason: None,
            duration_ms: 41,
            generation: Some(8),
            at: before(130),
            words: LastWords::default(),
        }),
        last_crash: None,
        restarts: 0,
        rollbacks: 1,
        oom_kills: 2,
    }
}

fn viewer(view: View, showing: Showing) -> Viewer {
    Viewer::new(view, showing, When::Never)
}

/// As it is written where there is no terminal.
fn shown(viewer: &mut Viewer, seen: Seen) -> String {
    let seen = viewer.filled(seen);
    viewer.text(&Ok(seen), 80, now())
}

/// The whole table without colours.
fn rendered(status: &Status, columns: usize, now: SystemTime) -> String {
    table::render(status, columns, now, Paint::Plain).join("\n") + "\n"
}

#[test]
fn the_table_is_as_documented() {
    let expected = "\
app: serving, generation 8 serves (segue 0.1.0, pid 4242, up 3h 12m)

LISTENER  ADDRESS                   QUEUED  BACKLOG
web       127.0.0.1:8080                 0     4096
admin     unix:/run/app/admin.sock       -      128

GENERATION  ROLE       PID  STATE        FOR  CONNS  STATUS
         8  incumbent  123  serving   2m 10s     12  ready to serve
                       124  serving   2m 10s     10
            /srv/app/releases/8/app
         7  retired     99  draining     12s      -
            /srv/app/releases/7/app

last reload: ok, generation 8 after 41 ms, 2m 10s ago
restarts 0, rollbacks 1
";
    assert_eq!(rendered(&status(), 80, now()), expected);
}

#[test]
fn a_table_tells_which_listener_is_in_trouble_and_keeps_its_columns() {
    let mut status = status();
    status.listeners[1].trouble = Some("an app shut it down".into());
    let expected = "
web       127.0.0.1:8080                 0     4096
admin     unix:/run/app/admin.sock       -      128
listener admin: an app shut it down

GENERATION";
    let table = rendered(&status, 80, now());
    assert!(table.contains(expected), "{table}");
}

#[test]
fn a_table_tells_who_does_not_serve_and_why_a_reload_failed() {
    let mut status = status();
    status.state = State::BackingOff;
    status.generations = vec![generation(8, Role::Incumbent, 1, Vec::new())];
    status.last_reload = Some(LastReload {
        outcome: Outcome::RolledBack,
        cause: Some(CauseCode::Exited),
        reason: Some("killed by SIGSEGV".into()),
        duration_ms: 30_000,
        generation: None,
        at: before(90_000),
        words: LastWords::default(),
    });
    let table = rendered(&status, 80, now());
    assert!(
        table.starts_with("app: backing-off, generation 8 does not serve (segue "),
        "{table}"
    );
    assert!(
        table.contains("\n         8  incumbent    -  -       1s      -\n"),
        "{table}"
    );
    assert!(
        table.contains("last reload: rolled-back, after 30.0 s, 1d 1h ago: killed by SIGSEGV\n"),
        "{table}"
    );
    status.generation = None;
    status.generations.clear();
    status.listeners.clear();
    status.last_reload = None;
    let table = rendered(&status, 80, now());
    assert!(
        table.starts_with("app: backing-off, nobody serves (segue "),
        "{table}"
    );
    assert!(table.contains("\n\nlast reload: none yet\n"), "{table}");
}

#[test]
fn a_table_fits_and_is_ascii_whatever_an_app_says() {
    let mut status = status();
    status.name = "größe".into();
    status.generations[0].workers[0].status = Some("\u{1b}[2J\n\u{202e}grün ".repeat(50));
    status.generations[1].binary.path = "/very/long".repeat(30);
    status.listeners[0].address = "x".repeat(300);
    status.since = "not a time".into();
    for columns in [0, 40, 80, 200] {
        let table = rendered(&status, columns, now());
        for line in table.lines() {
            assert!(line.len() <= columns.max(20), "{line}");
            assert!(line.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{line:?}");
        }
    }
}

/// A reason is what people look for: it is wrapped where a row of a table would be cut.
#[test]
fn reasons_are_wrapped_and_followed_by_the_last_lines() {
    let mut status = status();
    let long = "https://db.example/".repeat(5);
    status.last_reload = Some(LastReload {
        outcome: Outcome::Failed,
        cause: Some(CauseCode::Exited),
        reason: Some(
            "exited with status 3 after 2586 ms; its stderr says \"ModuleNotFoundError: No module named 'x'\" and ends: \"bye\"".into(),
        ),
        duration_ms: 2600,
        generation: Some(9),
        at: before(12),
        words: LastWords {
            last_lines: vec!["ModuleNotFoundError: No module named 'x'".into(), format!("see {long}"), "bye".into()],
            stderr: Some(StderrPlace::new(StderrKind::File)),
        },
    });
    status.last_crash = Some(LastCrash {
        generation: 8,
        worker: 1,
        pid: Some(125),
        reason: "killed by SIGKILL after 910 ms".into(),
        at: before(3),
        words: LastWords {
            last_lines: Vec::new(),
            stderr: Some(StderrPlace::new(StderrKind::Pipe)),
        },
    });
    let table = rendered(&status, 80, now());
    let expected = "\
last reload: failed, generation 9 after 2600 ms, 12s ago: exited with status 3
    after 2586 ms; its stderr says \"ModuleNotFoundError: No module named 'x'\"
    and ends: \"bye\"
    | ModuleNotFoundError: No module named 'x'
    | see
    https://db.example/https://db.example/https://db.example/https://db.example/
    https://db.example/
    | bye
last crash: generation 8, worker 1 (pid 125), 3s ago: killed by SIGKILL after
    910 ms; its stderr is a pipe
restarts 0, rollbacks 1
";
    assert!(table.ends_with(expected), "{table}");
    for columns in 0..200 {
        let table = rendered(&status, columns, now());
        let words = |text: &str| text.split_whitespace().collect::<String>();
        assert!(words(&table).contains(&words(
            "ModuleNotFoundError: No module named 'x'\" and ends: \"bye\""
        )));
        assert!(table.lines().all(|line| line.len() <= columns.max(20)), "{table}");
    }
    let uncut = rendered(&status, usize::MAX, now());
    assert!(uncut.contains(&format!("\n    | see {long}\n")), "{uncut}");
}

#[test]
fn metrics_are_as_prometheus_reads_them() {
    let mut status = status();
    status.name = "a\"p\\p".into();
    let page = metrics::render(&status);
    for line in [
        "# TYPE segue_info gauge",
        r#"segue_info{name="a\"p\\p",version="0.1.0"} 1"#,
        r#"segue_state{name="a\"p\\p",state="serving"} 1"#,
        r#"segue_state{name="a\"p\\p",state="stopping"} 0"#,
        r#"segue_start_time_seconds{name="a\"p\\p"} 1795330080.000"#,
        r#"segue_listener_queued{name="a\"p\\p",listener="web",address="127.0.0.1:8080"} 0"#,
        r#"segue_workers{name="a\"p\\p",role="incumbent",state="serving"} 2"#,
        r#"segue_connections{name="a\"p\\p",role="incumbent"} 22"#,
        r#"segue_connections{name="a\"p\\p",role="candidate"} 0"#,
        r#"segue_last_reload{name="a\"p\\p",outcome="ok"} 1"#,
        r#"segue_last_reload_duration_seconds{name="a\"p\\p"} 0.041"#,
        "# TYPE segue_rollbacks_total counter",
        r#"segue_rollbacks_total{name="a\"p\\p"} 1"#,
        "# TYPE segue_oom_kills_total counter",
        r#"segue_oom_kills_total{name="a\"p\\p"} 2"#,
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "{line} is missing from\n{page}"
        );
    }
    assert!(!page.contains("role=\"retired\"} -"), "{page}");
    assert!(
        !page
            .lines()
            .any(|line| line.starts_with("segue_connections") && line.contains("retired")),
        "{page}"
    );
}

/// Each family has one HELP and one TYPE, before its samples, which follow each other.
#[test]
fn metrics_come_in_families() {
    let page = metrics::render(&status());
    let mut family = String::new();
    let mut seen = Vec::new();
    for line in page.lines() {
        let mut words = line.split(' ');
        if let (Some("#"), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) {
            if kind == "HELP" {
                assert!(!seen.contains(&name.to_owned()), "{name} twice");
                seen.push(name.to_owned());
                family = name.to_owned();
            }
            assert_eq!(name, family);
        } else {
            let (name, rest) = line.split_once('{').expect("labels");
            assert_eq!(name, family, "{line}");
            let (_, value) = rest.rsplit_once(' ').expect("a value");
            value.parse::<f64>().expect("a number");
        }
    }
    assert!(page.ends_with('\n') && seen.len() > 10);
}

#[test]
fn json_is_schema_1_and_nothing_else() {
    let mut seen = Seen {
        status: status(),
        supervisor: None,
    };
    seen.status.listeners[0].inode = Some(7);
    let text = shown(&mut viewer(View::Json, Showing::Once), seen.clone());
    assert!(
        text.starts_with("{\n  \"schema\": 1,\n") && !text.contains("\"inode\": 7"),
        "{text}"
    );
    assert!(Reply::parse(text.replacen('{', "{\"reply\":\"status\",", 1).as_bytes()).is_ok());
    let mut again = viewer(View::Json, Showing::Again);
    assert_eq!(shown(&mut again, seen).lines().count(), 1);
    assert_eq!(
        again.text(&Err("no supervisor answers".to_owned()), 80, now()),
        "null\n"
    );
}

#[test]
fn flat_has_every_value_on_a_line_of_its_own() {
    let mut seen = Seen {
        status: status(),
        supervisor: None,
    };
    seen.status.generations[0].workers[0].status = Some("two\nlines = 2".to_owned());
    let text = shown(&mut viewer(View::Flat, Showing::Once), seen.clone());
    let name = format!("name={}", seen.status.name);
    let lines: Vec<&str> = text.lines().collect();
    for wanted in [
        "schema=1",
        &name,
        "generations.0.workers.0.status=two\\nlines = 2",
        "generations.0.binary.sha256=",
    ] {
        assert!(lines.contains(&wanted), "{wanted}: {text}");
    }
    assert!(lines.iter().all(|line| line.contains('=')), "{text}");
}

#[test]
fn pids_of_another_namespace_are_not_looked_up() {
    let mut foreign = status();
    // Our own pid, but a supervisor whose pid here is another.
    foreign.pid = i32::try_from(std::process::id()).expect("pid");
    foreign.listeners.clear();
    let supervisor = Some(foreign.pid + 1);
    let mut viewer = viewer(View::Table, Showing::Once);
    let seen = viewer.filled(Seen {
        status: foreign.clone(),
        supervisor,
    });
    assert_eq!(seen.status.generations[1].workers[0].connections, None);
    let seen = viewer.filled(Seen {
        supervisor: Some(foreign.pid),
        status: foreign,
    });
    assert_eq!(seen.status.generations[0].workers[0].connections, Some(0));
}

#[test]
fn tables_follow_each_other_with_a_gap_or_in_place() {
    let mut viewer = Viewer {
        view: View::Table,
        showing: Showing::Again,
        paint: Paint::Plain,
        screen: None,
        last: None,
        pace: Pace::Runs,
        silence: Silence::default(),
        started: false,
        journal: Journal::default(),
    };
    let sight = || {
        Ok(Seen {
            status: status(),
            supervisor: None,
        })
    };
    assert!(viewer.text(&sight(), 80, now()).starts_with("app: "));
    assert!(viewer.text(&sight(), 80, now()).starts_with("\napp: "));
    assert_eq!(
        viewer.text(&Err("no supervisor answers".to_owned()), 80, now()),
        "no supervisor answers\n"
    );
}

#[test]
fn words_of_state_are_coloured_once_the_lines_are_cut() {
    let lines = |paint| table::render(&status(), 60, now(), paint);
    let coloured = lines(Paint::Colours).join("\n");
    assert!(
        coloured.starts_with("app: \x1b[32mserving\x1b[0m, generation 8"),
        "{coloured}"
    );
    assert!(
        coloured.contains("123  \x1b[32mserving\x1b[0m   2m 10s"),
        "{coloured}"
    );
    assert!(
        coloured.contains("last reload: \x1b[32mok\x1b[0m, "),
        "{coloured}"
    );
    assert!(coloured.contains(" 99  \x1b[33mdraining\x1b[0m"), "{coloured}");
    let plain = ["\x1b[0m", "\x1b[32m", "\x1b[33m"]
        .iter()
        .fold(coloured, |text, sequence| text.replace(sequence, ""));
    assert_eq!(plain, lines(Paint::Plain).join("\n"));
}

#[test]
fn a_whole_screen_tells_what_is_under_way() {
    let seen = Seen {
        status: status(),
        supervisor: None,
    };
    let lines = viewer(View::Table, Showing::Once).whole_screen(&seen, 80, now());
    assert_eq!(lines[1..3], ["draining: the old version finishes", ""]);
}

use super::values::{DEFAULT_TIMEOUT, Times};
use super::*;
use span::Span;

const SECOND: Duration = Duration::from_secs(1);

/// A unit that is right for an instance `app`.
const FITTING: &str = "\
[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=main
ExecStart=/usr/bin/segue run --name app --config /etc/segue/app.toml
ExecReload=/usr/bin/segue reload --name app
ExecStop=/usr/bin/segue cleanup --name app
ExecStopPost=/usr/bin/segue cleanup --name app
KillMode=process
Restart=always
FileDescriptorStoreMax=4096
RuntimeDirectory=segue/app app
RuntimeDirectoryPreserve=restart
OOMPolicy=continue
TimeoutStartSec=61
TimeoutStopSec=infinity
";

fn values(text: &str) -> Result<Values, String> {
    let mut unit = UnitText::default();
    unit.append(text)?;
    Values::of_text(&unit)
}

fn fitting() -> Values {
    values(FITTING).unwrap()
}

fn needs() -> Needs {
    Needs {
        name: "other".to_owned(),
        has_own_control: false,
        reload: Some(60 * SECOND),
        stop: Some(30 * SECOND),
    }
}

fn notes(values: &Values, needs: Needs) -> Vec<String> {
    notes::notes(values, &needs)
}

#[test]
fn a_unit_that_fits_is_not_worth_a_word() {
    assert_eq!(notes(&fitting(), needs()), [""; 0]);
    let reload = Values {
        kind: "notify-reload".to_owned(),
        ..fitting()
    };
    assert_eq!(notes(&reload, needs()), [""; 0]);
}

#[test]
fn each_value_that_does_not_fit_is_named() {
    // Each line takes the place of all that was said before of the same thing, and is worth one note that begins so.
    let cases = [
        ("[Service]\nType=simple", "Type=simple: "),
        ("[Service]\nNotifyAccess=none", "NotifyAccess=none: "),
        // Equal is not above.
        (
            "[Service]\nTimeoutStartSec=60",
            "TimeoutStartSec=60s ends reloads that may take 60s (drain in queue mode, start, probe and soak together)",
        ),
        (
            "[Service]\nTimeoutStopSec=30",
            "TimeoutStopSec=30s kills an app that may drain for 30s (the stop timeout)",
        ),
        ("[Unit]\nStartLimitIntervalSec=10", "StartLimitIntervalSec=10s: "),
        (
            "[Service]\nExecStart=\nExecStart=/usr/bin/shop --segue run --name app",
            "ExecStart= does not run ",
        ),
        (
            "[Service]\nExecReload=\nExecReload=kill -HUP $MAINPID",
            "ExecReload= does not run ",
        ),
        ("[Service]\nExecStop=", "ExecStop= does not run "),
        ("[Service]\nExecStopPost=", "ExecStopPost= does not run "),
        ("[Service]\nKillMode=control-group", "KillMode=control-group: "),
        ("[Service]\nKillMode=none", "KillMode=none: "),
        ("[Service]\nKillSignal=SIGQUIT", "KillSignal=SIGQUIT: "),
        ("[Service]\nSendSIGHUP=yes", "SendSIGHUP=yes: "),
        ("[Service]\nOOMPolicy=stop", "OOMPolicy=stop: "),
        ("[Service]\nRestart=no", "Restart=no: "),
        (
            "[Service]\nFileDescriptorStoreMax=0",
            "FileDescriptorStoreMax=0: ",
        ),
        (
            "[Service]\nRuntimeDirectoryPreserve=no",
            "RuntimeDirectoryPreserve=no: ",
        ),
        ("[Service]\nRuntimeDirectory=", "RuntimeDirectory= is not set: "),
        (
            "[Service]\nRuntimeDirectory=\nRuntimeDirectory=app segue/other",
            "RuntimeDirectory=app: ",
        ),
        ("[Service]\nPIDFile=/run/app.pid", "PIDFile=/run/app.pid: "),
        ("[Service]\nRemainAfterExit=yes", "RemainAfterExit=yes: "),
    ];
    for (change, start) in cases {
        let values = values(&format!("{FITTING}{change}\n")).unwrap();
        let notes = notes(&values, needs());
        assert_eq!(notes.len(), 1, "{change}: {notes:?}");
        assert!(notes[0].starts_with(start), "{change}: {notes:?}");
    }
}

#[test]
fn where_the_app_ends_with_its_supervisor_nothing_is_adopted() {
    let mixed = format!(
        "{FITTING}[Service]\nKillMode=mixed\nFileDescriptorStoreMax=0\nRuntimeDirectoryPreserve=no\nExecStop=\nExecStopPost=\n"
    );
    assert_eq!(notes(&values(&mixed).unwrap(), needs()), [""; 0]);
}

#[test]
fn a_control_socket_of_its_own_needs_no_runtime_directory() {
    let elsewhere = values(&format!("{FITTING}[Service]\nRuntimeDirectory=\n")).unwrap();
    let needs = Needs {
        has_own_control: true,
        ..needs()
    };
    assert_eq!(notes(&elsewhere, needs), [""; 0]);
}

#[test]
fn a_wait_without_end_needs_a_unit_without_end() {
    let endless = Needs {
        reload: None,
        stop: None,
        ..needs()
    };
    let notes = notes(&fitting(), endless);
    assert!(notes[0].contains("may take infinity"), "{notes:?}");
    assert_eq!(notes.len(), 1);
}

#[test]
fn a_unit_file_is_read_as_systemd_reads_it() {
    let text = "\
[Unit]
Type=oneshot
StartLimitIntervalSec = 0
[Service]
; Type=forking
# Type=forking
Type=simple
Type = notify
ExecStart=/usr/bin/segue run \\
    --config /etc/segue/app.toml
TimeoutStartSec=0
TimeoutStopSec=1min 30s
[X-Ours]
Type=dbus
";
    let read = values(text).unwrap();
    assert_eq!((read.kind.as_str(), read.access.as_str()), ("notify", ""));
    assert_eq!(
        read.commands.start,
        "/usr/bin/segue run      --config /etc/segue/app.toml\n"
    );
    assert_eq!(
        read.times,
        Times {
            start: Span::Endless,
            stop: Span::Of(90 * SECOND),
            start_limit: Span::Of(Duration::ZERO),
        }
    );
    let both = values("[Service]\nTimeoutSec=5\nTimeoutStopSec=\n").unwrap();
    assert_eq!(
        (both.times.start, both.times.stop),
        (Span::Of(5 * SECOND), DEFAULT_TIMEOUT)
    );
    assert_eq!(
        values("[Service]\nTimeoutStopSec=soon").unwrap_err(),
        "TimeoutStopSec: not a time span: \"soon\""
    );
}

#[test]
fn drop_ins_win_in_the_order_of_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("app.service");
    let drop_ins = directory.path().join("app.service.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::write(&unit, "[Service]\nType=simple\nTimeoutSec=1\n").unwrap();
    std::fs::write(drop_ins.join("20-b.conf"), "[Service]\nTimeoutStopSec=20\n").unwrap();
    std::fs::write(
        drop_ins.join("10-a.conf"),
        "[Service]\nType=notify\nTimeoutStopSec=10\n",
    )
    .unwrap();
    std::fs::write(drop_ins.join("30-c.conf.off"), "[Service]\nTimeoutStopSec=30\n").unwrap();
    let values = of_file(unit.to_str().unwrap()).unwrap();
    assert_eq!(
        (values.kind.as_str(), values.times.start, values.times.stop),
        ("notify", Span::Of(SECOND), Span::Of(20 * SECOND))
    );
    let missing = check(&format!("{}/none", directory.path().display()), &needs()).unwrap_err();
    assert!(missing.ends_with("none: no such file or directory"), "{missing}");
}

#[test]
fn a_unit_that_starts_something_else_is_told_how_it_comes_below_segue() {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("web.service");
    let path = unit.to_str().unwrap();
    let told = |text: &str| {
        std::fs::write(&unit, text).unwrap();
        foreign(path)
    };
    let line = format!(
        "unit {path}: its ExecStart= does not start segue; `segue init --unit {path}` shows what takes it below segue"
    );
    let plain = "[Service]\nExecStart=/usr/bin/web --port 80\n";
    assert_eq!(told(plain).as_deref(), Some(line.as_str()));
    // With settings at hand it is a note among others.
    assert_eq!(check(path, &needs()).unwrap()[0], line);
    for ours in [
        "[Service]\nExecStart=/usr/bin/segue run -- /usr/bin/web\n",
        "[Service]\nExecStart=/srv/start-below-segue.sh\n",
        "[Service]\nType=notify\n",
        "no unit",
    ] {
        assert_eq!(told(ours), None, "{ours}");
    }
}

#[test]
fn what_systemctl_shows_is_read() {
    let answer = "Type=notify\nTimeoutStartUSec=1min 30s\nTimeoutStopUSec=infinity\nNotifyAccess=main\nLoadState=loaded\nStartLimitIntervalUSec=10s\n";
    let values = show::read(answer).unwrap();
    assert_eq!(
        (values.times.start, values.times.stop, values.times.start_limit),
        (Span::Of(90 * SECOND), Span::Endless, Span::Of(10 * SECOND))
    );
    assert_eq!(show::read("LoadState=not-found\n").unwrap_err(), "not-found");
    assert_eq!(
        show::read("").unwrap_err(),
        "systemctl does not tell of it; where no systemd runs, name its file, as in ./app.service"
    );
}

#[test]
fn time_spans_are_those_of_systemd() {
    let millis = |text| match Span::parse(text) {
        Ok(Span::Of(time)) => Some(time.as_millis()),
        Ok(Span::Endless) | Err(_) => None,
    };
    let good = [
        ("90", 90_000),
        ("1min 30s", 90_000),
        ("1min30s", 90_000),
        ("1.5h", 5_400_000),
        // As `systemd-analyze timespan` has them.
        ("5M", 13_149_000_000),
        ("2months", 5_259_600_000),
        ("5m", 300_000),
        ("+90s", 90_000),
        ("1h+5min", 3_900_000),
        (".5s", 500),
        ("1.2345678s", 1_234),
        ("0.25s", 250),
        ("500ms", 500),
        ("2 hours 5 sec", 7_205_000),
        ("1d 1us", 86_400_000),
        ("0", 0),
    ];
    for (text, expected) in good {
        assert_eq!(millis(text), Some(expected), "{text}");
    }
    for text in [
        "",
        "s",
        "1x",
        "-1",
        "1..5s",
        "one",
        "1e400",
        "99999999999999999999",
        "5.",
        "+ 5s",
        "1h -5min",
        "5S",
    ] {
        assert!(Span::parse(text).is_err(), "{text}");
    }
    assert_eq!(Span::parse("infinity"), Ok(Span::Endless));
}

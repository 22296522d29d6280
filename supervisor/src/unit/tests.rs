use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn values(text: &str) -> Result<Values, String> {
    let mut values = Values::unset();
    file::apply(text, &mut values).map(|()| values)
}

fn fitting() -> Values {
    Values {
        kind: "notify".to_owned(),
        access: "main".to_owned(),
        start: Span::Of(61 * SECOND),
        stop: Span::Endless,
        start_limit: Span::Of(Duration::ZERO),
    }
}

fn needs() -> Needs {
    Needs {
        reload: Some(60 * SECOND),
        stop: Some(30 * SECOND),
    }
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
    let note = |change: fn(&mut Values)| {
        let mut values = fitting();
        change(&mut values);
        let notes = notes(&values, needs());
        assert_eq!(notes.len(), 1, "{notes:?}");
        notes[0].clone()
    };
    assert!(note(|values| values.kind = "simple".to_owned()).starts_with("Type=simple: "));
    assert!(note(|values| values.access = "none".to_owned()).starts_with("NotifyAccess=none: "));
    // Equal is not above.
    assert_eq!(
        note(|values| values.start = Span::Of(60 * SECOND)),
        "TimeoutStartSec=60s ends reloads that may take 60s (drain in queue mode, start, probe and soak together)"
    );
    assert_eq!(
        note(|values| values.stop = Span::Of(30 * SECOND)),
        "TimeoutStopSec=30s kills an app that may drain for 30s (the stop timeout)"
    );
    assert!(
        note(|values| values.start_limit = Span::Of(10 * SECOND)).starts_with("StartLimitIntervalSec=10s: ")
    );
}

#[test]
fn a_wait_without_end_needs_a_unit_without_end() {
    let endless = Needs {
        reload: None,
        stop: None,
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
    let expected = Values {
        kind: "notify".to_owned(),
        access: String::new(),
        start: Span::Endless,
        stop: Span::Of(90 * SECOND),
        start_limit: Span::Of(Duration::ZERO),
    };
    assert_eq!(values(text), Ok(expected));
    let both = values("[Service]\nTimeoutSec=5\nTimeoutStopSec=\n").unwrap();
    assert_eq!((both.start, both.stop), (Span::Of(5 * SECOND), DEFAULT_TIMEOUT));
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
    let values = file::read(&unit).unwrap();
    assert_eq!(
        (values.kind.as_str(), values.start, values.stop),
        ("notify", Span::Of(SECOND), Span::Of(20 * SECOND))
    );
    let missing = check(&format!("{}/none", directory.path().display()), needs()).unwrap_err();
    assert!(missing.ends_with("none: no such file or directory"), "{missing}");
}

#[test]
fn what_systemctl_shows_is_read() {
    let answer = "Type=notify\nTimeoutStartUSec=1min 30s\nTimeoutStopUSec=infinity\nNotifyAccess=main\nLoadState=loaded\nStartLimitIntervalUSec=10s\n";
    let values = show::read(answer).unwrap();
    assert_eq!(
        (values.start, values.stop, values.start_limit),
        (Span::Of(90 * SECOND), Span::Endless, Span::Of(10 * SECOND))
    );
    assert_eq!(show::read("LoadState=not-found\n").unwrap_err(), "not-found");
    assert_eq!(show::read("").unwrap_err(), "systemctl show does not tell");
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

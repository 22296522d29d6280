//! What is replaced, what stays, and what each protocol says.

use super::placeholders::check;
use super::*;

fn told() -> [Told<'static>; 2] {
    [
        Told {
            name: "http",
            fd: 3,
            address: OsStr::new("[::]:8080"),
            port: Some(8080),
        },
        Told {
            name: "admin",
            fd: 4,
            address: OsStr::new("/run/admin.sock"),
            port: None,
        },
    ]
}

/// Those of the first worker of generation 7.
fn values<'a>(listeners: &'a [Told<'a>]) -> Values<'a> {
    Values {
        listeners,
        generation: 7,
        worker: 0,
        runtime: None,
        acks: Some(Path::new("/run/7.0.0e")),
    }
}

fn filled(text: &str) -> Result<String, String> {
    let listeners = told();
    let values = Values {
        worker: 1,
        runtime: Some(Path::new("/run/own")),
        ..values(&listeners)
    };
    fill(OsStr::new(text), &values).map(|text| text.into_string().unwrap())
}

fn known() -> [Known; 2] {
    told().map(|told| Known {
        name: told.name.to_owned(),
        has_port: told.port.is_some(),
    })
}

#[test]
fn only_the_exact_forms_are_replaced() {
    for (text, wanted) in [
        ("--fd {fd:http}", "--fd 3"),
        ("fd@{fd:admin}", "fd@4"),
        ("{address:http} {address:admin}", "[::]:8080 /run/admin.sock"),
        ("{port:http}{generation}{worker}", "808071"),
        ("{runtime}/sock", "/run/own/sock"),
        ("${generation} ${fd:http}", "${generation} ${fd:http}"),
        (r#"{"worker": {worker}}"#, r#"{"worker": 1}"#),
        ("{{worker}}", "{1}"),
        (
            "{ worker } {Worker} {fd} {fd:} {}",
            "{ worker } {Worker} {fd} {fd:} {}",
        ),
        ("{name:http} {fd:a:b} {worker", "{name:http} {fd:a:b} {worker"),
        ("awk '{print $1}' {fd:http}", "awk '{print $1}' 3"),
        ("", ""),
    ] {
        assert_eq!(filled(text).as_deref(), Ok(wanted), "{text}");
    }
}

#[test]
fn bytes_that_are_no_text_stay() {
    use std::os::unix::ffi::OsStrExt as _;
    let listeners = told();
    let values = values(&listeners);
    let text = OsStr::from_bytes(b"\xff{fd:\xff}{worker}\xfe");
    assert_eq!(fill(text, &values).unwrap().as_bytes(), b"\xff{fd:\xff}0\xfe");
}

#[test]
fn a_listener_that_is_not_there_is_named() {
    let refused = |text: &str| check(OsStr::new(text), &known()).unwrap_err();
    assert_eq!(
        refused("{fd:https}"),
        "{fd:https}: no listener is called https (there is http, admin)"
    );
    assert_eq!(refused("{port:admin}"), "{port:admin}: a Unix socket has no port");
    assert_eq!(check(OsStr::new("{fd:http} ${fd:nope} {fd}"), &known()), Ok(()));
    assert_eq!(
        check(OsStr::new("{port:http}"), &[]).unwrap_err(),
        "{port:http}: no listener is called http (there is none)"
    );
    assert!(filled("{fd:nope}").is_err());
    assert!(has_runtime(OsStr::new("a {runtime}")) && !has_runtime(OsStr::new("${runtime}")));
}

#[test]
fn random_text_without_placeholders_stays_as_it_is() {
    let mut dice = fastrand::Rng::with_seed(14);
    for _ in 0..crate::trials::cases(20_000) {
        let signs = b"{}$:fd worker0";
        let text: Vec<u8> = (0..dice.usize(..20))
            .map(|_| signs[dice.usize(..signs.len())])
            .collect();
        let text = String::from_utf8(text).unwrap();
        let has_any = ["{worker}", "{fd:"].iter().any(|form| text.contains(form));
        if !has_any {
            assert_eq!(filled(&text).as_deref(), Ok(text.as_str()));
        } else {
            let _ = filled(&text);
        }
    }
}

#[test]
fn each_protocol_says_the_same_in_its_own_words() {
    let listeners = told();
    let values = values(&listeners);
    let said = |protocol: Protocol| {
        let variables = protocol.variables(&values, Pid::from_raw(99));
        let text = |(name, value): (String, OsString)| format!("{name}={}", value.display());
        variables.into_iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(said(Protocol::Systemd), [""; 0]);
    assert_eq!(
        said(Protocol::ServerStarter),
        [
            "SERVER_STARTER_PORT=[::]:8080=3;/run/admin.sock=4",
            "SERVER_STARTER_GENERATION=7"
        ]
    );
    assert_eq!(
        said(Protocol::Einhorn),
        [
            "EINHORN_FD_0=3",
            "EINHORN_FD_FAMILY_0=AF_INET6",
            "EINHORN_FD_1=4",
            "EINHORN_FD_FAMILY_1=AF_UNIX",
            "EINHORN_CHILD_INDEX=0",
            "EINHORN_FD_COUNT=2",
            "EINHORN_MASTER_PID=99",
            "EINHORN_SOCK_PATH=/run/7.0.0e"
        ]
    );
    assert_eq!(said(Protocol::Nginx), ["NGINX=3;4;"]);
    assert_eq!(
        said(Protocol::PhpFpm),
        ["FPM_SOCKETS=[::]:8080=3,/run/admin.sock=4"]
    );
}

//! Settings of every kind, left by one supervisor to the next as a command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::settings;
use crate::config::{
    self, Invocation, Limit, ListenPid, LogFormat, Mode, Orphaned, Ready, Settings, StopSignalTo,
    parse_stop_signal, resolve, to_arguments,
};

const CASES: u32 = 3_000;

fn maybe<T>(dice: &mut fastrand::Rng, make: impl FnOnce(&mut fastrand::Rng) -> T) -> Option<T> {
    dice.bool().then(|| make(dice))
}

/// Any bytes but NUL, at least one, and now and then what looks like a flag.
fn bytes(dice: &mut fastrand::Rng) -> OsString {
    let words = ["--", "-x", "--listen=1", "a b", "=", "\n", "ü"];
    if dice.u8(..4) == 0 {
        return words[dice.usize(..words.len())].into();
    }
    OsString::from_vec((0..dice.usize(1..9)).map(|_| dice.u8(1..)).collect())
}

fn limit(dice: &mut fastrand::Rng) -> Limit {
    Limit(maybe(dice, |dice| {
        Duration::from_millis(dice.u64(1_000..9_000_000))
    }))
}

fn text(dice: &mut fastrand::Rng) -> String {
    (0..dice.usize(1..9)).map(|_| dice.alphanumeric()).collect()
}

fn any_settings(dice: &mut fastrand::Rng) -> Settings {
    let listeners = [
        "8080,sockets=4",
        "web=*:8081,backlog=5,no-delay,keep-alive=no",
        "a b=unix:/run/x y.sock,mode=0600,user=app",
        "unix:@-abstract",
        "udp:[::1]:53,receive-buffer=1M,timestamping=ns",
        "unix-seqpacket:./--x",
        "localhost:0,bind-ipv6-only=default",
    ];
    let ready = match dice.u8(..3) {
        0 => None,
        1 => Some(Ready::Notify),
        _ => Some(Ready::Exec(Duration::from_millis(dice.u64(..900)))),
    };
    let workers = maybe(dice, |dice| dice.u16(1..=config::MAX_WORKERS));
    let mode = maybe(dice, |dice| if dice.bool() { Mode::Overlap } else { Mode::Queue });
    Settings {
        name: maybe(dice, text),
        control: maybe(dice, |dice| bytes(dice).into()),
        control_group: maybe(dice, text),
        pid_file: maybe(dice, |dice| bytes(dice).into()),
        log_format: maybe(dice, |dice| {
            if dice.bool() {
                LogFormat::Text
            } else {
                LogFormat::Json
            }
        }),
        listen: (listeners.iter().filter(|_| dice.bool()))
            .map(|spec| spec.parse().unwrap())
            .collect(),
        command: std::iter::once(OsString::from(format!("./{}", text(dice))))
            .chain((0..dice.usize(..4)).map(|_| if dice.u8(..5) == 0 { "".into() } else { bytes(dice) }))
            .collect(),
        workers,
        mode,
        ready,
        start_timeout: maybe(dice, limit),
        drain_timeout: maybe(dice, limit),
        stop_timeout: maybe(dice, limit),
        extend_limit: maybe(dice, limit),
        accept_timeout: maybe(dice, limit),
        probation: maybe(dice, limit),
        probe: maybe(dice, |dice| format!("-{}\n'{}'", text(dice), text(dice))),
        probe_timeout: maybe(dice, limit),
        soak: maybe(dice, |dice| Duration::from_millis(dice.u64(..99_999))),
        watchdog: match ready {
            Some(Ready::Exec(_)) => None,
            Some(Ready::Notify) | None => maybe(dice, limit),
        },
        rolling: match mode {
            Some(Mode::Queue) => None,
            Some(Mode::Overlap) | None => maybe(dice, |dice| dice.u16(1..=workers.unwrap_or(1))),
        },
        max_generations: maybe(dice, |dice| dice.u16(2..1_000)),
        min_free_memory: maybe(dice, |dice| dice.u64(1..)),
        oom_score_adj: maybe(dice, |dice| dice.i16(-1000..=1000)),
        stop_signal: maybe(dice, |dice| {
            let names = ["TERM", "QUIT", "WINCH", "USR1", "INT"];
            parse_stop_signal(names[dice.usize(..names.len())]).unwrap()
        }),
        stop_signal_to: maybe(dice, |dice| {
            if dice.bool() {
                StopSignalTo::Main
            } else {
                StopSignalTo::All
            }
        }),
        env: (0..dice.usize(..4))
            .map(|_| {
                (
                    text(dice).into(),
                    if dice.bool() { "".into() } else { bytes(dice) },
                )
            })
            .collect(),
        env_file: Vec::new(),
        stderr: maybe(dice, |dice| PathBuf::from(bytes(dice))),
        chdir: maybe(dice, |dice| PathBuf::from(bytes(dice))),
        umask: maybe(dice, |dice| dice.u32(..=0o777)),
        user: maybe(dice, text),
        group: maybe(dice, text),
        listen_pid: maybe(dice, |dice| {
            if dice.bool() {
                ListenPid::Set
            } else {
                ListenPid::LeftOut
            }
        }),
        orphaned: maybe(dice, |dice| {
            if dice.bool() {
                Orphaned::ServesOn
            } else {
                Orphaned::Stops
            }
        }),
        watch: maybe(dice, |dice| bytes(dice).into()),
    }
}

#[test]
fn the_settings_that_were_left_are_those_that_come_back() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    for _ in 0..CASES {
        let invocation = Invocation {
            config: None,
            settings: any_settings(&mut dice),
        };
        let config = resolve(&invocation).unwrap();
        let arguments = to_arguments(&config);
        let mut again = settings(arguments.clone()).unwrap_or_else(|error| panic!("{error}: {arguments:?}"));
        // Whether the name was given does not matter any more once it is there.
        again.name_origin = config.name_origin;
        assert_eq!(again, config, "{arguments:?}");
    }
}

#[test]
fn what_this_version_does_not_know_is_named() {
    let error = settings(vec!["--from-tomorrow=1".into(), "--".into(), "./app".into()]).unwrap_err();
    assert!(error.contains("--from-tomorrow"), "{error}");
}

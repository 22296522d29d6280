//! Presets for known servers (`--app`), and a line of advice where one of them is started without its preset.
//!
//! A preset is a set of defaults: every flag and key that is given wins over it.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use nix::sys::signal::Signal;

use super::settings::Ready;
use super::{defaults, signal};
use crate::activation::Protocol;
use crate::address::{Key, ListenSpec};

/// A value of `--app`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum App {
    /// The presets are to be printed; nothing is started.
    List,
    /// This one.
    Known(&'static Preset),
}

/// What O_NONBLOCK should be when a server gets its listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    /// It sets what it needs.
    Own,
    /// It believes that it is set.
    Set,
    /// It fails if it is set.
    Clear,
}

/// Whether a server can be given the probe's listener beside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SecondSocket {
    /// It serves it, or leaves it alone.
    Takes,
    /// It refuses to start, or closes it and removes its path.
    Refuses,
}

/// The settings that suit one server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Preset {
    name: &'static str,
    /// The file names of its program.
    programs: &'static [&'static str],
    pub(super) protocol: Protocol,
    pub(super) ready: Ready,
    pub(super) stop_signal: Signal,
    flag: Flag,
    second_socket: SecondSocket,
    /// How its command line takes the socket, and what else to know.
    note: &'static str,
    /// Why it needs its preset, for people who start it without; empty if it does not.
    advice: &'static str,
}

/// What most servers are.
const COMMON: Preset = Preset {
    name: "",
    programs: &[],
    protocol: Protocol::Systemd,
    ready: Ready::Accepting,
    stop_signal: defaults::STOP_SIGNAL,
    flag: Flag::Own,
    second_socket: SecondSocket::Takes,
    note: "",
    advice: "",
};

/// In the order of their names.
static PRESETS: &[Preset] = &[
    Preset {
        name: "aiohttp",
        note: "in code: run_app(sock=...)",
        ..COMMON
    },
    Preset {
        name: "daphne",
        programs: &["daphne"],
        note: "--fd {fd:http}, TCP only",
        ..COMMON
    },
    Preset {
        name: "dockerd",
        programs: &["dockerd"],
        ready: Ready::Notify,
        note: "-H fd://",
        ..COMMON
    },
    Preset {
        name: "go",
        note: "in code: net.FileListener; the drain of the guide",
        ..COMMON
    },
    Preset {
        name: "gunicorn",
        programs: &["gunicorn"],
        ready: Ready::Notify,
        note: "takes all sockets by itself",
        ..COMMON
    },
    Preset {
        name: "haproxy",
        programs: &["haproxy"],
        ready: Ready::Notify,
        stop_signal: Signal::SIGUSR1,
        note: "`bind fd@3`, started with -Ws",
        advice: "drains at USR1, not at TERM",
        ..COMMON
    },
    Preset {
        name: "hypercorn",
        programs: &["hypercorn"],
        note: "--bind fd://{fd:http}",
        ..COMMON
    },
    Preset {
        name: "journal-gatewayd",
        programs: &["systemd-journal-gatewayd"],
        second_socket: SecondSocket::Refuses,
        note: "takes one socket by itself",
        ..COMMON
    },
    Preset {
        name: "lighttpd",
        programs: &["lighttpd"],
        stop_signal: Signal::SIGINT,
        note: "server.systemd-socket-activation = \"enable\"",
        advice: "drains at INT, and cuts at TERM",
        ..COMMON
    },
    Preset {
        name: "nginx",
        programs: &["nginx"],
        protocol: Protocol::Nginx,
        stop_signal: Signal::SIGQUIT,
        flag: Flag::Set,
        second_socket: SecondSocket::Refuses,
        note: "`listen` as the socket's address; -g 'daemon off;'",
        advice: "drains at QUIT, cuts at TERM, and takes its sockets by NGINX=",
        ..COMMON
    },
    Preset {
        name: "node",
        programs: &["node", "nodejs"],
        note: "in code: listen({ fd: 3 }); the drain of the guide",
        ..COMMON
    },
    Preset {
        name: "php-fpm",
        programs: &[
            "php-fpm",
            "php-fpm7.4",
            "php-fpm8.1",
            "php-fpm8.2",
            "php-fpm8.3",
            "php-fpm8.4",
        ],
        protocol: Protocol::PhpFpm,
        ready: Ready::Notify,
        stop_signal: Signal::SIGQUIT,
        flag: Flag::Clear,
        second_socket: SecondSocket::Refuses,
        note: "`listen` as the socket's address; --nodaemonize",
        advice: "drains at QUIT, cuts at TERM, and takes its sockets by FPM_SOCKETS=",
    },
    Preset {
        name: "podman",
        programs: &["podman"],
        ready: Ready::Notify,
        second_socket: SecondSocket::Refuses,
        note: "podman system service, one socket",
        ..COMMON
    },
    Preset {
        name: "puma",
        programs: &["puma"],
        second_socket: SecondSocket::Refuses,
        note: "-b tcp://{address:http}",
        ..COMMON
    },
    Preset {
        name: "starman",
        programs: &["starman", "start_server"],
        protocol: Protocol::ServerStarter,
        stop_signal: Signal::SIGQUIT,
        note: "takes its sockets by SERVER_STARTER_PORT",
        advice: "drains at QUIT, and takes its sockets by SERVER_STARTER_PORT",
        ..COMMON
    },
    Preset {
        name: "tornado",
        note: "in code: add_socket(...)",
        ..COMMON
    },
    Preset {
        name: "unicorn",
        programs: &["unicorn", "unicorn_rails"],
        stop_signal: Signal::SIGQUIT,
        note: "-l {address:http}",
        advice: "drains at QUIT, and cuts at TERM",
        ..COMMON
    },
    Preset {
        name: "uvicorn",
        programs: &["uvicorn"],
        note: "--fd {fd:http}, one socket",
        ..COMMON
    },
    Preset {
        name: "uwsgi",
        programs: &["uwsgi"],
        ready: Ready::Notify,
        stop_signal: Signal::SIGINT,
        note: "--http-socket fd://{fd:http}",
        advice: "takes TERM for a reload of its own, unless it has --die-on-term",
        ..COMMON
    },
    Preset {
        name: "waitress",
        programs: &["waitress-serve"],
        stop_signal: Signal::SIGINT,
        note: "in code: serve(app, sockets=[...])",
        ..COMMON
    },
];

/// Servers that take no socket from anybody, in the version that was tried.
const WITHOUT: &[(&str, &str)] = &[
    ("apache2", "2.4"),
    ("granian", "2.8.9"),
    ("memcached", "1.6.18"),
    ("mosquitto", "2.0.11"),
    ("redis-server", "7.0.15"),
    ("varnishd", "7.1.1"),
];

impl App {
    /// Reads the value of the flag.
    ///
    /// # Errors
    /// One line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "list" {
            return Ok(Self::List);
        }
        Self::parse_key(text)
    }

    /// Reads the value of the key: in a file nothing can be listed.
    ///
    /// # Errors
    /// One line.
    pub(crate) fn parse_key(text: &str) -> Result<Self, String> {
        let found = PRESETS.iter().find(|preset| preset.name == text);
        found.map(Self::Known).ok_or_else(|| {
            format!(
                "there is no preset {} (`segue run --app list` prints them)",
                super::text::quoted(text)
            )
        })
    }

    /// As it was given.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Known(preset) => preset.name,
        }
    }

    /// Its settings.
    pub(super) fn preset(self) -> Option<&'static Preset> {
        match self {
            Self::List => None,
            Self::Known(preset) => Some(preset),
        }
    }

    /// Any of them, for tests.
    #[cfg(test)]
    pub(super) fn any(dice: &mut fastrand::Rng) -> Self {
        Self::Known(&PRESETS[dice.usize(..PRESETS.len())])
    }
}

impl Preset {
    /// A listener as this server needs it, unless it says otherwise itself.
    pub(super) fn adapt(&self, spec: &ListenSpec) -> ListenSpec {
        let mut spec = spec.clone();
        if self.needs_non_blocking() && spec.options.flag(Key::NonBlocking).is_none() {
            // A word that every socket takes.
            let _ = spec.options.set(Key::NonBlocking.name(), "true");
        }
        spec
    }

    /// Whether it believes that O_NONBLOCK is set.
    pub(super) fn needs_non_blocking(&self) -> bool {
        self.flag == Flag::Set
    }

    /// Whether it can be given the probe's listener beside its own.
    pub(super) fn takes_second_socket(&self) -> bool {
        self.second_socket == SecondSocket::Takes
    }
}

/// The preset of a program, by its file name.
pub(super) fn known(command: &[OsString]) -> Option<&'static Preset> {
    let program = program(command)?;
    PRESETS
        .iter()
        .find(|preset| preset.programs.iter().any(|name| *name == program))
}

fn program(command: &[OsString]) -> Option<&OsStr> {
    Path::new(command.first()?).file_name()
}

/// One line about a known program that is started without what it needs: `haproxy drains at USR1, not at TERM: --app haproxy`.
/// Nothing is said where the preset, a protocol or a stop signal was given.
pub(super) fn advice(command: &[OsString]) -> Option<String> {
    let program = program(command)?;
    if let Some((name, version)) = WITHOUT.iter().find(|(name, _)| *name == program) {
        return Some(format!(
            "{name} (seen with {version}) binds its address itself and takes no socket: segue has nothing to hand over"
        ));
    }
    let preset = known(command).filter(|preset| !preset.advice.is_empty())?;
    Some(format!(
        "{} {}: --app {}",
        program.display(),
        preset.advice,
        preset.name
    ))
}

/// What `--app list` prints: a line for each preset, its settings in the words of the flags.
pub(crate) fn list() -> String {
    let mut rows = vec![
        [
            "APP",
            "PROTOCOL",
            "READY",
            "STOP",
            "FLAG",
            "HOW IT TAKES THE SOCKET",
        ]
        .map(str::to_owned),
    ];
    for preset in PRESETS {
        let protocol = super::settings::Word::word(preset.protocol);
        let ready = match preset.ready {
            Ready::Auto => "auto",
            Ready::Notify => "notify",
            Ready::Accepting => "accepting",
            Ready::Exec(_) => "exec",
        };
        let flag = match preset.flag {
            Flag::Own => "-",
            Flag::Set => "non-blocking",
            Flag::Clear => "blocking",
        };
        let stop = signal::short_name(preset.stop_signal);
        rows.push([preset.name, protocol, ready, stop, flag, preset.note].map(str::to_owned));
    }
    let mut text = String::new();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        line.push_str(&row[5]);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(program: &str) -> Option<String> {
        advice(&[program.into()])
    }

    #[test]
    fn presets_are_in_the_order_of_their_names_and_no_program_has_two() {
        assert!(PRESETS.is_sorted_by_key(|preset| preset.name));
        let mut programs: Vec<_> = PRESETS.iter().flat_map(|preset| preset.programs).collect();
        let all = programs.len();
        programs.sort_unstable();
        programs.dedup();
        assert_eq!(programs.len(), all);
    }

    #[test]
    fn a_known_program_without_its_preset_gets_one_line() {
        assert_eq!(
            of("/usr/sbin/haproxy").as_deref(),
            Some("haproxy drains at USR1, not at TERM: --app haproxy")
        );
        assert!(of("redis-server").is_some_and(|text| text.contains("takes no socket")));
        assert_eq!(of("./app"), None);
        assert_eq!(of("uvicorn"), None, "it needs none");
    }

    #[test]
    fn every_preset_is_listed_in_a_line_that_fits() {
        let text = list();
        assert_eq!(text.lines().count(), PRESETS.len() + 1);
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    }
}

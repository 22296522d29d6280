//! The Prometheus text exposition format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), written by hand: it is a page of text.
//!
//! No label bears the number of a generation or a pid, since both grow without end.

use std::fmt::{Display, Write};
use std::time::UNIX_EPOCH;

use crate::protocol::{Listener, Outcome, Role, State, Status, Worker, WorkerState, parse_rfc3339};

const STATES: [State; 5] = [
    State::Starting,
    State::Serving,
    State::HandingOff,
    State::BackingOff,
    State::Stopping,
];
const ROLES: [Role; 5] = [
    Role::Candidate,
    Role::Incumbent,
    Role::Lingering,
    Role::Retired,
    Role::Relief,
];
const WORKER_STATES: [WorkerState; 3] = [WorkerState::Starting, WorkerState::Serving, WorkerState::Draining];
const OUTCOMES: [Outcome; 3] = [Outcome::Ok, Outcome::Failed, Outcome::RolledBack];

/// All metrics of one instance.
pub(super) fn render(status: &Status) -> String {
    let mut page = Page {
        text: String::new(),
        name: &status.name,
    };
    supervisor(&mut page, status);
    listeners(&mut page, status);
    generations(&mut page, status);
    last_reload(&mut page, status);
    page.family(
        "segue_restarts_total",
        "counter",
        "Workers started again after a crash.",
    );
    page.sample("segue_restarts_total", &[], status.restarts);
    page.family(
        "segue_rollbacks_total",
        "counter",
        "Reloads that were rolled back.",
    );
    page.sample("segue_rollbacks_total", &[], status.rollbacks);
    page.family(
        "segue_oom_kills_total",
        "counter",
        "Workers that the kernel has killed for memory.",
    );
    page.sample("segue_oom_kills_total", &[], status.oom_kills);
    page.text
}

fn supervisor(page: &mut Page<'_>, status: &Status) {
    page.family("segue_info", "gauge", "The supervisor; always 1.");
    page.sample("segue_info", &[("version", &status.version)], 1);
    page.family("segue_serving", "gauge", "Whether a generation serves.");
    page.sample("segue_serving", &[], u8::from(status.serves()));
    page.family(
        "segue_state",
        "gauge",
        "State of the instance: 1 for the present one.",
    );
    for state in STATES {
        page.sample(
            "segue_state",
            &[("state", state.word())],
            u8::from(state == status.state),
        );
    }
    page.seconds(
        "segue_start_time_seconds",
        "When the supervisor started, in seconds since 1970.",
        Some(&status.since),
    );
    page.family(
        "segue_generation",
        "gauge",
        "The number of the incumbent; absent if there is none.",
    );
    if let Some(generation) = status.generation {
        page.sample("segue_generation", &[], generation);
    }
}

/// What a listener counts, if it is known.
type Count = fn(&Listener) -> Option<u64>;

fn listeners(page: &mut Page<'_>, status: &Status) {
    let alike = |one: &Listener, other: &Listener| one.name == other.name && one.address == other.address;
    // Several sockets on one address are one sample: a series must not occur twice.
    let sum = |first: &Listener, of: Count| {
        let all = status.listeners.iter().filter(|other| alike(first, other));
        all.filter_map(of).reduce(|sum, more| sum + more)
    };
    let mut firsts: Vec<&Listener> = Vec::new();
    for listener in &status.listeners {
        if !firsts.iter().any(|first| alike(first, listener)) {
            firsts.push(listener);
        }
    }
    let families: [(&str, &str, Count); 2] = [
        (
            "segue_listener_queued",
            "Connections that wait to be accepted.",
            |listener| listener.queued,
        ),
        (
            "segue_listener_backlog",
            "How many connections may wait.",
            |listener| listener.backlog.map(u64::from),
        ),
    ];
    for (family, help, of) in families {
        page.family(family, "gauge", help);
        for first in &firsts {
            let labels = [("listener", first.name.as_str()), ("address", &first.address)];
            if let Some(count) = sum(first, of) {
                page.sample(family, &labels, count);
            }
        }
    }
}

fn generations(page: &mut Page<'_>, status: &Status) {
    let of_role = |role: Role| {
        status
            .generations
            .iter()
            .filter(move |generation| generation.role == role)
    };
    let in_state = |role, state: WorkerState| {
        let workers = of_role(role).flat_map(|generation| &generation.workers);
        workers.filter(|worker| worker.state == state).count() as u64
    };
    page.family("segue_generations", "gauge", "Generations that live.");
    for role in ROLES {
        page.sample(
            "segue_generations",
            &[("role", role.word())],
            of_role(role).count() as u64,
        );
    }
    page.family("segue_workers", "gauge", "Workers that live.");
    for role in ROLES {
        for state in WORKER_STATES {
            page.sample(
                "segue_workers",
                &[("role", role.word()), ("state", state.word())],
                in_state(role, state),
            );
        }
    }
    page.family(
        "segue_strays",
        "gauge",
        "Processes that workers have started outside their process groups.",
    );
    for role in ROLES {
        let strays: u64 = of_role(role).map(|generation| generation.strays).sum();
        page.sample("segue_strays", &[("role", role.word())], strays);
    }
    page.family(
        "segue_connections",
        "gauge",
        "Open connections; absent where they cannot be seen.",
    );
    for role in ROLES {
        if let Some(connections) = connections(status, role) {
            page.sample("segue_connections", &[("role", role.word())], connections);
        }
    }
}

/// `None` if one worker's cannot be seen: a sum without it would be too low.
fn connections(status: &Status, role: Role) -> Option<u64> {
    let workers = status
        .generations
        .iter()
        .filter(|generation| generation.role == role)
        .flat_map(|g| &g.workers);
    workers.map(|worker: &Worker| worker.connections).sum()
}

fn last_reload(page: &mut Page<'_>, status: &Status) {
    let last = status.last_reload.as_ref();
    page.family(
        "segue_last_reload",
        "gauge",
        "How the last reload ended: 1 for its outcome.",
    );
    for outcome in OUTCOMES {
        let this = last.is_some_and(|last| last.outcome == outcome);
        page.sample(
            "segue_last_reload",
            &[("outcome", outcome.word())],
            u8::from(this),
        );
    }
    page.family(
        "segue_last_reload_duration_seconds",
        "gauge",
        "How long the last reload took.",
    );
    if let Some(last) = last {
        let (seconds, millis) = (last.duration_ms / 1000, last.duration_ms % 1000);
        page.sample(
            "segue_last_reload_duration_seconds",
            &[],
            format_args!("{seconds}.{millis:03}"),
        );
    }
    let help = "When the last reload ended, in seconds since 1970.";
    page.seconds(
        "segue_last_reload_timestamp_seconds",
        help,
        last.map(|last| last.at.as_str()),
    );
}

struct Page<'a> {
    text: String,
    name: &'a str,
}

/// Writing to a `String` cannot fail.
impl Page<'_> {
    fn family(&mut self, metric: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {metric} {help}\n# TYPE {metric} {kind}");
    }

    /// Every sample bears the instance's name, so that several instances can be scraped into one place.
    fn sample(&mut self, metric: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{metric}{{name=\"{}\"", escape(self.name));
        for (label, text) in labels {
            let _ = write!(self.text, ",{label}=\"{}\"", escape(text));
        }
        let _ = writeln!(self.text, "}} {value}");
    }

    fn seconds(&mut self, metric: &str, help: &str, time: Option<&str>) {
        self.family(metric, "gauge", help);
        let since = time
            .and_then(parse_rfc3339)
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        if let Some(since) = since {
            self.sample(
                metric,
                &[],
                format_args!("{}.{:03}", since.as_secs(), since.subsec_millis()),
            );
        }
    }
}

/// Label values escape the backslash, the quote and the newline.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

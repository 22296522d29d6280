//! What is under way in an instance, in one clause each: a start, a drain.

use std::time::{Duration, SystemTime};

use crate::protocol::{Generation, Probation, Role, Status, Worker, WorkerState, parse_rfc3339};

/// One thing that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UnderWay {
    Start(String),
    Probation(String),
    Linger(String),
    Drain(Drain),
}

impl UnderWay {
    /// In one clause.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Start(text) | Self::Probation(text) | Self::Linger(text) => text.clone(),
            Self::Drain(drain) => drain.text(),
        }
    }
}

/// What is under way: first what a reload waits for, then what drains.
pub(super) fn of(status: &Status, now: SystemTime) -> Vec<UnderWay> {
    let generations = || status.generations.iter();
    let starting = generations().filter_map(|generation| match generation.role {
        Role::Candidate => Some(UnderWay::Start(start(generation, now))),
        Role::Incumbent if generation.probation == Probation::Running => {
            let number = generation.generation;
            let text = format!("probation: generation {number} serves and is not trusted yet");
            Some(UnderWay::Probation(text))
        }
        Role::Incumbent | Role::Lingering | Role::Retired | Role::Relief => None,
    });
    let lingering = generations().filter(|generation| generation.role == Role::Lingering);
    let lingering = lingering.map(|generation| {
        let connections = counted(connections(&generation.workers).unwrap_or_default());
        let number = generation.generation;
        UnderWay::Linger(format!("lingering: generation {number}, {connections}"))
    });
    let drain = Drain::of(status, now).map(UnderWay::Drain);
    starting.chain(lingering).chain(drain).collect()
}

/// What drains, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drain {
    /// None, if they cannot be seen.
    pub(super) connections: Option<u64>,
    /// Until the last of it is killed; none if never.
    left: Option<Duration>,
}

impl Drain {
    pub(super) fn of(status: &Status, now: SystemTime) -> Option<Self> {
        let workers = status.generations.iter().flat_map(|one| &one.workers);
        let draining = workers.filter(|worker| worker.state == WorkerState::Draining);
        let draining: Vec<Worker> = draining.cloned().collect();
        if draining.is_empty() {
            return None;
        }
        Some(Self {
            connections: connections(&draining),
            left: left(&draining, now),
        })
    }

    /// `draining: 14 connections, 22 s left`.
    pub(super) fn text(self) -> String {
        let connections = self.connections.map(counted);
        let connections = connections.unwrap_or_else(|| "the old version finishes".to_owned());
        format!("draining: {connections}{}", left_text(self.left))
    }
}

/// `starting: generation 8, 1 of 2 workers ready, 27 s left`.
fn start(generation: &Generation, now: SystemTime) -> String {
    let all = generation.workers.len();
    let is_starting = |worker: &&Worker| worker.state == WorkerState::Starting;
    let starting: Vec<Worker> = generation.workers.iter().filter(is_starting).cloned().collect();
    let number = generation.generation;
    if starting.is_empty() && all > 0 {
        return format!("starting: generation {number} is ready and takes over");
    }
    let noun = if all == 1 { "worker" } else { "workers" };
    let ready = all - starting.len();
    let left = left_text(left(&starting, now));
    format!("starting: generation {number}, {ready} of {all} {noun} ready{left}")
}

fn connections(workers: &[Worker]) -> Option<u64> {
    let seen: Vec<u64> = workers.iter().filter_map(|worker| worker.connections).collect();
    (!seen.is_empty()).then(|| seen.iter().sum())
}

fn counted(connections: u64) -> String {
    match connections {
        1 => "1 connection".to_owned(),
        _ => format!("{connections} connections"),
    }
}

/// How long the last of these may still take.
fn left(workers: &[Worker], now: SystemTime) -> Option<Duration> {
    let left = workers.iter().filter_map(|worker| {
        let limit = Duration::from_millis(worker.limit_ms?);
        let deadline = parse_rfc3339(&worker.since)?.checked_add(limit)?;
        Some(deadline.duration_since(now).unwrap_or_default())
    });
    left.max()
}

fn left_text(left: Option<Duration>) -> String {
    let Some(left) = left else {
        return String::new();
    };
    match left.as_secs() {
        seconds @ 0..100 => format!(", {seconds} s left"),
        seconds => format!(", {} min left", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{generation, now, status, worker};
    use super::*;

    #[test]
    fn a_drain_tells_its_connections_and_its_time() {
        let mut status = status();
        let drains = |status: &Status| Drain::of(status, now()).unwrap().text();
        assert_eq!(drains(&status), "draining: the old version finishes");
        let old = &mut status.generations[1].workers;
        (old[0].connections, old[0].limit_ms) = (Some(13), Some(34_900));
        old.push(worker(98, WorkerState::Draining, 12, Some(1), None));
        assert_eq!(drains(&status), "draining: 14 connections, 22 s left");
        status.generations[1].workers[0].limit_ms = Some(600_000);
        assert_eq!(drains(&status), "draining: 14 connections, 9 min left");
        status.generations[1].workers[0].limit_ms = Some(1);
        assert_eq!(drains(&status), "draining: 14 connections, 0 s left");
    }

    #[test]
    fn a_start_tells_who_is_ready() {
        let mut status = status();
        let mut young = worker(130, WorkerState::Starting, 3, None, None);
        young.limit_ms = Some(30_000);
        let ready = worker(131, WorkerState::Serving, 1, None, None);
        status
            .generations
            .insert(0, generation(9, Role::Candidate, 3, vec![young, ready.clone()]));
        let expected = [
            "starting: generation 9, 1 of 2 workers ready, 27 s left",
            "draining: the old version finishes",
        ];
        let texts = |status: &Status| of(status, now()).iter().map(UnderWay::text).collect::<Vec<_>>();
        assert_eq!(texts(&status), expected);
        status.generations[0].workers = vec![ready];
        assert_eq!(
            texts(&status)[0],
            "starting: generation 9 is ready and takes over"
        );
    }

    #[test]
    fn nothing_is_under_way_where_one_generation_serves() {
        let mut status = status();
        status.generations.truncate(1);
        assert_eq!(of(&status, now()), []);
        status.generations[0].probation = Probation::Running;
        assert_eq!(of(&status, now()).len(), 1);
    }
}

//! Time limits: those that the unit has given the app are segue's now, and its own are longer.

use std::time::Duration;

use super::{Carried, Service, refusals};
use crate::config::duration;
use crate::unit::{Span, Times, boolean};

/// What a reload may take beside the start and the drain: the probe (`--probe-timeout`, 10 s by default).
const PROBE: Duration = Duration::from_secs(10);

/// What systemd's limit is longer for than all that segue may take, for a busy machine.
const ROOM: Duration = Duration::from_secs(15);

pub(super) fn carry(service: &Service<'_>, carried: &mut Carried) -> Result<(), String> {
    let times = Times::of_text(service.text)?;
    let start = limit(times.start);
    let is_never_killed = service.text.last("Service", "SendSIGKILL").and_then(boolean) == Some(false);
    let (stop, why) = if is_never_killed {
        carried.notes.push(
            "SendSIGKILL=no: segue waits without limit for a generation that stops, as systemd has; one that does not become \
             ready in time is killed"
                .to_owned(),
        );
        let why = "The unit lets nobody kill the app that has not stopped in time (SendSIGKILL=no).";
        (None, why)
    } else {
        let why =
            "As long as the unit has given it to stop (TimeoutStopSec=): the old generation drains in it.";
        (limit(times.stop), why)
    };
    carried.toml.say(
        "As long as the unit has given the app to become ready (TimeoutStartSec=).",
        format!("start-timeout = \"{}\"", text(start)),
    );
    carried
        .toml
        .say(why, format!("drain-timeout = \"{}\"", text(stop)));
    let reload = start
        .zip(stop)
        .map(|(start, stop)| 2 * (start + stop + PROBE) + ROOM);
    carried.service.say(
        "This also bounds a reload: twice (one may wait for the one before it) the sum of drain-timeout (for mode = \
         \"queue\"), start-timeout, probe-timeout (10 s) and soak (0 s), and a little.",
        format!("TimeoutStartSec={}", seconds(reload)),
    );
    carried.service.say(
        "The stop-timeout (the drain-timeout if not set), and a little.",
        format!("TimeoutStopSec={}", seconds(stop.map(|stop| stop + ROOM))),
    );
    watchdog(service, carried)
}

/// systemd's own goes on to watch segue, which feeds it.
fn watchdog(service: &Service<'_>, carried: &mut Carried) -> Result<(), String> {
    let given = service
        .text
        .last("Service", "WatchdogSec")
        .filter(|given| !given.is_empty());
    let speaks = refusals::kind_of(service.text).starts_with("notify");
    let (Some(given), true) = (given, speaks) else {
        return Ok(());
    };
    let span = Span::parse(given).map_err(|why| format!("WatchdogSec: {why}"))?;
    if let Some(time) = limit(span).filter(|time| !time.is_zero()) {
        carried.toml.say(
            "How often the app must say WATCHDOG=1 (WatchdogSec=, which watches segue now).",
            format!("watchdog = \"{}\"", text(Some(time))),
        );
    }
    Ok(())
}

/// Rounded up to milliseconds, the smallest unit of segue.toml.
fn limit(span: Span) -> Option<Duration> {
    match span {
        Span::Of(time) => Some(Duration::from_millis(
            u64::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX),
        )),
        Span::Endless => None,
    }
}

fn text(limit: Option<Duration>) -> String {
    limit.map_or_else(|| "none".to_owned(), duration::text)
}

fn seconds(limit: Option<Duration>) -> String {
    limit.map_or_else(
        || "infinity".to_owned(),
        |limit| format!("{}s", limit.as_millis().div_ceil(1_000)),
    )
}

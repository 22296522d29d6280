//! What the sandbox of the app must leave to segue.

use super::{Carried, Service, is_on};
use crate::unit::UnitText;

pub(super) fn carry(service: &Service<'_>, carried: &mut Carried) {
    let text = service.text;
    let families = text.list("Service", "RestrictAddressFamilies");
    if families.first().is_some_and(|first| !first.starts_with('~')) {
        carried.service.say(
            "Segue speaks to its clients and the app by Unix sockets, and asks the kernel by netlink who has connections.",
            "RestrictAddressFamilies=AF_UNIX AF_NETLINK",
        );
    }
    if !text.list("Service", "NoExecPaths").is_empty() {
        carried.service.say(
            "The unit forbids to execute anything else.",
            format!("ExecPaths={}", service.segue),
        );
    }
    if !can_signal_others(text) {
        carried.service.say(
            "Segue runs as root, and an app that becomes another user gets its signals by this.",
            "CapabilityBoundingSet=CAP_KILL",
        );
    }
    let answer = text.last("Service", "SystemCallErrorNumber");
    if !text.list("Service", "SystemCallFilter").is_empty() && matches!(answer, None | Some("" | "kill")) {
        carried.service.say(
            "After a crash the next supervisor takes a listener back with it that systemd does not keep; the kernel would kill it.",
            "SystemCallFilter=pidfd_getfd",
        );
    }
    carried.service.say(
        "If the kernel kills the app for its memory, segue starts it again; the default would stop the unit.",
        "OOMPolicy=continue",
    );
    let score = text.last("Service", "OOMScoreAdjust");
    if let Some(score) = score
        .and_then(|score| score.parse::<i16>().ok())
        .filter(|score| *score < 0)
    {
        carried.toml.say(
            "The app's own, from OOMScoreAdjust= of the unit; segue itself keeps that.",
            format!("oom-score-adj = {score}"),
        );
    }
}

/// Whether segue may signal a process of any user, if its own is root.
fn can_signal_others(text: &UnitText) -> bool {
    let user = text.last("Service", "User").unwrap_or_default();
    let is_root = matches!(user, "" | "root" | "0") && !is_on(text, "DynamicUser");
    let Some(last) = text.last("Service", "CapabilityBoundingSet") else {
        return true;
    };
    if !is_root {
        return true;
    }
    // The first line says all, or all but these; the others add, or take away (systemd.exec(5)).
    let mut has_it = last.is_empty();
    if has_it {
        return false;
    }
    for (at, line) in text
        .list("Service", "CapabilityBoundingSet")
        .into_iter()
        .enumerate()
    {
        let names = line.strip_prefix('~');
        let is_named = names
            .unwrap_or(line)
            .split_whitespace()
            .any(|name| name.eq_ignore_ascii_case("CAP_KILL"));
        if is_named || at == 0 {
            has_it = is_named != names.is_some();
        }
    }
    has_it
}

//! The socket units of a service.

use super::{Carried, Service};
use crate::unit::{Sources, UnitName, UnitText, boolean};

/// What segue cannot hand over: no sockets.
const FOREIGN: [&str; 4] = [
    "ListenFIFO",
    "ListenSpecial",
    "ListenMessageQueue",
    "ListenUSBFunction",
];

pub(super) fn carry(service: &Service<'_>, carried: &mut Carried) -> Result<(), String> {
    let sockets = find(service)?;
    for (name, text) in &sockets {
        if text.last("Socket", "Accept").and_then(boolean) == Some(true) {
            return Err(format!(
                "{name}: Accept=yes starts one process for each client, and there is nothing to hand over"
            ));
        }
        if let Some(key) = FOREIGN
            .into_iter()
            .find(|key| !text.list("Socket", key).is_empty())
        {
            return Err(format!("{name}: {key}=: segue hands over sockets alone"));
        }
        let mut lines = super::Lines::default();
        lines.say(
            "A service that cannot start is tried again with its own pause; systemd's default limit here would close the \
             sockets instead.",
            "TriggerLimitIntervalSec=0",
        );
        carried.sockets.push((name.full(), lines));
        if !is_asked_for(&name.full(), service.text) && !service.sources.is_in_use(name)? {
            carried.notes.push(format!(
                "{name} is not enabled: until now the app has opened its ports itself. With the drop-in the service starts it, and the \
                 app must take its sockets (LISTEN_FDS; docs/apps.md)",
            ));
        }
    }
    note_bound(service, carried)?;
    if sockets.is_empty() {
        carried.toml.say(
            "The unit has no socket unit: until now the app has opened its ports itself. Segue must own them to hand them over, \
             so give them here, and let the app take them (LISTEN_FDS; docs/apps.md). A port below 1024 needs a socket unit, \
             or root.",
            "# listen = [\"8080\"]",
        );
        carried.notes.push(format!(
            "no socket unit belongs to it: set `listen` in {}, and let the app take the socket",
            service.config
        ));
        return Ok(());
    }
    let names: Vec<String> = sockets.iter().map(|(name, _)| name.full()).collect();
    carried.unit.say(
        "Segue hands over what these open; without them the app would have no socket.",
        format!("Requires={}", names.join(" ")),
    );
    carried.toml.say(
        "The listeners come from the socket units.",
        format!("# {}", names.join(", ")),
    );
    Ok(())
}

/// Those that `Sockets=` names, that of its own name, and those that name it by `Service=`.
fn find(service: &Service<'_>) -> Result<Vec<(UnitName, UnitText)>, String> {
    let sources = service.sources;
    let mut names = Vec::new();
    for word in service
        .text
        .list("Service", "Sockets")
        .iter()
        .flat_map(|list| list.split_whitespace())
    {
        names.push(UnitName::parse(word).map_err(|why| format!("Sockets=: {why}"))?);
    }
    let named = names.clone();
    let own = sources.name.socket();
    let around = sources.sockets_around()?;
    let of_instances = sources.name.instance().map(|_| sources.name.prefix_socket());
    names.push(own.clone());
    names.extend(of_instances.clone());
    names.extend(around);
    let mut found: Vec<(UnitName, UnitText)> = Vec::new();
    for name in names {
        if found.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let Some(socket) = sources.neighbour(&name).map_err(|why| format!("{name}: {why}"))? else {
            continue;
        };
        let text = UnitText::read(socket.files()).map_err(|why| format!("{name}: {why}"))?;
        if named.contains(&name) {
            look_shared(&name, &text, sources)?;
            found.push((name, text));
        } else if belongs(&name, &text, sources, of_instances.as_ref()) {
            found.push((name, text));
        }
    }
    Ok(found)
}

/// Units that the service requires and that end with it: between a crash and the next start systemd stops them, and thereby the
/// service, too. No drop-in takes a dependency back.
fn note_bound(service: &Service<'_>, carried: &mut Carried) -> Result<(), String> {
    let own = service.sources.name.full();
    let words = ["Requires", "BindsTo"]
        .into_iter()
        .flat_map(|key| service.text.list("Unit", key))
        .flat_map(str::split_whitespace);
    for name in words.filter_map(|word| UnitName::parse(word).ok()) {
        let Some(required) = service.sources.neighbour(&name)? else {
            continue;
        };
        let text = UnitText::read(required.files()).map_err(|why| format!("{name}: {why}"))?;
        let bound = text.list("Unit", "BindsTo");
        if bound
            .iter()
            .any(|list| list.split_whitespace().any(|word| word == own))
        {
            carried.notes.push(format!(
                "{name} is bound to the service (BindsTo=), which requires it: if segue is killed, systemd stops both instead of starting \
                 it again, and the app ends"
            ));
        }
    }
    Ok(())
}

/// Whether the service itself starts the socket unit.
fn is_asked_for(socket: &str, text: &UnitText) -> bool {
    let lists = [
        ("Service", "Sockets"),
        ("Unit", "Requires"),
        ("Unit", "Wants"),
        ("Unit", "BindsTo"),
    ];
    let mut words = lists
        .into_iter()
        .flat_map(|(section, key)| text.list(section, key))
        .flat_map(str::split_whitespace);
    words.any(|word| word == socket)
}

/// A service gets what `Sockets=` names, whichever service the socket unit starts (systemd.service(5)).
fn look_shared(name: &UnitName, text: &UnitText, service: &Sources) -> Result<(), String> {
    let other = text
        .last("Socket", "Service")
        .filter(|named| !named.is_empty() && *named != service.name.full());
    match other {
        Some(other) => Err(format!(
            "{name}: Service={other}: it is named by Sockets= here, and starts another service, with which segue cannot share it"
        )),
        None => Ok(()),
    }
}

fn belongs(name: &UnitName, text: &UnitText, service: &Sources, of_instances: Option<&UnitName>) -> bool {
    let own = name.socket() == service.name.socket();
    match text.last("Socket", "Service").filter(|named| !named.is_empty()) {
        Some(named) => named == service.name.full(),
        // Each client of such a socket gets an instance of its own.
        None if of_instances == Some(name) => text.last("Socket", "Accept").and_then(boolean) == Some(true),
        None => own,
    }
}

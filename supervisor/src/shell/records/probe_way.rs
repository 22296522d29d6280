//! The way of a probe to the candidate: through the front door of a steered listener, or through a listener of its own.

use std::rc::Rc;

use crate::config::Config;
use crate::listeners::Listener;
use crate::log::Log;
use crate::shell::records::Records;

/// How a probe comes to a generation with these listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProbeWay {
    /// Through the address that clients use, to the slot of the generation.
    FrontDoor,
    /// Not so, though a listener is steered: why, in one line.
    NoFrontDoor(String),
    /// All generations share their listeners.
    Shared,
}

/// The way to a generation that has one slot of each of these listeners, whichever it is.
pub(super) fn of(listeners: &[Rc<Listener>]) -> ProbeWay {
    let mut way = ProbeWay::Shared;
    for slot in listeners.iter().filter(|listener| listener.is_steered()) {
        match slot.leads_probes_in() {
            Ok(()) => return ProbeWay::FrontDoor,
            Err(why) if way == ProbeWay::Shared => {
                let (name, address) = (slot.name(), slot.address_text());
                way = ProbeWay::NoFrontDoor(format!(
                    "listener {name} ({address}): the probe cannot come through it: {why}"
                ));
            }
            Err(_) => {}
        }
    }
    way
}

/// Which of Segue's variables the text of a probe command names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// `SEGUE_PROBE`.
    Listener,
    /// `SEGUE_PROBE_ADDRESS` or `SEGUE_PROBE_SOURCE`.
    FrontDoor,
    /// Neither: a script of its own, say.
    Neither,
}

fn names(command: &str) -> Names {
    const VARIABLE: &str = "SEGUE_PROBE";
    if command.contains("SEGUE_PROBE_ADDRESS") || command.contains("SEGUE_PROBE_SOURCE") {
        return Names::FrontDoor;
    }
    match command.contains(VARIABLE) {
        true => Names::Listener,
        false => Names::Neither,
    }
}

impl Records {
    /// Say once how the probe comes to the candidate, where that is not as its command or the listeners lead to expect.
    pub(super) fn tell_of_probe_way(&mut self, config: &Config, listeners: &[Rc<Listener>], log: &Log) {
        let Some(command) = &config.probe else { return };
        let Some(text) = what_to_say(command, of(listeners), config.takes_second_socket()) else {
            return;
        };
        if self.told_of_probe_way.as_ref() != Some(&text) {
            log.warning(&text);
            self.told_of_probe_way = Some(text);
        }
    }
}

fn what_to_say(command: &str, way: ProbeWay, takes_second_socket: bool) -> Option<String> {
    match (way, names(command)) {
        (ProbeWay::FrontDoor, Names::Listener) => Some(
            "the probe asks SEGUE_PROBE, which is not set where a listener is steered: it can ask SEGUE_PROBE_ADDRESS from \
             SEGUE_PROBE_SOURCE"
                .to_owned(),
        ),
        (ProbeWay::NoFrontDoor(why), Names::Listener | Names::FrontDoor | Names::Neither) => {
            let instead = match takes_second_socket {
                true => "it has a listener of its own, SEGUE_PROBE",
                false => "the app takes no second socket, so that it must ask in another way",
            };
            Some(format!("{why}; {instead}"))
        }
        (ProbeWay::Shared, Names::FrontDoor) => Some(
            "the probe asks SEGUE_PROBE_ADDRESS, which is set only where a listener is steered (--listen ADDR,steer)".to_owned(),
        ),
        (ProbeWay::FrontDoor, Names::FrontDoor | Names::Neither)
        | (ProbeWay::Shared, Names::Listener | Names::Neither) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_asks_the_wrong_way_is_told() {
        let shared = "curl --unix-socket \"$SEGUE_PROBE\" http://localhost/";
        let front = "curl --interface $SEGUE_PROBE_SOURCE http://$SEGUE_PROBE_ADDRESS/";
        let say = |command: &str, way: ProbeWay| what_to_say(command, way, true);
        assert!(say(shared, ProbeWay::FrontDoor).is_some_and(|text| text.contains("SEGUE_PROBE_ADDRESS")));
        assert!(say(front, ProbeWay::Shared).is_some_and(|text| text.contains("ADDR,steer")));
        for (command, way) in [
            (shared, ProbeWay::Shared),
            (front, ProbeWay::FrontDoor),
            ("./check", ProbeWay::Shared),
            ("./check", ProbeWay::FrontDoor),
        ] {
            assert_eq!(say(command, way.clone()), None, "{command} {way:?}");
        }
        let none = || ProbeWay::NoFrontDoor("no way".to_owned());
        assert_eq!(
            what_to_say("./check", none(), true).as_deref(),
            Some("no way; it has a listener of its own, SEGUE_PROBE")
        );
        assert!(what_to_say("./check", none(), false).is_some_and(|text| text.contains("in another way")));
    }
}

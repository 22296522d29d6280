//! Where each slot of a steered listener stands in the kernel's order, seen from outside (`servers/places.py`): the kernel selects a slot by
//! its place, so a supervisor that is wrong about one sends clients elsewhere.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::process::Process;
use crate::segue::Status;

/// The slots of one listener, each with the generation that has it.
pub type Slots = Vec<(u64, Option<u64>)>;

/// The slots of the listener with this name.
#[must_use]
pub fn slots(status: &Status, name: &str) -> Slots {
    let listeners = status.0["listeners"].as_array().cloned().unwrap_or_default();
    let of_name = listeners.iter().filter(|one| one["name"] == name);
    let slot = |one: &serde_json::Value| Some((one["slot"].as_u64()?, one["generation"].as_u64()));
    of_name.filter_map(slot).collect()
}

/// A listener, and who can tell of it.
pub struct Look<'a> {
    /// The supervisor.
    pub supervisor: i32,
    /// The files in which it writes its state.
    pub state: [PathBuf; 2],
    /// The name of the listener.
    pub name: &'a str,
    /// Its port of 127.0.0.1.
    pub port: u16,
    /// The generation that serves.
    pub serves: u64,
}

impl Look<'_> {
    /// Who is met by a connection to the place where the supervisor believes each slot to stand, and all that the look has said. Where
    /// nobody has the slot, the connection is found in it. Other clients go where they went.
    ///
    /// # Panics
    /// When whoever serves has no slot.
    #[must_use]
    #[track_caller]
    pub fn who_is_met(&self, slots: &Slots) -> (Vec<(u64, String)>, String) {
        let pointed = slots.iter().find(|(_, holder)| *holder == Some(self.serves));
        let pointed = pointed.unwrap_or_else(|| panic!("generation {} has no slot: {slots:?}", self.serves));
        let idle = slots.iter().filter(|(_, holder)| holder.is_none());
        let idle: Vec<String> = idle.map(|(slot, _)| slot.to_string()).collect();
        let mut command = Command::new("python3");
        command
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/servers/places.py"))
            .args([&self.supervisor.to_string(), self.name, &self.port.to_string()])
            .args([pointed.0.to_string(), idle.join(",")])
            .args(&self.state);
        let found = Process::start(command.stdin(Stdio::null())).finish();
        let of_line = |line: &str| {
            let mut words = line.splitn(3, ' ').skip(1);
            Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
        };
        let mut met: Vec<(u64, String)> = found.stdout.lines().filter_map(of_line).collect();
        met.sort_unstable();
        (met, format!("{found:?}"))
    }
}

/// Who is to be met.
#[must_use]
pub fn expected(slots: &Slots) -> Vec<(u64, String)> {
    let who = |(slot, holder): &(u64, Option<u64>)| match holder {
        Some(generation) => (*slot, format!("generation {generation}")),
        None => (*slot, format!("slot {slot}")),
    };
    slots.iter().map(who).collect()
}

/// How often to look again where a relief worker has answered. Somebody else in that place would be met each time.
pub const LOOKS: usize = 5;

/// Whether one was met that has no slot: on a busy machine a relief worker may answer in the place of a generation that was slow.
#[must_use]
pub fn is_by_relief(met: &[(u64, String)], slots: &Slots) -> bool {
    let expected = expected(slots);
    let has_none =
        |who: &String| who.starts_with("generation ") && expected.iter().all(|(_, other)| other != who);
    met.iter().any(|(_, who)| has_none(who))
}

//! What looks at a generation have found out about its listeners: for answers, the status and the next supervisor.

use segue_lifecycle::{Event, Lifecycle, Number};

use crate::log::Log;
use crate::shell::records::Records;
use crate::state::{Flaw, Row, Rows};

/// What was found out about the listeners of a generation.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Why it cannot serve, if it cannot.
    pub(crate) unheld: Option<String>,
    /// What it did not accept though it was to, if it had its time for that.
    pub(crate) unaccepted: Option<String>,
    /// How it failed to accept clients, if it did.
    pub(crate) deaf: Option<String>,
    /// By inode, one clause each about those on which nobody was seen waiting.
    pub(crate) notes: Vec<(u64, String)>,
}

impl Findings {
    /// Write a row `note` for each.
    pub(crate) fn save(&self, number: Number, rows: &mut Rows) {
        for (inode, note) in &self.notes {
            rows.begin("note")
                .number("generation", number)
                .number("inode", *inode)
                .text("is", note);
        }
    }

    /// Take in what a row tells; the generation that it is about is found by the caller.
    pub(crate) fn restore(&mut self, row: Row<'_>) -> Result<(), Flaw> {
        self.notes.push((row.number("inode")?, row.text("is")?));
        Ok(())
    }
}

impl Records {
    /// A look at the listeners of a generation has shown this.
    pub(crate) fn note_findings(&mut self, number: Number, findings: Findings) {
        if let Some(info) = self.generations.get_mut(&number) {
            info.findings = findings;
        }
    }

    /// A generation has accepted on these sockets.
    pub(crate) fn note_accepted(&mut self, number: Number, sockets: Vec<u64>) {
        if let Some(info) = self.generations.get_mut(&number) {
            info.accepted = sockets;
        }
    }

    /// A generation has had its time to accept; what was seen is told in words.
    pub(crate) fn note_unaccepted(&mut self, number: Number, words: String) {
        if let Some(info) = self.generations.get_mut(&number) {
            info.findings.unaccepted = Some(words);
        }
    }

    /// A generation does not accept clients; how is told in words.
    pub(crate) fn note_deaf(&mut self, number: Number, words: String) -> Event {
        if let Some(info) = self.generations.get_mut(&number) {
            info.findings.deaf = Some(words);
        }
        Event::Deaf(number)
    }

    /// The kernel has refused to send new clients to this generation, for this reason.
    pub(crate) fn note_not_switched(&mut self, number: Number, why: String, log: &Log) -> Event {
        log.error(&why);
        self.not_switched = Some(why);
        Event::NotSwitched(number)
    }

    /// Somebody waits on these listeners of the incumbent by now.
    pub(crate) fn withdraw_notes(&mut self, awaited: &[u64], core: &Lifecycle) {
        let incumbent = core.incumbent().map(|incumbent| incumbent.number);
        let info = incumbent.and_then(|number| self.generations.get_mut(&number));
        if let Some(info) = info {
            info.findings.notes.retain(|(inode, _)| !awaited.contains(inode));
        }
    }
}

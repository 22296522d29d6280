//! What is known of a generation that the core does not know.

use std::rc::Rc;
use std::time::{Instant, SystemTime};

use segue_lifecycle::{Number, Role};

use crate::clock;
use crate::config::Config;
use crate::launch::Binary;
use crate::listeners::Listener;
use crate::protocol;
use crate::shell::records::findings::Findings;
use crate::state::{Field as _, Fields as _, Flaw, Row, Rows, fields};

/// What the shell knows of a generation that the core does not, kept until its last process is gone.
#[derive(Debug)]
pub(crate) struct GenerationInfo {
    pub(crate) config: Rc<Config>,
    pub(crate) binary: protocol::Binary,
    pub(crate) probe: Option<Rc<Listener>>,
    /// Its role when that was last looked at, and since when it has it.
    pub(crate) role: Role,
    pub(crate) since: SystemTime,
    /// When the reload was asked for that made it, or else when it was made.
    pub(crate) asked: Instant,
    /// How many workers it should have when the first of them was started: so the sockets of an address that has several are shared out.
    pub(crate) began_with: Option<u16>,
    /// The sockets that are lent to its workers, by inode: also when its birth record is forgotten. No successor needs them, for it has the records.
    pub(crate) lent: Vec<u64>,
    /// Those of them on which it was seen to accept, by its token.
    pub(crate) accepted: Vec<u64>,
    /// What the last look at its listeners has shown.
    pub(crate) findings: Findings,
    /// The files of the last good version that were replaced when it was made: a rollback does not bring them back. After a
    /// rollback, those that it did not bring back.
    pub(crate) replaced: Option<String>,
}

impl GenerationInfo {
    pub(crate) fn new(
        config: Rc<Config>,
        binary: &Binary,
        probe: Option<Rc<Listener>>,
        asked: Option<Instant>,
        role: Role,
    ) -> Self {
        let binary = protocol::Binary {
            path: binary.real_path().display().to_string(),
            inode: binary.inode(),
            sha256: None,
        };
        Self {
            config,
            binary,
            probe,
            role,
            since: clock::wall(),
            asked: asked.unwrap_or_else(clock::now),
            began_with: None,
            lent: Vec::new(),
            accepted: Vec::new(),
            findings: Findings::default(),
            replaced: None,
        }
    }
}

impl GenerationInfo {
    /// Write the row `generation`. Its settings are those of its birth record, and the listener goes with the others.
    pub(crate) fn save(&self, number: Number, rows: &mut Rows) {
        number.write("number", rows.begin("generation"));
        self.save_fields(rows);
    }

    /// The generation of a row, and its number.
    pub(crate) fn restore(
        row: Row<'_>,
        config: Rc<Config>,
        probe: Option<Rc<Listener>>,
        role: Role,
    ) -> Result<(Number, Self), Flaw> {
        let mut info = Self {
            config,
            binary: protocol::Binary {
                path: String::new(),
                inode: 0,
                sha256: None,
            },
            probe,
            role,
            since: clock::wall(),
            asked: clock::now(),
            began_with: None,
            lent: Vec::new(),
            accepted: Vec::new(),
            findings: Findings::default(),
            replaced: None,
        };
        info.restore_fields(row)?;
        Ok((row.number("number")?, info))
    }
}

fields!(GenerationInfo {
    "path" binary.path;
    "inode" binary.inode;
    "since" since;
    "asked" asked;
    "began-with" began_with;
    "replaced" replaced;
});

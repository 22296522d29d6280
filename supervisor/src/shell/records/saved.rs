//! Birth records and generations, from the rows that a supervisor has left. (`save.rs` writes them.)

use nix::unistd::Pid;
use segue_lifecycle::{Lifecycle, Number, Record, Role};

use crate::launch::{BirthRecord, InheritedEnvironment};
use crate::listeners::IoMode;
use crate::shell::found::Found;
use crate::shell::records::Records;
use crate::shell::records::births::{Birth, LostRecord};
use crate::shell::records::generation::GenerationInfo;
use crate::state::{Fds, Field, Flaw};

impl Records {
    /// Take in all that the rows tell of them.
    pub(crate) fn fill(
        &mut self,
        found: &Found<'_>,
        core: &Lifecycle,
        spare_fds: &mut Fds,
        inherited_environment: &InheritedEnvironment,
    ) -> Result<(), Flaw> {
        for row in found.of_kind("birth") {
            let number = row.number("record")?;
            let mut lent = Vec::new();
            for row in found.of_kind("lends") {
                if row.number("record")? == number {
                    lent.push(found.listener(row.number("listener")?)?);
                }
            }
            let mut saved = found.of_kind("record");
            let saved = saved.find(|row| row.number("number") == Ok(number));
            let saved = saved.ok_or_else(|| Flaw::new(format_args!("there is no record {number}")))?;
            let processes = processes_of(number, found, core)?;
            let record = BirthRecord::restore(&saved, spare_fds, &processes, inherited_environment);
            let record = record.map_err(|flaw| LostRecord {
                why: flaw.to_string(),
                row: format!("{}\n", saved.line()),
            });
            let birth = Birth {
                config: found.config_of(row)?,
                record,
                listeners: lent,
            };
            self.births.insert(Record(number), birth);
        }
        self.fill_generations(found, core)
    }

    fn fill_generations(&mut self, found: &Found<'_>, core: &Lifecycle) -> Result<(), Flaw> {
        for row in found.of_kind("generation") {
            let probe = row.number_if_any("probe")?;
            let probe = probe.map(|number| found.listener(number)).transpose()?;
            let known = core.generation(row.number("number")?);
            let role = known.map_or(Role::Retired, |generation| generation.role);
            let (number, mut info) = GenerationInfo::restore(row, found.config_of(row)?, probe, role)?;
            let record = core.generation(number).map(|generation| generation.record);
            let birth = record.and_then(|record| self.births.get(&record));
            let lent = birth.iter().flat_map(|birth| &birth.listeners);
            info.lent = lent.map(|listener| listener.inode()).collect();
            self.generations.insert(number, info);
        }
        for row in found.of_kind("note") {
            if let Some(info) = self.generations.get_mut(&row.number("generation")?) {
                info.findings.restore(row)?;
            }
        }
        for row in found.of_kind("chosen") {
            let key = (row.number("generation")?, row.number("inode")?);
            self.chosen_flags.insert(key, IoMode::read("non-blocking", row)?);
        }
        Ok(())
    }
}

/// The processes that were started from this record, as far as the rows know them.
fn processes_of(record: Number, found: &Found<'_>, core: &Lifecycle) -> Result<Vec<Pid>, Flaw> {
    let mut pids = Vec::new();
    for (worker, pid) in found.remains {
        // A generation of which only the log tells is not in the core yet: a record has the number of the one it was made for.
        let generation = core.generation(worker.generation);
        let is_of_record = generation.map_or(worker.generation == record, |generation| {
            generation.record == Record(record)
        });
        if is_of_record {
            pids.push(*pid);
        }
    }
    for row in found.of_kind("worker") {
        let generation = core.generation(row.number("generation")?);
        if generation.is_some_and(|generation| generation.record == Record(record))
            && row.number_if_any("pid")?.is_some()
        {
            pids.push(Pid::from_raw(row.parsed("pid")?));
        }
    }
    Ok(pids)
}

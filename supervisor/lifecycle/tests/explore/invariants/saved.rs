//! What a successor goes on with.

use super::Verdict;
use crate::Lifecycle;

/// Whatever state it is in, a machine that was saved and loaded is the same.
pub(super) fn a_successor_knows_the_same(core: &Lifecycle) -> Verdict {
    let text = core.save();
    match Lifecycle::load(&text).map(|loaded| loaded.with_bug_of(core)) {
        Ok(loaded) if loaded == *core => Ok(()),
        Ok(loaded) => broken!("saved:\n{text}\nloaded:\n{}", loaded.save()),
        Err(flaw) => broken!("{flaw} in:\n{text}"),
    }
}

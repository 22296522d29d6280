//! What a successor goes on with.

use super::{Node, Verdict};
use crate::Lifecycle;

/// Whatever state it is in, a machine that was saved and loaded is the same.
pub(super) fn a_successor_knows_the_same(node: &Node) -> Verdict {
    let text = node.core.save();
    match Lifecycle::load(&text).map(|loaded| loaded.with_bug_of(&node.core)) {
        Ok(loaded) if loaded == node.core => Ok(()),
        Ok(loaded) => broken!("saved:\n{text}\nloaded:\n{}", loaded.save()),
        Err(flaw) => broken!("{flaw} in:\n{text}"),
    }
}

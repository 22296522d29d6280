//! What the explorer has seen, by situation and event.
use super::invariants::Step;

#[derive(Default)]
pub(super) struct Table {}

impl Table {
    pub(super) fn note(&mut self, _step: &Step) {}
}

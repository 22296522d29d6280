//! What a supervisor leaves to the next one, be that the same process after an upgrade or another after `kill -9`: rows of text,
//! and open fds with names.
//!
//! A row is a line: its kind, then `key=value` for each field, as in
//! `listener name=web inode=4711 address=127.0.0.1:8080`. It can be read by people and by other versions: a reader
//! asks for the fields that it knows, and passes over kinds and keys that it does not. Every room writes and reads its own
//! rows; nobody else knows what is in them. It names each field once: see `field.rs`.

mod custody;
mod fds;
mod field;
mod row;

pub(crate) use custody::{Custody, Guard, Restored};
pub(crate) use fds::{Fds, Passed};
pub(crate) use field::{Field, Fields, Whole, by_json, by_text, field, fields, whole, words, written_as};
pub(crate) use row::{FixedRows, Flaw, Row, Rows};

/// The kind of the first row of every state.
pub(crate) const HEAD: &str = "segue-state";

/// The version of what a state means. New kinds of rows and new keys do not change it, for readers pass over what they do not
/// know; it would be raised only if an older reader had to be kept from reading it.
pub(crate) const VERSION: u64 = 1;

/// The two files in which a supervisor keeps its state by turns: their names beside its control socket, and those of their fds.
pub(crate) const FILES: [&str; 2] = ["state-a", "state-b"];

/// What the names of fds begin with in systemd's file descriptor store, where they meet the names that socket units give.
pub(crate) const PREFIX: &str = "segue-";

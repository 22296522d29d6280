//! The upgrade in place: the supervisor goes on as another binary, and nobody notices.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

mod at_any_moment;
mod followers;
mod goes_on;
mod many;
mod recorded;
mod refused;
mod shelf;
mod stages;

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use segue_tests::segue::{Segue, Status};

use shelf::{NEWER, Next, VERSION};

/// The binary that differs from the one that runs, and their versions. Which one runs is told by the file that it was executed
/// from: compilers write short texts into the code, where they cannot be exchanged, so that not all of the newer one knows that
/// it is newer.
fn other(segue: &Segue) -> (Next, &'static str, &'static str) {
    let inode = |path: &std::path::Path| fs::metadata(path).map(|found| found.ino()).ok();
    let runs = inode(format!("/proc/{}/exe", segue.process().pid()).as_ref());
    if runs == inode(&segue.path("segue.same")) {
        (Next::Newer, VERSION, NEWER)
    } else {
        assert_eq!(runs, inode(&segue.path("segue.newer")));
        (Next::Same, NEWER, VERSION)
    }
}

/// `segue upgrade` to the other version; what it says is checked. Returns the status behind it.
#[track_caller]
fn upgrade(segue: &Segue) -> Status {
    let before = segue.status();
    let (next, from, to) = other(segue);
    shelf::put(segue, next);
    let done = segue.run("upgrade", &[]);
    let pid = segue.process().pid();
    let said = format!("upgraded: segue {from} to {to}, pid {pid}, ");
    assert!(
        done.code == Some(0) && done.stdout.starts_with(&said),
        "{done:?}; log:\n{}",
        segue.process().stderr()
    );
    assert_eq!(
        other(segue),
        (
            if next == Next::Same {
                Next::Newer
            } else {
                Next::Same
            },
            to,
            from
        )
    );
    let after = segue.status();
    assert_eq!(
        (&after.0["pid"], &after.0["since"]),
        (&before.0["pid"], &before.0["since"])
    );
    after
}

/// Upgrades one after the other until something has come about. A wait that began anew with each of them would never end.
#[track_caller]
fn upgrade_until(segue: &Segue, what: &str, come_about: impl Fn(&Status) -> bool) -> u32 {
    let end = std::time::Instant::now() + segue_tests::patience();
    let mut count = 0;
    while !come_about(&upgrade(segue)) {
        count += 1;
        assert!(
            std::time::Instant::now() < end,
            "not in time: {what}; log:\n{}",
            segue.process().stderr()
        );
    }
    count
}

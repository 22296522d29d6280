//! The binaries that lie where a supervisor was started from, one after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use segue_tests::binaries::Binary;
use segue_tests::executable;
use segue_tests::segue::{Segue, Setup};

/// The version of the binary that is tested, and of one that differs from it in nothing else.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
pub(crate) const NEWER: &str = "0.9.9";

/// How much of a binary is a piece, in bytes: its headers, and nothing that could run.
const PIECE: usize = 4096;

/// What is put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Segue as it was built.
    Same,
    /// Segue, but for its version.
    Newer,
    /// Segue, but it does not know the flag `--drain-timeout`.
    Stranger,
    /// A program that does this when it is asked.
    Impostor(&'static str),
    /// A script.
    Script,
    /// A binary without permission to execute it.
    NotExecutable,
    /// The beginning of a binary.
    Piece,
    /// Nothing in it.
    Empty,
    /// Nothing.
    Missing,
}

/// Starts `./segue run` from a copy of its own, and waits until a generation serves.
#[track_caller]
pub(crate) fn start(setup: Setup) -> Segue {
    prepare(setup).start()
}

/// As [`start`], and waits for nothing.
#[track_caller]
pub(crate) fn spawn(setup: Setup) -> Segue {
    prepare(setup).spawn()
}

fn prepare(setup: Setup) -> Setup {
    place(Next::Same, &setup.path("segue"));
    setup.opened_by(["sh", "-c", "shift; exec ./segue \"$@\"", "sh"])
}

/// Puts the next binary where the supervisor was started from.
#[track_caller]
pub(crate) fn put(segue: &Segue, next: Next) {
    place(next, &segue.path("segue"));
}

/// Puts a binary at a path, as a deploy does: made beside it, and renamed.
#[track_caller]
pub(crate) fn place(next: Next, path: &Path) {
    let beside = path.with_extension("new");
    let write = |content: &[u8], mode: u32| executable::write_with(&beside, content, mode);
    match next {
        Next::Same => on_the_shelf(path, "same", |whole| whole),
        Next::Newer => on_the_shelf(path, "newer", |whole| replace(whole, VERSION, NEWER)),
        Next::Stranger => on_the_shelf(path, "stranger", |whole| {
            replace(whole, "drain-timeout", "train-timeout")
        }),
        Next::Impostor(vice) => {
            fs::write(path.with_extension("vice"), vice).unwrap();
            write(&fs::read(Binary::Fixture.path()).unwrap(), 0o755);
        }
        Next::Script => write(b"#!/bin/sh\nexec segue \"$@\"\n", 0o755),
        Next::NotExecutable => write(b"\x7fELF", 0o644),
        Next::Piece => write(&built()[..PIECE], 0o755),
        Next::Empty => write(b"", 0o755),
        Next::Missing => {
            let _ = fs::remove_file(path);
            return;
        }
    }
    fs::rename(&beside, path).unwrap();
}

fn built() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| fs::read(Binary::Segue.path()).unwrap())
}

/// Makes it once for each directory: hundreds of upgrades change between the same few files.
fn on_the_shelf(path: &Path, name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let kept: PathBuf = path.with_extension(name);
    if !kept.exists() {
        executable::write(&kept, &change(built().to_vec()));
    }
    fs::hard_link(&kept, path.with_extension("new")).unwrap();
}

/// Texts in a binary can be exchanged for others of the same length.
fn replace(mut whole: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = whole
        .windows(from.len())
        .enumerate()
        .filter_map(|(place, window)| (window == from.as_bytes()).then_some(place))
        .collect();
    assert!(!places.is_empty(), "{from:?} is not in the binary");
    for place in places {
        whole[place..place + to.len()].copy_from_slice(to.as_bytes());
    }
    whole
}

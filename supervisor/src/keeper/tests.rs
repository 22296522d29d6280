use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use super::*;

fn paths(directory: &tempfile::TempDir) -> [PathBuf; FILES] {
    ["state-a", "state-b"].map(|name| directory.path().join(name))
}

fn kept(rows: &str, log: &[&str]) -> Option<Kept> {
    Some(Kept {
        rows: rows.into(),
        log: log.iter().map(|line| (*line).to_owned()).collect(),
    })
}

#[test]
fn the_newest_snapshot_and_its_log_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, complaint) = Keeper::open(paths(&directory)).unwrap();
    assert_eq!((complaint, keeper.read()), (None, None));
    keeper.snapshot(b"one\n");
    keeper.log("a");
    keeper.log("b");
    assert_eq!(read_at(&paths(&directory)), kept("one\n", &["a", "b"]));
    keeper.snapshot(b"two\n");
    assert_eq!(read_at(&paths(&directory)), kept("two\n", &[]));
    keeper.log("c");
    keeper.snapshot(b"three and longer\n");
    keeper.snapshot(b"4\n");
    keeper.log("d");
    assert_eq!(
        keeper.read(),
        kept("4\n", &["d"]),
        "the longer log before it is stale"
    );
    let mode = std::fs::metadata(&paths(&directory)[0])
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    keeper.remove();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_successor_goes_on_where_the_other_was() {
    let directory = tempfile::tempdir().unwrap();
    let (mut first, _) = Keeper::open(paths(&directory)).unwrap();
    for rows in [&b"1\n"[..], b"2\n", b"3\n"] {
        first.snapshot(rows);
    }
    first.log("x");
    drop(first);
    let (mut second, _) = Keeper::open(paths(&directory)).unwrap();
    assert_eq!(second.read(), kept("3\n", &["x"]));
    second.log("y");
    assert_eq!(second.read(), kept("3\n", &["x", "y"]), "the log goes on as well");
    second.snapshot(b"4\n");
    assert_eq!(read_at(&paths(&directory)), kept("4\n", &[]));
}

/// SIGKILL may cut the write of a snapshot or of a line anywhere.
#[test]
fn a_write_that_was_cut_short_anywhere_loses_nothing_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, _) = Keeper::open(paths(&directory)).unwrap();
    keeper.snapshot(b"0000000000\n");
    keeper.snapshot(b"1111111111\n");
    keeper.log("first");
    let whole: Vec<Vec<u8>> = keeper.files.iter().map(contents).collect();
    let line = frame::write(Piece::Log, 2, b"second");
    for length in 0..line.len() {
        keeper.files[0].write_all_at(&line[..length], keeper.end).unwrap();
        assert_eq!(keeper.read(), kept("1111111111\n", &["first"]));
    }
    let snapshot = frame::write(Piece::Snapshot, 3, b"2222222222222\n");
    for length in 0..snapshot.len() {
        keeper.files[1].write_all_at(&whole[1], 0).unwrap();
        keeper.files[1].write_all_at(&snapshot[..length], 0).unwrap();
        assert_eq!(keeper.read(), kept("1111111111\n", &["first"]), "cut at {length}");
    }
}

#[test]
fn garbage_is_nothing() {
    let mut random = fastrand::Rng::with_seed(3);
    let whole = [
        frame::write(Piece::Snapshot, 7, b"rows\n"),
        frame::write(Piece::Log, 7, b"line"),
    ]
    .concat();
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..random.usize(1..4) {
            let place = random.usize(..bytes.len());
            bytes[place] = random.u8(..);
        }
        bytes.truncate(random.usize(..=bytes.len()));
        if let Some(found) = frame::read(&bytes) {
            assert_eq!(found.rows, b"rows\n");
            assert!(found.log.is_empty() || found.log == ["line"]);
        }
    }
}

#[test]
fn what_has_not_changed_is_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, _) = Keeper::open(paths(&directory)).unwrap();
    keeper.snapshot(b"same\n");
    keeper.snapshot(b"same\n");
    assert_eq!(keeper.number, 1);
    keeper.log("x");
    keeper.snapshot(b"same\n");
    assert_eq!((keeper.number, keeper.read()), (2, kept("same\n", &[])));
}

#[test]
fn where_nothing_can_be_written_it_lies_in_memory() {
    let nowhere = ["a", "b"].map(|name| PathBuf::from("/nonexistent").join(name));
    let (mut keeper, complaint) = Keeper::open(nowhere.clone()).unwrap();
    let complaint = complaint.unwrap();
    assert!(
        complaint.starts_with("state /nonexistent/a: no such file or directory: "),
        "{complaint}"
    );
    keeper.snapshot(b"rows\n");
    assert_eq!(keeper.read(), kept("rows\n", &[]));
    let copies: Vec<_> = keeper.fds().map(|fd| fd.try_clone_to_owned().unwrap()).into();
    assert_eq!(read(&copies), kept("rows\n", &[]));
    assert_eq!(read_at(&nowhere), None);
}

#[test]
fn a_file_that_others_may_read_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, _) = Keeper::open(paths(&directory)).unwrap();
    keeper.snapshot(b"rows\n");
    for path in paths(&directory) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    assert_eq!(read_at(&paths(&directory)), None);
    let (_, complaint) = Keeper::open(paths(&directory)).unwrap();
    let complaint = complaint.unwrap();
    assert!(
        complaint.contains(": others can read or write it (mode 0644) (remove it): "),
        "{complaint}"
    );
}

#[test]
fn what_is_no_file_is_called_so() {
    let directory = tempfile::tempdir().unwrap();
    let [_, second] = paths(&directory);
    nix::unistd::mkfifo(&second, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (_, complaint) = Keeper::open(paths(&directory)).unwrap();
    let expected = format!("state {}: it is no regular file (remove it): ", second.display());
    assert!(
        complaint.as_ref().unwrap().starts_with(&expected),
        "{complaint:?}"
    );
}

#[test]
fn a_full_disk_is_told_once_and_the_older_state_stays() {
    let full = || File::options().read(true).write(true).open("/dev/full").unwrap();
    let names = ["a", "b"].map(PathBuf::from);
    let mut keeper = Keeper::on([full(), full()], names);
    keeper.snapshot(b"rows\n");
    keeper.log("line");
    let trouble = keeper.take_trouble().unwrap();
    assert!(
        trouble.starts_with("state b: no space left on device"),
        "{trouble}"
    );
    assert_eq!(keeper.take_trouble(), None);
}

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
    keeper.keep(b"one\n".to_vec());
    keeper.log("a");
    keeper.log("b");
    assert_eq!(read_at(&paths(&directory)), kept("one\n", &["a", "b"]));
    keeper.keep(b"two\n".to_vec());
    assert_eq!(read_at(&paths(&directory)), kept("two\n", &[]));
    keeper.log("c");
    keeper.keep(b"three and longer\n".to_vec());
    keeper.keep(b"4\n".to_vec());
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
    for rows in ["1\n", "2\n", "3\n"] {
        first.keep(rows.into());
    }
    first.log("x");
    drop(first);
    let (mut second, _) = Keeper::open(paths(&directory)).unwrap();
    assert_eq!(second.read(), kept("3\n", &["x"]));
    second.log("y");
    assert_eq!(second.read(), kept("3\n", &["x", "y"]), "the log goes on as well");
    second.keep(b"4\n".to_vec());
    assert_eq!(read_at(&paths(&directory)), kept("4\n", &[]));
}

/// SIGKILL may cut the write of a snapshot or of a line anywhere.
#[test]
fn a_write_that_was_cut_short_anywhere_loses_nothing_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, _) = Keeper::open(paths(&directory)).unwrap();
    keeper.keep(b"0000000000\n".to_vec());
    keeper.keep(b"1111111111\n".to_vec());
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
fn a_change_is_written_behind_the_state_that_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, _) = Keeper::open(paths(&directory)).unwrap();
    let state = |last: &str| format!("{}{last}\n", "row that stays\n".repeat(20));
    keeper.keep(state("one").into());
    keeper.log("a");
    let before = keeper.end;
    keeper.keep_and_log(state("two").into(), "b");
    assert_eq!(keeper.number, 1, "no snapshot");
    assert!(keeper.end - before < 120, "{}", keeper.end - before);
    assert_eq!(keeper.read(), kept(&state("two"), &["b"]));
    let whole = contents(&keeper.files[1]);
    let piece = &whole[usize::try_from(before).unwrap()..];
    let line = frame::write(Piece::Log, 1, b"b").len();
    for length in 0..piece.len() {
        keeper.files[1].set_len(before).unwrap();
        keeper.files[1].write_all_at(&piece[..length], before).unwrap();
        let expected = if length < piece.len() - line {
            kept(&state("one"), &["a"])
        } else {
            kept(&state("two"), &[])
        };
        assert_eq!(keeper.read(), expected, "cut at {length}");
    }
    keeper.files[1].write_all_at(piece, before).unwrap();
    // Who goes on there begins with a snapshot, since he does not know by himself what was written.
    let (mut second, _) = Keeper::open(paths(&directory)).unwrap();
    second.log("c");
    assert_eq!(second.read(), kept(&state("two"), &["b", "c"]));
    second.keep(state("three").into());
    assert_eq!((second.number, second.read()), (2, kept(&state("three"), &[])));
}

#[test]
fn there_is_a_snapshot_now_and_then() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, _) = Keeper::open(paths(&directory)).unwrap();
    let rows = |nth: u32| format!("{}{nth}\n", "row\n".repeat(200));
    let mut written = 0;
    for nth in 0..5_000 {
        let (before, number) = (keeper.end, keeper.number);
        keeper.keep(rows(nth).into());
        written += keeper.end - if keeper.number == number { before } else { 0 };
        assert!(keeper.end < 1_000 + MOST_CHANGES, "{}", keeper.end);
    }
    assert_eq!(keeper.read(), kept(&rows(4_999), &[]));
    assert!((4..10).contains(&keeper.number), "{} snapshots", keeper.number);
    assert!(written < 5_000 * 100, "{written} bytes");
}

#[test]
fn garbage_is_nothing() {
    let mut random = fastrand::Rng::with_seed(3);
    let whole = [
        frame::write(Piece::Snapshot, 7, b"rows\n"),
        frame::write(Piece::Log, 7, b"line"),
        frame::write(Piece::Change, 7, b"=1\n+5\nmore\n"),
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
            match &*found.rows {
                b"rows\n" => assert!(found.log.is_empty() || found.log == ["line"]),
                rows => assert_eq!((rows, found.log), (&b"rows\nmore\n"[..], vec![])),
            }
        }
    }
}

#[test]
fn what_has_not_changed_is_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, _) = Keeper::open(paths(&directory)).unwrap();
    keeper.keep(b"same\n".to_vec());
    keeper.keep(b"same\n".to_vec());
    assert_eq!(
        (keeper.number, length(&contents(&keeper.files[1]))),
        (1, keeper.end)
    );
    keeper.log("x");
    keeper.keep(b"same\n".to_vec());
    assert_eq!(keeper.read(), kept("same\n", &[]), "what was logged is over");
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
    keeper.keep(b"rows\n".to_vec());
    assert_eq!(keeper.read(), kept("rows\n", &[]));
    let copies: Vec<_> = keeper.fds().map(|fd| fd.try_clone_to_owned().unwrap()).into();
    assert_eq!(read(&copies), kept("rows\n", &[]));
    assert_eq!(read_at(&nowhere), None);
}

#[test]
fn a_file_that_others_may_read_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, _) = Keeper::open(paths(&directory)).unwrap();
    keeper.keep(b"rows\n".to_vec());
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
    keeper.keep(b"rows\n".to_vec());
    keeper.log("line");
    let trouble = keeper.take_trouble().unwrap();
    assert!(
        trouble.starts_with("state b: no space left on device"),
        "{trouble}"
    );
    assert_eq!(keeper.take_trouble(), None);
}

#[test]
fn what_could_not_be_written_is_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, _) = Keeper::open(paths(&directory)).unwrap();
    keeper.keep(b"one\n".to_vec());
    assert!(!keeper.is_behind());
    let full = || File::options().read(true).write(true).open("/dev/full").unwrap();
    let files = std::mem::replace(&mut keeper.files, [full(), full()]);
    keeper.keep(b"two\n".to_vec());
    assert!(
        keeper.is_behind(),
        "no batch is logged behind rows that are not there"
    );
    keeper.files = files;
    keeper.keep_and_log(b"two\n".to_vec(), "batch");
    assert_eq!(keeper.read(), kept("two\n", &["batch"]));
}

fn text(lines: &[u32]) -> Vec<u8> {
    let lines = lines.iter().map(|line| format!("row number={line}\n"));
    lines.collect::<String>().into_bytes()
}

#[test]
fn little_is_written_where_little_has_changed() {
    let old = text(&[1, 2, 3, 4]);
    let written = |new: &[u32]| String::from_utf8(change::between(&old, &text(new))).unwrap();
    assert_eq!(written(&[1, 2, 3, 4]), "=4\n");
    assert_eq!(written(&[1, 3, 4]), "=1\n-1\n=2\n");
    assert_eq!(written(&[1, 2, 9, 3, 4]), "=2\n+13\nrow number=9\n=2\n");
    assert_eq!(written(&[1, 2, 9, 4]), "=2\n-1\n+13\nrow number=9\n=1\n");
    assert_eq!(written(&[]), "-4\n");
    assert_eq!(change::between(b"", &old), [b"+52\n".as_slice(), &old].concat());
}

#[test]
fn many_lines_may_come_and_go_in_one_place() {
    let (before, between, after): (Vec<u32>, Vec<u32>, Vec<u32>) =
        ((0..100).collect(), (1_000..3_000).collect(), (100..200).collect());
    let few = text(&[before.clone(), after.clone()].concat());
    let many = text(&[before, between.clone(), after].concat());
    let gone = change::between(&many, &few);
    assert_eq!(String::from_utf8(gone).unwrap(), "=100\n-2000\n=100\n");
    let come = change::between(&few, &many);
    assert!(come.len() < text(&between).len() + 30, "{}", come.len());
    assert_eq!(change::apply(&few, &come), Some(many));
}

#[test]
fn of_a_line_that_has_changed_a_little_only_that_is_written() {
    let long = |number: u32| format!("record number={number} command={}\n", "word ".repeat(100));
    let (old, new) = (long(4), format!("birth\n{}{}", long(4), long(15)));
    let change = change::between(old.as_bytes(), new.as_bytes());
    assert_eq!(
        String::from_utf8(change).unwrap(),
        "+6\nbirth\n=1\n~0 14 510 2\n15"
    );
}

#[test]
fn whatever_has_changed_comes_back() {
    let mut random = fastrand::Rng::with_seed(15);
    let long = |lines: &[u32]| {
        let lines = lines.iter().map(|line| {
            let kind = ["timer", "worker"][*line as usize % 2];
            format!(
                "{kind} number={line} command={} last={}\n",
                "word ".repeat(10),
                line / 3
            )
        });
        lines.collect::<String>().into_bytes()
    };
    for nth in 0..300 {
        let old: Vec<u32> = (0..random.u32(..300)).collect();
        let mut new = old.clone();
        for _ in 0..random.usize(..6) {
            let place = random.usize(..=new.len());
            let end = (place + random.usize(..100)).min(new.len());
            let come: Vec<u32> = (0..random.u32(..100)).map(|_| random.u32(..1000)).collect();
            new.splice(place..end, come);
        }
        let (old, new) = if nth % 2 == 0 {
            (text(&old), text(&new))
        } else {
            (long(&old), long(&new))
        };
        assert_eq!(change::apply(&old, &change::between(&old, &new)), Some(new));
    }
}

#[test]
fn a_change_of_another_state_is_none() {
    let change = change::between(&text(&[1, 2, 3]), &text(&[1, 3]));
    assert_eq!(change::apply(&text(&[1, 2]), &change), None);
    assert_eq!(change::apply(&text(&[1, 2, 3, 4]), &change), None);
    let garbage = [
        "x",
        "=\n",
        "*3\n",
        "+9\nrow\n",
        "=99999999999999999999\n",
        "=3",
        "= 3\n",
    ];
    let unlike = [
        "~0 99 1 0\n",
        "~0 1 99 0\n",
        "~9 1 1 0\n",
        "~0 1 1 5\nrow",
        "~0 1 1\n",
    ];
    for garbage in garbage.iter().chain(&unlike) {
        assert_eq!(
            change::apply(&text(&[1, 2, 3]), garbage.as_bytes()),
            None,
            "{garbage}"
        );
    }
}

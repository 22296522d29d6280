//! The last lines that were written to a file since an app was started with it as its standard error.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use super::telling::telling;
use super::{FileId, Reach, StderrFile};
use crate::protocol::one_line;

/// How much is read, from the end, in bytes: a stack of a hundred frames, and so little that the loop does not feel it.
const PIECE: u64 = 64 * 1024;

/// How many lines are kept.
pub(crate) const KEPT: usize = 10;

/// The longest line that is kept, in characters.
const LONGEST: usize = 300;

/// The longest line that an outcome quotes, in characters. `--verbose` and `status` show more of it.
const QUOTED: usize = 200;

/// What an app said at last. Every line is printable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastLines {
    /// The last lines that are not empty, at most [`KEPT`], oldest first.
    pub(crate) lines: Vec<String>,
    /// The line that tells why the app died, if it is another than the last one.
    pub(crate) telling: Option<String>,
}

/// What has been written to the file since then, but for the lines of others. `None`: it cannot be read, or reading might hang.
///
/// A file that has been renamed is found at its new place if that is where logrotate(8) puts it, or if it is our own standard error
/// as well; one that has been truncated is read from its start.
pub(crate) fn last_lines(file: &StderrFile, is_of_others: impl Fn(&str) -> bool) -> Option<LastLines> {
    let text = match file.reach {
        Reach::Local => read_since(file)?,
        Reach::Remote => return None,
    };
    Some(LastLines::of(&text, is_of_others))
}

impl LastLines {
    /// The last lines of a text.
    pub(crate) fn of(text: &str, is_of_others: impl Fn(&str) -> bool) -> Self {
        let text = without_sequences(text);
        let lines: Vec<&str> = text
            .lines()
            // What a progress bar has overwritten is not there any more.
            .map(|line| line.trim_end().rsplit('\r').next().unwrap_or_default())
            .filter(|line| !line.trim().is_empty() && !is_of_others(line))
            .collect();
        let told = telling(&lines).map(|(line, rest)| match rest {
            Some(rest) => printable(&format!("{line} {rest}")),
            None => printable(line),
        });
        let first = lines.len().saturating_sub(KEPT);
        let lines: Vec<String> = lines[first..].iter().map(|line| printable(line)).collect();
        let telling = told.filter(|told| lines.last() != Some(told));
        Self { lines, telling }
    }
}

impl LastLines {
    /// `its stderr says "no database" and ends: "bye"`. The last line is not always the reason; where another one looks like it, both
    /// are there.
    pub(crate) fn quoted(&self, whose: &str) -> String {
        let quoted = |line: &String| format!("\"{}\"", one_line(line, QUOTED));
        let end = self.lines.last().map(quoted).unwrap_or_default();
        match &self.telling {
            Some(telling) => format!("{whose} says {} and ends: {end}", quoted(telling)),
            None => format!("{whose} ends: {end}"),
        }
    }
}

/// Without colours: ECMA-48 has control sequences of ESC [, parameters, and a byte from @ to ~.
fn without_sequences(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, sequence)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        let end = sequence.find(|letter| ('@'..='~').contains(&letter));
        rest = end.map_or("", |end| &sequence[end + 1..]);
    }
    plain + rest
}

/// Without anything else that steers a terminal.
fn printable(line: &str) -> String {
    one_line(line, LONGEST)
}

fn read_since(file: &StderrFile) -> Option<String> {
    let opened = open_again(file)?;
    let size = opened.metadata().ok()?.len();
    // A file that is shorter than it was has been truncated meanwhile: all of it is new.
    let since = if size < file.size { 0 } else { file.size };
    let from = since.max(size.saturating_sub(PIECE));
    let mut bytes = vec![0; usize::try_from(size - from).ok()?];
    let length = read_at(&opened, &mut bytes, from)?;
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    if from == since {
        return Some(text);
    }
    // It begins in the middle of a line.
    let whole = text.split_once('\n').map(|(_, whole)| whole.to_owned());
    Some(whole.unwrap_or(text))
}

fn read_at(file: &File, bytes: &mut [u8], from: u64) -> Option<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], from + length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    Some(length)
}

/// The file itself, wherever it is by now. Nothing else is opened: a path may lead to a device or a FIFO by now.
fn open_again(file: &StderrFile) -> Option<File> {
    let mut rotated = file.path.clone().into_os_string();
    rotated.push(".1");
    let places = [
        PathBuf::from("/proc/self/fd/2"),
        file.path.clone(),
        rotated.into(),
    ];
    places.iter().find_map(|place| {
        is_it(file.id, &fs::metadata(place).ok()?)?;
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let opened = File::options().read(true).custom_flags(flags).open(place).ok()?;
        is_it(file.id, &opened.metadata().ok()?)?;
        Some(opened)
    })
}

fn is_it(id: FileId, found: &fs::Metadata) -> Option<()> {
    (found.is_file() && (found.dev(), found.ino()) == id).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// What is written to the file from now on is the app's.
    fn born(path: &Path) -> StderrFile {
        let is = path.metadata().unwrap();
        StderrFile {
            id: (is.dev(), is.ino()),
            size: is.len(),
            path: path.to_owned(),
            reach: Reach::Local,
        }
    }

    fn append(path: &Path, text: &str) {
        use std::io::Write as _;
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn lines(file: &StderrFile) -> Option<Vec<String>> {
        last_lines(file, |line| line.starts_with("segue[")).map(|last| last.lines)
    }

    #[test]
    fn what_was_written_since_is_read_and_nothing_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        append(&path, "the old one\n");
        let file = born(&path);
        assert_eq!(lines(&file), Some(vec![]));
        append(&path, "one\n\nsegue[app]: generation 2\n  two\t\n\n");
        assert_eq!(lines(&file).unwrap(), ["one", "  two"]);
        let many: String = (0..30).map(|number| format!("line {number}\n")).collect();
        append(&path, &many);
        assert_eq!(
            lines(&file).unwrap(),
            (20..30)
                .map(|number| format!("line {number}"))
                .collect::<Vec<_>>()
        );
        append(&path, &"x".repeat(200_000));
        let last = lines(&file).unwrap();
        assert_eq!(
            (last.len(), last[0].len()),
            (1, LONGEST),
            "a line without an end is cut"
        );
        append(&path, "\nand the end");
        assert_eq!(lines(&file).unwrap().last().unwrap(), "and the end");
    }

    #[test]
    fn a_rotated_file_is_found_and_another_one_is_not_taken_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let rotated = directory.path().join("log.1");
        append(&path, "");
        let file = born(&path);
        append(&path, "before\n");
        fs::rename(&path, &rotated).unwrap();
        append(&path, "another file\n");
        append(&rotated, "after\n");
        assert_eq!(lines(&file).unwrap(), ["before", "after"]);
        fs::rename(&rotated, directory.path().join("log.2")).unwrap();
        assert_eq!(lines(&file), None);
        let nothing = nix::sys::stat::Mode::S_IRWXU;
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nothing).unwrap();
        assert_eq!(lines(&file), None, "a FIFO in its place makes nobody wait");
    }

    #[test]
    fn a_truncated_file_is_read_from_its_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        append(&path, "much that was there before\n");
        let file = born(&path);
        fs::write(&path, "new\n").unwrap();
        assert_eq!(lines(&file).unwrap(), ["new"]);
    }

    #[test]
    fn what_may_hang_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        append(&path, "");
        let file = StderrFile {
            reach: Reach::Remote,
            ..born(&path)
        };
        assert_eq!(lines(&file), None);
    }

    #[test]
    fn the_reason_and_the_last_line_are_quoted() {
        let quoted = |text: &str| LastLines::of(text, |_| false).quoted("its stderr");
        assert_eq!(quoted("no database\n"), "its stderr ends: \"no database\"");
        assert_eq!(
            quoted("ValueError: x\nbye\n"),
            "its stderr says \"ValueError: x\" and ends: \"bye\""
        );
        assert!(quoted(&"x".repeat(1000)).len() < QUOTED + 30);
    }

    #[test]
    fn a_line_cannot_steer_a_terminal() {
        let last = LastLines::of(
            "\x1b[31mError: \x1b[1;4mx\x1b[0m\x07\n10%\r90%\nüñ\n\x1b[2",
            |_| false,
        );
        assert_eq!(last.lines, ["Error: x\\u{7}", "90%", "üñ"]);
        assert_eq!(last.telling.as_deref(), Some("Error: x\\u{7}"));
    }
}

//! /proc/PID/stat, proc_pid_stat(5): one line of each process.

use std::fs;
use std::io::{self, Read as _};

use nix::unistd::Pid;

/// One process as /proc/PID/stat shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessRow {
    /// Its pid.
    pub(crate) pid: Pid,
    /// Its parent.
    pub(crate) parent: Pid,
    /// Its process group.
    pub(crate) group: Pid,
    /// Its session.
    pub(crate) session: Pid,
    /// When it was started, as [`start_time`] counts.
    pub(crate) began: u64,
    /// Ended and not yet reaped. A process whose first thread has ended while others run is no zombie.
    pub(crate) zombie: bool,
    /// Its only thread waits for something, state `S` of proc_pid_stat(5).
    pub(crate) sleeps: bool,
}

/// Every process that /proc shows us. A process that ends meanwhile may be missing.
///
/// # Errors
/// Those of reading /proc itself.
pub(crate) fn process_rows() -> io::Result<Vec<ProcessRow>> {
    let rows = fs::read_dir("/proc")?.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        process_row(name.to_str()?.parse().ok()?)
    });
    Ok(rows.collect())
}

/// Whether a process waits for something: its only thread sleeps. `false` where that cannot be seen (`hidepid`), and for every process of
/// more than one thread: each would have to be looked at, one after the other.
pub(crate) fn sleeps(pid: Pid) -> bool {
    process_row(pid.as_raw()).is_some_and(|row| row.sleeps)
}

/// More than the longest line of /proc/PID/stat: 52 fields of at most 20 digits and a name of 64 bytes. The kernel gives it in
/// one read, and one read a process matters where there are thousands of them.
const STAT_LENGTH: usize = 2048;

/// One process as /proc shows it now. `None` if there is none, or it is hidden from us (`hidepid`).
pub(crate) fn process_row(pid: i32) -> Option<ProcessRow> {
    let mut line = [0; STAT_LENGTH];
    parse_stat(pid, stat_line(pid, &mut line)?)
}

fn stat_line(pid: i32, buffer: &mut [u8; STAT_LENGTH]) -> Option<&[u8]> {
    let length = fs::File::open(format!("/proc/{pid}/stat"))
        .ok()?
        .read(buffer)
        .ok()?;
    buffer.get(..length)
}

/// When the process was started, in clock ticks after the boot: field 22 of proc_pid_stat(5). It tells one process from
/// another that has got the same pid.
pub(crate) fn start_time(pid: Pid) -> Option<u64> {
    let mut line = [0; STAT_LENGTH];
    // The first field that is given is the third.
    fields(stat_line(pid.as_raw(), &mut line)?)?.nth(19)?.parse().ok()
}

/// The fields of a line of /proc/PID/stat, proc_pid_stat(5), from the third on. The program's name may hold spaces and
/// parentheses, so they are counted from the *last* parenthesis.
fn fields(line: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let after_name = line.iter().rposition(|byte| *byte == b')')? + 1;
    let text = std::str::from_utf8(line.get(after_name..)?).ok()?;
    Some(text.split_ascii_whitespace())
}

/// Reads one line of /proc/PID/stat.
fn parse_stat(pid: i32, line: &[u8]) -> Option<ProcessRow> {
    let mut fields = fields(line)?;
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // Field 20; the session is field 6. Then field 22.
    let threads: i64 = fields.nth(13)?.parse().ok()?;
    let began = fields.nth(1)?.parse().ok()?;
    Some(ProcessRow {
        pid: Pid::from_raw(pid),
        parent: Pid::from_raw(parent),
        group: Pid::from_raw(group),
        session: Pid::from_raw(session),
        began,
        zombie: matches!(state, "Z" | "X") && threads <= 1,
        sleeps: state == "S" && threads == 1,
    })
}

/// Why /proc/PID/environ is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variables {
    /// It has been given none, or has ended.
    None,
    /// Its new program is not in its place yet: where its code begins is set when its variables are (fields 26, 50 and 51 of
    /// proc_pid_stat(5); load_elf_binary() of Linux 5.10 to 6.18). Or its memory is gone, and it is about to end.
    NotYet,
    /// It has some by now.
    Some,
}

pub(super) fn variables_of(pid: Pid) -> Variables {
    let mut line = [0; STAT_LENGTH];
    let mut places = || {
        let mut fields = fields(stat_line(pid.as_raw(), &mut line)?)?;
        let state = fields.next()?;
        let code: u64 = fields.nth(22)?.parse().ok()?;
        let begin: u64 = fields.nth(23)?.parse().ok()?;
        let end: u64 = fields.next()?.parse().ok()?;
        // Of a main thread that has ended nothing is shown, however long the others live.
        (!matches!(state, "Z" | "X")).then_some((code, begin, end))
    };
    match places() {
        None => Variables::None,
        Some((0, ..) | (.., 0)) => Variables::NotYet,
        Some((_, begin, end)) if begin == end => Variables::None,
        Some(_) => Variables::Some,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = b"77 (a) S 1 (b) Z 12 34 35 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 99 9\n";
        let row = parse_stat(77, line).unwrap();
        assert_eq!(
            (row.parent.as_raw(), row.group.as_raw(), row.zombie),
            (12, 34, true)
        );
        assert_eq!((row.session.as_raw(), row.began), (35, 99));
        assert_eq!(parse_stat(77, b"77 (short"), None);
        assert_eq!(parse_stat(77, b"77 (short) R 1"), None);
    }

    #[test]
    fn a_process_with_a_dead_first_thread_is_alive() {
        let line = b"77 (x) Z 12 34 34 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 3 0 9 9\n";
        assert!(!parse_stat(77, line).unwrap().zombie);
    }

    #[test]
    fn only_a_sleeping_process_of_one_thread_sleeps() {
        let sleeps = |line: &[u8]| parse_stat(77, line).unwrap().sleeps;
        assert!(sleeps(
            b"77 (x) S 12 34 34 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 9 9\n"
        ));
        assert!(!sleeps(
            b"77 (x) S 12 34 34 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 2 0 9 9\n"
        ));
        assert!(!sleeps(
            b"77 (x) R 12 34 34 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 9 9\n"
        ));
    }

    #[test]
    fn a_start_time_is_that_of_the_kernel_and_does_not_change() {
        let begin = start_time(Pid::this()).unwrap();
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
            .unwrap()
            .unwrap();
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let age = uptime - begin as f64 / ticks as f64;
        assert!((-1.0..3600.0).contains(&age), "{age}");
        assert_eq!(start_time(Pid::this()), Some(begin));
        assert_eq!(start_time(Pid::from_raw(i32::MAX)), None);
    }

    #[test]
    fn this_process_is_among_the_rows_and_alive() {
        let rows = process_rows().unwrap();
        let own = rows.iter().find(|row| row.pid == Pid::this()).unwrap();
        assert_eq!((own.parent, own.zombie), (Pid::parent(), false));
    }
}

//! The size of a terminal.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Columns and rows, both at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TerminalSize {
    /// Characters in a line.
    pub(crate) columns: usize,
    /// Lines.
    pub(crate) rows: usize,
}

/// The size of the terminal behind `fd` (`TIOCGWINSZ`, ioctl_tty(2)); `None` if it is no terminal or does not
/// know (a serial line).
pub(crate) fn terminal_size(fd: BorrowedFd<'_>) -> Option<TerminalSize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one `winsize` through the pointer, which leads to a live one, and keeps
    // nothing.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (result == 0 && columns > 0 && rows > 0).then_some(TerminalSize { columns, rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_file_is_no_terminal() {
        assert_eq!(
            terminal_size(std::fs::File::open("/dev/null").unwrap().as_fd()),
            None
        );
    }

    #[test]
    fn a_terminal_tells_its_size_once_it_has_one() {
        // A new pseudo-terminal has no size (0 x 0), which is the case of a serial line.
        let Ok(terminal) = std::fs::File::options().read(true).write(true).open("/dev/ptmx") else {
            return;
        };
        assert_eq!(terminal_size(terminal.as_fd()), None);
    }
}

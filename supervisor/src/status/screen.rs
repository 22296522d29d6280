//! The whole screen of a terminal, for as long as somebody watches: what was on it before comes back on every way out.
//!
//! The sequences are those of ECMA-48 (CUP, EL, ED) and, as every terminal has them today, xterm's for the alternate screen and the
//! cursor. Keys are read as they are typed; what ends a program at a terminal (^C, ^\, ^Z) stays a signal, and each is waited for
//! together with the keys, so that none finds the screen taken.

use std::io::{self, IsTerminal as _, Stdin, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};

use crate::clock;
use crate::sys::{TerminalSize, terminal_size};

/// The alternate screen, without a cursor; and back.
const TAKE: &str = "\x1b[?1049h\x1b[?25l";
const GIVE_BACK: &str = "\x1b[?25h\x1b[?1049l";

/// As large as a terminal is that does not say (a serial line).
const USUAL: TerminalSize = TerminalSize {
    columns: 80,
    rows: 24,
};

/// Signals that end a program at a terminal, or stop it, and those that say that the screen is another now.
const SIGNALS: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// What came while it was waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// Nothing: the time has passed.
    Time,
    /// There is something to read of the answer.
    Answer,
    Key(u8),
    /// The screen is to be drawn again.
    Change,
    /// Nobody sits there any more.
    End,
}

/// What is waited for; what comes first here is heeded first.
#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Keys,
    Answer,
}

/// The screen. It is taken with the first frame.
#[derive(Debug)]
pub(super) struct Screen {
    signals: Option<SignalFd>,
    /// How the terminal that the keys come from was, if it is one.
    before: Option<Termios>,
    is_taken: Arc<AtomicBool>,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            signals: None,
            before: None,
            is_taken: Arc::default(),
        }
    }

    pub(super) fn size() -> TerminalSize {
        terminal_size(io::stdout().as_fd()).unwrap_or(USUAL)
    }

    /// Draws these lines, none wider than the screen, and one at its foot.
    ///
    /// # Errors
    /// Those of the terminal.
    pub(super) fn draw(&mut self, lines: &[String], foot: &str) -> io::Result<()> {
        self.take()?;
        put(&frame(lines, foot, Self::size()))
    }

    /// Waits until then (without end, if none is said) for a key, a signal or an answer, and looks once if that is over. A
    /// signal that ends programs ends this one.
    ///
    /// # Errors
    /// Those of poll(2).
    pub(super) fn wait(
        &mut self,
        answer: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> io::Result<Came> {
        loop {
            if let Some(signal) = self.next_signal()? {
                return Ok(self.heed(signal));
            }
            if let Some(came) = self.poll(answer, deadline)? {
                return Ok(came);
            }
        }
    }

    fn heed(&mut self, signal: Signal) -> Came {
        if signal == Signal::SIGCONT {
            // Whoever had the terminal meanwhile has left it as it likes.
            self.is_taken.store(false, Ordering::Relaxed);
        } else if signal != Signal::SIGWINCH {
            self.give_up_to(signal);
        }
        let goes_on = [Signal::SIGCONT, Signal::SIGWINCH, Signal::SIGTSTP].contains(&signal);
        if goes_on { Came::Change } else { Came::End }
    }

    /// What came, or none if it is to be asked again.
    fn poll(&self, answer: Option<BorrowedFd<'_>>, deadline: Option<Instant>) -> io::Result<Option<Came>> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
        let is_last = left.is_some_and(|left| left.is_zero());
        // Rounded up, so that the last millisecond is not spent turning round.
        let wait = match left {
            None => PollTimeout::NONE,
            Some(Duration::ZERO) => PollTimeout::ZERO,
            Some(left) => PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
        };
        let keys = io::stdin();
        let sources = [
            self.signals.as_ref().map(|fd| (Source::Signals, fd.as_fd())),
            self.before.is_some().then(|| (Source::Keys, keys.as_fd())),
            answer.map(|fd| (Source::Answer, fd)),
        ];
        let (sources, mut fds): (Vec<Source>, Vec<PollFd<'_>>) = sources
            .into_iter()
            .flatten()
            .map(|(source, fd)| (source, PollFd::new(fd, PollFlags::POLLIN)))
            .unzip();
        poll(&mut fds, wait)?;
        let mut ready = sources.iter().zip(&fds).filter(|(_, fd)| fd.any() == Some(true));
        match ready.next() {
            Some((Source::Signals, _)) => Ok(None),
            Some((Source::Keys, _)) => key(&keys).map(Some),
            Some((Source::Answer, _)) => Ok(Some(Came::Answer)),
            None => Ok(is_last.then_some(Came::Time)),
        }
    }

    fn next_signal(&self) -> io::Result<Option<Signal>> {
        let Some(signals) = &self.signals else {
            return Ok(None);
        };
        let read = signals.read_signal()?;
        Ok(read.and_then(|read| Signal::try_from(read.ssi_signo.cast_signed()).ok()))
    }

    fn take(&mut self) -> io::Result<()> {
        if self.is_taken.load(Ordering::Relaxed) {
            return Ok(());
        }
        let is_first = self.signals.is_none();
        if is_first {
            let mask: SigSet = SIGNALS.into_iter().collect();
            mask.thread_block()?;
            let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
            self.signals = Some(SignalFd::with_flags(&mask, flags)?);
        }
        let keys = io::stdin();
        if self.before.is_none() && keys.is_terminal() {
            self.before = Some(tcgetattr(&keys)?);
        }
        if is_first {
            self.give_back_at_a_panic();
        }
        if let Some(before) = &self.before {
            let mut raw = before.clone();
            raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
            raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
            raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
            tcsetattr(&keys, SetArg::TCSADRAIN, &raw)?;
        }
        self.is_taken.store(true, Ordering::Relaxed);
        put(TAKE)
    }

    fn give_back(&self) {
        give_back(&self.is_taken, self.before.as_ref());
    }

    /// From now on a panic gives it back first: in a release it ends the process at once, without a drop.
    fn give_back_at_a_panic(&self) {
        let is_taken = Arc::clone(&self.is_taken);
        // Those of libc, for a hook may be called by any thread.
        let before = self.before.clone().map(libc::termios::from);
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back(&is_taken, before.map(Termios::from).as_ref());
            print(panic);
        }));
    }

    /// Lets a signal do what it does to a program that does not know it.
    fn give_up_to(&mut self, signal: Signal) {
        self.give_back();
        let only: SigSet = std::iter::once(signal).collect();
        let _ = raise(signal);
        // Here it is delivered. After a stop, it goes on here.
        let _ = only.thread_unblock();
        let _ = only.thread_block();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn give_back(is_taken: &AtomicBool, before: Option<&Termios>) {
    if is_taken.swap(false, Ordering::Relaxed) {
        // Not by std, whose stdout a panic may have come in the middle of. A terminal that has gone needs nothing back.
        let _ = nix::unistd::write(io::stdout(), GIVE_BACK.as_bytes());
        if let Some(before) = before {
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, before);
        }
    }
}

fn key(keys: &Stdin) -> io::Result<Came> {
    let mut byte = [0];
    // Not by the buffer of std, of which poll(2) knows nothing.
    match nix::unistd::read(keys, &mut byte) {
        Ok(1) => Ok(Came::Key(byte[0])),
        Ok(_) | Err(nix::errno::Errno::EIO) => Ok(Came::End),
        Err(errno) => Err(errno.into()),
    }
}

/// Written at once, so that a redraw does not flicker.
fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Each line is cleared just before it is written, not the screen before all of them. What does not fit is left out.
fn frame(lines: &[String], foot: &str, size: TerminalSize) -> String {
    let room = size.rows.saturating_sub(1);
    let (shown, more) = if lines.len() <= room {
        (lines.len(), 0)
    } else {
        let shown = room.saturating_sub(1);
        (shown, lines.len() - shown)
    };
    let mut frame = String::from("\x1b[H");
    for line in &lines[..shown] {
        frame.push_str("\x1b[K");
        frame.push_str(line);
        frame.push_str("\r\n");
    }
    if more > 0 && room > 0 {
        frame.push_str(&format!("\x1b[K... {more} more lines\r\n"));
    }
    let foot = &foot[..foot.len().min(size.columns)];
    frame + &format!("\x1b[J\x1b[{};1H{foot}", size.rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(lines: &[&str], columns: usize, rows: usize) -> String {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        frame(&lines, "q quit", TerminalSize { columns, rows })
    }

    const AS_BEFORE: &str = "the keys are as before";

    #[test]
    fn a_panic_gives_the_screen_back_although_nothing_is_dropped() {
        let name = "status::screen::tests::a_panic_gives_the_screen_back_although_nothing_is_dropped";
        let body = || {
            let ends = nix::pty::openpty(None, None).unwrap();
            nix::unistd::dup2_stdin(&ends.slave).unwrap();
            let before = libc::termios::from(tcgetattr(io::stdin()).unwrap()).c_lflag;
            std::panic::set_hook(Box::new(move |_| {
                let now = libc::termios::from(tcgetattr(io::stdin()).unwrap()).c_lflag;
                put(if now == before { AS_BEFORE } else { "they are not" }).unwrap();
            }));
            let mut screen = Screen::new();
            screen.draw(&["a".to_owned()], "q quits").unwrap();
            assert_ne!(tcgetattr(io::stdin()).unwrap().local_flags.bits(), before);
            std::mem::forget(screen);
            panic!("on purpose");
        };
        if let Some(said) = crate::sys::alone::alone_to_its_end(name, body) {
            assert!(said.contains(TAKE), "{said:?}");
            assert!(said.contains(&format!("{GIVE_BACK}{AS_BEFORE}")), "{said:?}");
        }
    }

    #[test]
    fn a_frame_overwrites_the_last_one_and_fits_the_screen() {
        assert_eq!(
            framed(&["a", "b"], 80, 24),
            "\x1b[H\x1b[Ka\r\n\x1b[Kb\r\n\x1b[J\x1b[24;1Hq quit"
        );
        assert_eq!(
            framed(&["1", "2", "3", "4"], 3, 4),
            "\x1b[H\x1b[K1\r\n\x1b[K2\r\n\x1b[K... 2 more lines\r\n\x1b[J\x1b[4;1Hq q"
        );
        assert_eq!(framed(&["1", "2"], 80, 1), "\x1b[H\x1b[J\x1b[1;1Hq quit");
    }
}

//! Drawing over what was drawn before.

use crate::sys::TerminalSize;

/// How one text follows another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Screen {
    /// Below it.
    Scrolling,
    /// Over it, on a terminal. No alternate screen: nothing has to be put back when somebody interrupts us,
    /// and the last status stays readable.
    Redrawn,
}

impl Screen {
    /// The text with what moves the cursor (ECMA-48: CUP, EL, ED). Lines are cleared one by one after they
    /// are written, not the screen before, so that nothing flickers; what does not fit is left out, or the
    /// next text would not find its place.
    pub(super) fn frame(self, text: &str, size: Option<TerminalSize>) -> String {
        match self {
            Self::Scrolling => text.to_owned(),
            Self::Redrawn => {
                let rows = size.map_or(usize::MAX, |size| size.rows);
                let lines: Vec<&str> = text.lines().collect();
                let shown = if lines.len() < rows {
                    lines.len()
                } else {
                    rows.saturating_sub(2)
                };
                let mut framed = String::from("\x1b[H");
                for line in &lines[..shown] {
                    framed.push_str(line);
                    framed.push_str("\x1b[K\n");
                }
                if shown < lines.len() {
                    framed.push_str(&format!("... {} more lines\x1b[K\n", lines.len() - shown));
                }
                framed.push_str("\x1b[J");
                framed
            }
        }
    }
}

//! Lines of a .gitignore (gitignore(5)): what each names, and whether it leaves that out.
//!
//! The matching is `fast-glob`'s, the grammar around it is here: comments, `!`, a slash at the end, what a slash elsewhere ties a
//! line to.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use fast_glob::{glob_match, validate};

/// What becomes of a file that a line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is left out.
    Ignored,
    /// It counts, whatever an earlier line says.
    Counts,
}

/// What a line is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    /// The name alone, in whatever directory.
    Name,
    /// The whole path below the directory of the line.
    Path,
}

/// What a line may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Everything,
    Directories,
}

/// Whether `{a,b}` means `a` or `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Braces {
    Alternatives,
    /// As git has it.
    Literal,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    /// As `fast-glob` reads it.
    pattern: Vec<u8>,
    compared: Compared,
    named: Named,
    verdict: Verdict,
}

/// Several lines, of which the last that fits decides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Globs(Vec<Glob>);

impl Glob {
    /// A line that a person wrote for us: `{a,b}` means `a` or `b`, as shells have it.
    ///
    /// # Errors
    /// One line: it names nothing.
    pub(crate) fn of_flag(text: &str) -> Result<Self, String> {
        match Self::read(text.as_bytes(), Braces::Alternatives) {
            Some(glob) => validate(&glob.pattern)
                .map(|()| glob)
                .map_err(|error| format!("no glob: {error}")),
            None if text.starts_with('#') => Err(format!("`#` begins a comment; write `\\{text}`")),
            None => Err("expected a glob such as `*.log`, got nothing".to_owned()),
        }
    }

    /// A line of a .gitignore. One that git cannot read names nothing, and neither does a comment.
    fn of_git(line: &[u8]) -> Option<Self> {
        Self::read(line, Braces::Literal).filter(|glob| validate(&glob.pattern).is_ok())
    }

    fn read(line: &[u8], braces: Braces) -> Option<Self> {
        let line = without_trailing_spaces(line);
        if line.starts_with(b"#") {
            return None;
        }
        let (verdict, line) = match line.strip_prefix(b"!") {
            Some(rest) => (Verdict::Counts, rest),
            None => (Verdict::Ignored, line),
        };
        let (named, line) = match line.strip_suffix(b"/") {
            Some(rest) => (Named::Directories, rest),
            None => (Named::Everything, line),
        };
        let compared = if line.contains(&b'/') {
            Compared::Path
        } else {
            Compared::Name
        };
        let line = line.strip_prefix(b"/").unwrap_or(line);
        (!line.is_empty()).then(|| Self {
            pattern: translated(line, braces),
            compared,
            named,
            verdict,
        })
    }

    fn fits(&self, below: &Path, is_directory: bool) -> bool {
        if self.named == Named::Directories && !is_directory {
            return false;
        }
        let compared = match self.compared {
            Compared::Name => below.file_name().unwrap_or(below.as_os_str()),
            Compared::Path => below.as_os_str(),
        };
        glob_match(&self.pattern, compared.as_bytes())
    }
}

impl Globs {
    /// The lines of a .gitignore.
    pub(crate) fn of_git(text: &[u8]) -> Self {
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        let lines = text.split(|byte| *byte == b'\n');
        let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        Self(lines.filter_map(Glob::of_git).collect())
    }

    /// What becomes of a path below the directory of the lines; nothing, if no line fits. What lies in a directory that is left out
    /// is not to be asked for.
    pub(crate) fn verdict(&self, below: &Path, is_directory: bool) -> Option<Verdict> {
        let mut last_first = self.0.iter().rev();
        let glob = last_first.find(|glob| glob.fits(below, is_directory));
        glob.map(|glob| glob.verdict)
    }
}

impl FromIterator<Glob> for Globs {
    fn from_iter<Lines: IntoIterator<Item = Glob>>(lines: Lines) -> Self {
        Self(lines.into_iter().collect())
    }
}

/// `\ ` at the end is a space.
fn without_trailing_spaces(mut line: &[u8]) -> &[u8] {
    while let Some(rest) = line.strip_suffix(b" ") {
        let backslashes = rest.iter().rev().take_while(|byte| **byte == b'\\').count();
        if backslashes % 2 == 1 {
            break;
        }
        line = rest;
    }
    line
}

/// The pattern as `fast-glob` reads it: there `!` at the front turns the answer round, and `\n` is the end of a line.
fn translated(line: &[u8], braces: Braces) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(line.len());
    if line.starts_with(b"!") {
        pattern.push(b'\\');
    }
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escaped = if byte == b'\\' { bytes.next() } else { None };
        match (byte, escaped) {
            (b'\\', Some(letter)) if letter.is_ascii_alphanumeric() => pattern.push(letter),
            (b'\\', Some(other)) => pattern.extend([b'\\', other]),
            (b'{' | b'}', _) if braces == Braces::Literal => pattern.extend([b'\\', byte]),
            (_, _) => pattern.push(byte),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the lines of a .gitignore say of a path; a slash at its end makes it a directory.
    fn of(lines: &str, path: &str) -> Option<Verdict> {
        let below = path.strip_suffix('/').unwrap_or(path);
        Globs::of_git(lines.as_bytes()).verdict(Path::new(below), path.ends_with('/'))
    }

    #[test]
    fn lines_are_read_as_git_reads_them() {
        // `git check-ignore --no-index` says the same of each.
        let named = [
            ("*.log", "a/b.log"),
            ("a", "a"),
            ("a", "b/a/"),
            ("a/", "b/a/"),
            ("/a", "a"),
            ("a/b", "a/b"),
            ("**/a/b", "c/d/a/b"),
            ("a/**", "a/b/c"),
            ("a/**/b", "a/b"),
            ("a/**/b", "a/c/d/b"),
            ("a**b", "acb"),
            ("?.rs", "a.rs"),
            ("[!a].rs", "b.rs"),
            ("[]a].rs", "].rs"),
            ("\\#a", "#a"),
            ("\\!a", "!a"),
            ("/!a", "!a"),
            ("\\n\\a", "na"),
            ("a ", "a"),
            ("a\\ ", "a "),
            ("a\r\nb", "a"),
            ("\u{feff}a", "a"),
            ("{a,b}", "{a,b}"),
            ("b*é", "bé"),
        ];
        for (lines, path) in named {
            assert_eq!(of(lines, path), Some(Verdict::Ignored), "{lines:?} and {path}");
        }
        let not_named = [
            ("*.log", "a.log.gz"),
            ("a/", "a"),
            ("/a", "b/a"),
            ("a/b", "c/a/b"),
            ("a/*.c", "a/b/d.c"),
            ("a/**", "a/"),
            ("*a", "b/c"),
            ("# a", "# a"),
            ("", "a"),
            ("/", "a"),
            ("{a,b}", "a"),
            ("[a", "[a"),
            ("a\\", "a"),
        ];
        for (lines, path) in not_named {
            assert_eq!(of(lines, path), None, "{lines:?} and {path}");
        }
    }

    #[test]
    fn the_last_line_that_fits_decides() {
        assert_eq!(of("*.log\n!keep.log", "keep.log"), Some(Verdict::Counts));
        assert_eq!(of("!keep.log\n*.log", "keep.log"), Some(Verdict::Ignored));
    }

    #[test]
    fn a_flag_may_name_alternatives_and_is_refused_if_it_names_nothing() {
        let glob = Glob::of_flag("*.{js,css}").unwrap();
        assert!(glob.fits(Path::new("a/b.css"), false));
        for (text, why) in [
            ("", "got nothing"),
            ("  ", "got nothing"),
            ("#a#", "write `\\#a#`"),
            ("{a", "unclosed brace"),
            ("[a", "unclosed character class"),
            ("a\\", "trailing backslash"),
        ] {
            let error = Glob::of_flag(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}

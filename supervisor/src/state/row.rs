//! Rows of text.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Why a state cannot be read, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw(String);

impl Flaw {
    /// `state: CAUSE`.
    pub(crate) fn new(cause: impl fmt::Display) -> Self {
        Self(format!("state: {cause}"))
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Flaw {}

/// What most states fit in, in bytes: an environment, and the settings of two generations. A larger one grows.
const USUAL_SIZE: usize = 16 * 1024;

/// A state that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    text: Vec<u8>,
}

/// Rows that stay as they are, in words as soon as they have been written once.
#[derive(Clone, Debug, Default)]
pub(crate) struct FixedRows {
    text: OnceCell<Box<[u8]>>,
}

impl Default for Rows {
    fn default() -> Self {
        Self {
            text: Vec::with_capacity(USUAL_SIZE),
        }
    }
}

/// Whether a byte of a value stands for itself. All others are written as `%` and two digits.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'%'
}

impl Rows {
    /// Begin a row of this kind, a word without a blank, `=` or `%`. Fields are added to it until the next one begins.
    pub(crate) fn begin(&mut self, kind: &str) -> &mut Self {
        self.end();
        self.text.extend_from_slice(kind.as_bytes());
        self
    }

    /// Add a field with any bytes in it.
    pub(crate) fn bytes(&mut self, key: &str, value: &[u8]) -> &mut Self {
        self.text.push(b' ');
        self.text.extend_from_slice(key.as_bytes());
        self.text.push(b'=');
        let mut rest = value;
        loop {
            let plain = rest.iter().position(|byte| !is_plain(*byte));
            let (run, others) = rest.split_at(plain.unwrap_or(rest.len()));
            self.text.extend_from_slice(run);
            let Some((byte, after)) = others.split_first() else {
                break;
            };
            let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
            self.text
                .extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            rest = after;
        }
        self
    }

    /// Add a field of text.
    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.bytes(key, value.as_bytes())
    }

    /// Add a field of text as the system has it: a path, an argument.
    pub(crate) fn os(&mut self, key: &str, value: &OsStr) -> &mut Self {
        self.bytes(key, value.as_bytes())
    }

    /// Add a field that is a whole number.
    pub(crate) fn number(&mut self, key: &str, value: u64) -> &mut Self {
        self.text.push(b' ');
        self.text.extend_from_slice(key.as_bytes());
        self.text.push(b'=');
        // A vector takes all that is written to it.
        let _ = write!(self.text, "{value}");
        self
    }

    /// Add rows that were written elsewhere: whole lines, each with its newline.
    pub(crate) fn lines(&mut self, lines: &str) {
        self.end();
        self.text.extend_from_slice(lines.as_bytes());
    }

    /// Add rows that are the same each time.
    pub(crate) fn fixed(&mut self, known: &FixedRows, write: impl FnOnce(&mut Self)) {
        let text = known.text.get_or_init(|| {
            let mut rows = Self { text: Vec::new() };
            write(&mut rows);
            rows.finish().into_boxed_slice()
        });
        self.end();
        self.text.extend_from_slice(text);
    }

    /// The whole text, every row with its newline.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.end();
        self.text
    }

    fn end(&mut self) {
        if self.text.last().is_some_and(|last| *last != b'\n') {
            self.text.push(b'\n');
        }
    }
}

/// A row that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    line: &'a str,
}

impl<'a> Row<'a> {
    /// The rows of a state.
    ///
    /// # Errors
    /// It is not text.
    pub(crate) fn all(state: &'a [u8]) -> Result<Vec<Self>, Flaw> {
        let text = std::str::from_utf8(state).map_err(|_| Flaw::new("not text"))?;
        let lines = text.split('\n').filter(|line| !line.is_empty());
        Ok(lines.map(|line| Row { line }).collect())
    }

    /// The one row of a kind.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn of_kind(rows: &[Self], kind: &str) -> Result<Self, Flaw> {
        let found = rows.iter().find(|row| row.kind() == kind);
        found
            .copied()
            .ok_or_else(|| Flaw::new(format_args!("no row {kind}")))
    }

    /// The whole line, without its newline.
    pub(crate) fn line(&self) -> &'a str {
        self.line
    }

    /// What kind of row it is.
    pub(crate) fn kind(&self) -> &'a str {
        self.line.split(' ').next().unwrap_or_default()
    }

    fn raw(&self, key: &str) -> Option<&'a str> {
        let mut fields = self.line.split(' ').skip(1);
        fields.find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
    }

    /// That this field is missing or cannot be read.
    pub(crate) fn lacks(&self, key: &str) -> Flaw {
        Flaw::new(format_args!("row {:?} has no usable {key}", self.line))
    }

    /// A field with any bytes in it, if it is there.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(crate) fn bytes_if_any(&self, key: &str) -> Result<Option<Vec<u8>>, Flaw> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        unescape(raw).map(Some).ok_or_else(|| self.lacks(key))
    }

    /// A field with any bytes in it.
    ///
    /// # Errors
    /// It is missing or cannot be read.
    pub(crate) fn bytes(&self, key: &str) -> Result<Vec<u8>, Flaw> {
        self.bytes_if_any(key)?.ok_or_else(|| self.lacks(key))
    }

    /// A field of text, if it is there.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(crate) fn text_if_any(&self, key: &str) -> Result<Option<String>, Flaw> {
        let bytes = self.bytes_if_any(key)?;
        let text = bytes.map(String::from_utf8).transpose();
        text.map_err(|_| self.lacks(key))
    }

    /// A field of text.
    ///
    /// # Errors
    /// It is missing or cannot be read.
    pub(crate) fn text(&self, key: &str) -> Result<String, Flaw> {
        self.text_if_any(key)?.ok_or_else(|| self.lacks(key))
    }

    /// A field of text as the system has it, if it is there.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(crate) fn os_if_any(&self, key: &str) -> Result<Option<OsString>, Flaw> {
        Ok(self.bytes_if_any(key)?.map(OsString::from_vec))
    }

    /// A field of text as the system has it.
    ///
    /// # Errors
    /// It is missing or cannot be read.
    pub(crate) fn os(&self, key: &str) -> Result<OsString, Flaw> {
        self.bytes(key).map(OsString::from_vec)
    }

    /// A field that is a whole number, if it is there.
    ///
    /// # Errors
    /// It is there and is none.
    pub(crate) fn number_if_any(&self, key: &str) -> Result<Option<u64>, Flaw> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        raw.parse().map(Some).map_err(|_| self.lacks(key))
    }

    /// A field that is a whole number.
    ///
    /// # Errors
    /// It is missing or is none.
    pub(crate) fn number(&self, key: &str) -> Result<u64, Flaw> {
        self.number_if_any(key)?.ok_or_else(|| self.lacks(key))
    }

    /// A field whose text means something by [`std::str::FromStr`].
    ///
    /// # Errors
    /// It is missing or means nothing.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, key: &str) -> Result<T, Flaw> {
        self.text(key)?.parse().map_err(|_| self.lacks(key))
    }
}

fn unescape(raw: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let value = digit(digits[0])? * 16 + digit(digits[1])?;
        bytes.push(u8::try_from(value).ok()?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut rows = Rows::default();
        rows.begin("listener")
            .text("name", "a b=c%\n")
            .number("inode", u64::MAX);
        rows.begin("empty")
            .bytes("none", b"")
            .bytes("all", &[0, 255, b' ']);
        let text = rows.finish();
        let rows = Row::all(&text).unwrap();
        assert_eq!(
            (rows.len(), rows[0].kind(), rows[1].kind()),
            (2, "listener", "empty")
        );
        assert_eq!(rows[0].text("name").unwrap(), "a b=c%\n");
        assert_eq!(rows[0].number("inode").unwrap(), u64::MAX);
        assert_eq!(rows[1].bytes("none").unwrap(), b"");
        assert_eq!(rows[1].bytes("all").unwrap(), [0, 255, b' ']);
    }

    #[test]
    fn fixed_rows_are_put_into_words_once() {
        let (fixed, mut times) = (FixedRows::default(), 0);
        let mut texts = Vec::new();
        for number in 0..2 {
            let mut rows = Rows::default();
            rows.begin("before").number("n", number);
            rows.fixed(&fixed, |rows| {
                times += 1;
                rows.begin("fixed").number("n", number);
            });
            rows.begin("after");
            texts.push(rows.finish());
        }
        assert_eq!(
            texts,
            [
                b"before n=0\nfixed n=0\nafter\n",
                b"before n=1\nfixed n=0\nafter\n"
            ]
        );
        assert_eq!(times, 1);
    }

    #[test]
    fn any_bytes_come_back() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let value: Vec<u8> = (0..random.usize(..20)).map(|_| random.u8(..)).collect();
            let mut rows = Rows::default();
            rows.begin("x").bytes("before", b"1").bytes("value", &value);
            let text = rows.finish();
            assert_eq!(Row::all(&text).unwrap()[0].bytes("value").unwrap(), value);
        }
    }

    #[test]
    fn what_is_missing_or_broken_is_named() {
        let text = b"worker pid=x bad=%4 worse=%zz long=%fff\n";
        let row = Row::all(text).unwrap()[0];
        assert_eq!(row.number_if_any("nothing"), Ok(None));
        for (key, outcome) in [
            ("pid", row.number("pid").map(drop)),
            ("bad", row.bytes("bad").map(drop)),
            ("worse", row.bytes("worse").map(drop)),
            ("none", row.text("none").map(drop)),
            ("long", row.text("long").map(drop)),
        ] {
            let flaw = outcome.unwrap_err().to_string();
            assert!(flaw.starts_with("state: row \"worker "), "{flaw}");
            assert!(flaw.ends_with(&format!("has no usable {key}")), "{flaw}");
        }
        assert_eq!(Row::all(b"\xff").unwrap_err().to_string(), "state: not text");
    }
}

//! What to run: a fixture with its vice, the sample app, a shell script.

use std::ffi::OsString;

use crate::binaries::Binary;

/// A command line.
#[derive(Clone, Debug)]
pub struct Program {
    words: Vec<OsString>,
}

impl Program {
    /// Any command.
    #[must_use]
    pub fn new(command: impl Into<OsString>) -> Self {
        Self {
            words: vec![command.into()],
        }
    }

    /// A fixture by its vice, with options: `Program::fixture("slow-start after=1s")`.
    #[must_use]
    pub fn fixture(line: &str) -> Self {
        Self::new(Binary::Fixture.path()).args(line.split_whitespace())
    }

    /// The sample app.
    #[must_use]
    pub fn app() -> Self {
        Self::new(Binary::App.path())
    }

    /// An example of `segue-app`.
    #[must_use]
    pub fn example(name: &'static str) -> Self {
        Self::new(Binary::Example(name).path())
    }

    /// Adds words.
    #[must_use]
    pub fn args<I: IntoIterator>(mut self, words: I) -> Self
    where
        I::Item: Into<OsString>,
    {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// The words as segue.toml has them: `["app", "--flag"]`.
    #[must_use]
    pub fn as_toml(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        format!("{words:?}")
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// The words as a shell reads them, each in single quotes.
    #[must_use]
    pub fn shell_words(&self) -> String {
        let quoted = |word: &OsString| format!("'{}'", word.display());
        self.words.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }
}

//! Colours, for words that tell a state and for nothing else.

use std::ffi::OsString;

use anstyle::{AnsiColor, Style};

/// When colours are asked for (`--color`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum When {
    /// On a terminal that has some, unless `NO_COLOR` is set.
    #[default]
    Auto,
    Always,
    Never,
}

/// Whether words are shown in colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Colours,
}

/// The head of the column whose words are coloured.
const STATE: &str = "STATE";

const GOOD: Style = AnsiColor::Green.on_default();
const UNDER_WAY: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// The words: those of a status, of its workers, of an outcome, and of an instance that does not answer.
const WORDS: &[(&str, Style)] = &[
    ("serving", GOOD),
    ("ok", GOOD),
    ("starting", UNDER_WAY),
    ("handing-off", UNDER_WAY),
    ("draining", UNDER_WAY),
    ("stopping", UNDER_WAY),
    ("backing-off", BAD),
    ("failed", BAD),
    ("rolled-back", BAD),
    ("no-answer", BAD),
    ("not-reached", BAD),
    ("killed", BAD),
];

impl Paint {
    /// What `--color` and the environment make of it: the flag goes first, then `NO_COLOR` (<https://no-color.org>), then what the
    /// terminal can do.
    pub(crate) fn choose(when: When, is_terminal: bool, variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let is_unwanted = || variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        match when {
            When::Always => Self::Colours,
            When::Never => Self::Plain,
            When::Auto if is_terminal && !is_dumb(variable) && !is_unwanted() => Self::Colours,
            When::Auto => Self::Plain,
        }
    }

    /// In a table with its heads, up to an empty line: the words in the column of states.
    pub(crate) fn column(self, lines: &mut [String]) {
        let mut lines = lines.iter_mut();
        let Some(start) = lines.next().and_then(|heads| heads.find(STATE)) else {
            return;
        };
        for line in lines.take_while(|line| !line.is_empty()) {
            let at = line.char_indices().nth(start).map(|(at, _)| at);
            self.word_at(line, at);
        }
    }

    /// The word that follows the first place in which `before` stands.
    pub(crate) fn word_after(self, line: &mut String, before: &str) {
        let at = line.find(before).map(|at| at + before.len());
        self.word_at(line, at);
    }

    fn word_at(self, line: &mut String, at: Option<usize>) {
        let Some((before, rest)) = at.and_then(|at| line.split_at_checked(at)) else {
            return;
        };
        let end = rest.find([' ', ',']).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        let found = WORDS.iter().find(|(known, _)| *known == word);
        if let (Self::Colours, Some((_, style))) = (self, found) {
            *line = format!("{before}{style}{word}{style:#}{rest}");
        }
    }
}

/// Whether the terminal can neither move its cursor nor show colours.
pub(crate) fn is_dumb(variable: &dyn Fn(&str) -> Option<OsString>) -> bool {
    variable("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(when: When, is_terminal: bool, variables: &[(&str, &str)]) -> Paint {
        Paint::choose(when, is_terminal, &|name| {
            let (_, value) = variables.iter().find(|(key, _)| *key == name)?;
            Some((*value).into())
        })
    }

    #[test]
    fn a_flag_goes_before_the_environment_and_that_before_the_terminal() {
        let xterm = ("TERM", "xterm");
        assert_eq!(chosen(When::Auto, true, &[xterm]), Paint::Colours);
        assert_eq!(chosen(When::Auto, false, &[xterm]), Paint::Plain);
        assert_eq!(chosen(When::Auto, true, &[("TERM", "dumb")]), Paint::Plain);
        assert_eq!(chosen(When::Auto, true, &[]), Paint::Plain);
        assert_eq!(
            chosen(When::Auto, true, &[xterm, ("NO_COLOR", "1")]),
            Paint::Plain
        );
        assert_eq!(
            chosen(When::Auto, true, &[xterm, ("NO_COLOR", "")]),
            Paint::Colours
        );
        assert_eq!(chosen(When::Always, false, &[("NO_COLOR", "1")]), Paint::Colours);
        assert_eq!(chosen(When::Never, true, &[xterm]), Paint::Plain);
    }

    #[test]
    fn words_of_the_column_are_coloured_and_no_others() {
        let table = "NAME    STATE    MORE\nserving serving  failed\nöther   gone     x\n\nserving serving";
        let mut lines: Vec<String> = table.lines().map(str::to_owned).collect();
        Paint::Plain.column(&mut lines);
        assert_eq!(lines.join("\n"), table);
        Paint::Colours.column(&mut lines);
        let expected = table.replacen("serving serving", "serving \x1b[32mserving\x1b[0m", 1);
        assert_eq!(lines.join("\n"), expected);
    }

    #[test]
    fn a_word_may_stand_behind_others() {
        let mut line = "last reload: failed, generation 2".to_owned();
        Paint::Colours.word_after(&mut line, "last reload: ");
        assert_eq!(line, "last reload: \x1b[31mfailed\x1b[0m, generation 2");
        Paint::Colours.word_after(&mut line, "nowhere");
    }
}

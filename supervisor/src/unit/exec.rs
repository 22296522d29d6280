//! A command line of a unit (systemd.service(5), "Command lines"), as far as it can be read without its environment.

/// The characters before a program that say how it is run.
const PREFIXES: &str = "@-:+!|";

/// A command line, taken apart but not expanded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exec<'a> {
    /// What stands before the program: `-`, `@`, ...
    pub(crate) prefixes: &'a str,
    /// All from the program on, as it is written.
    pub(crate) written: &'a str,
    /// The words of it, the program first.
    pub(crate) words: Vec<Word<'a>>,
}

/// A word as it is written, with its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word<'a>(pub(crate) &'a str);

impl<'a> Exec<'a> {
    /// Take a command line apart.
    ///
    /// # Errors
    /// One line: a quote is not closed, there is no program, or there are several commands in the line.
    pub(crate) fn parse(line: &'a str) -> Result<Self, String> {
        let line = line.trim();
        let written = line.trim_start_matches(|sign| PREFIXES.contains(sign));
        let words = split(written)?;
        match words.first() {
            None => return Err("there is no program".to_owned()),
            Some(Word(program)) if program.starts_with(['"', '\'']) => {
                let inside = &program[1..];
                if inside.starts_with(|sign| PREFIXES.contains(sign)) {
                    return Err(format!("{program}: a prefix stands within quotes"));
                }
            }
            Some(_) => {}
        }
        if words.contains(&Word(";")) {
            return Err("there are several commands in one line, with `;` between them".to_owned());
        }
        Ok(Self {
            prefixes: &line[..line.len() - written.len()],
            written,
            words,
        })
    }

    /// The words, if each of them stands for itself whoever reads it.
    pub(crate) fn literal(&self) -> Option<Vec<&'a str>> {
        self.words.iter().map(|word| word.literal()).collect()
    }
}

impl<'a> Word<'a> {
    /// What the word means, if it has neither specifier nor variable nor escape, and its quotes are all around it or there are
    /// none.
    pub(crate) fn literal(self) -> Option<&'a str> {
        if self.0.contains(['%', '$', '\\']) {
            return None;
        }
        for quote in ['"', '\''] {
            let inside = self
                .0
                .strip_prefix(quote)
                .and_then(|rest| rest.strip_suffix(quote));
            if let Some(inside) = inside {
                return (!inside.contains(quote)).then_some(inside);
            }
        }
        (!self.0.contains(['"', '\''])).then_some(self.0)
    }
}

/// Split at blanks that are not quoted. A backslash takes the next character with it, within quotes too.
fn split(text: &str) -> Result<Vec<Word<'_>>, String> {
    let mut words = Vec::new();
    let (mut begin, mut quote, mut is_escaped) = (None, None, false);
    for (at, sign) in text.char_indices() {
        if is_escaped {
            is_escaped = false;
            continue;
        }
        let is_blank = sign.is_ascii_whitespace() && quote.is_none();
        match (begin, is_blank) {
            (None, false) => begin = Some(at),
            (Some(from), true) => {
                words.push(Word(&text[from..at]));
                begin = None;
            }
            (None, true) | (Some(_), false) => {}
        }
        is_escaped = sign == '\\';
        match quote {
            Some(open) if open == sign => quote = None,
            None if matches!(sign, '"' | '\'') => quote = Some(sign),
            Some(_) | None => {}
        }
    }
    if quote.is_some() || is_escaped {
        return Err("a quote or a backslash at its end is not closed".to_owned());
    }
    words.extend(begin.map(|from| Word(&text[from..])));
    Ok(words)
}

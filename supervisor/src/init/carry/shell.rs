//! The line of `sh -c`: whether the shell becomes the app, or stays its parent.

use crate::unit::Exec;

/// The name of the program that a shell becomes by `exec`, if that is its last command. A script without `-c` may do so in its
/// file, which nobody reads here.
pub(super) fn executed<'a>(exec: &Exec<'a>) -> Option<&'a str> {
    let is_line = |word: &str| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    let words: Vec<&'a str> = exec.words.iter().map(|word| word.0).collect();
    let at = words.iter().position(|word| is_line(word))?;
    executed_by(unquoted(words.get(at + 1)?))
}

fn unquoted(word: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| word.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(word)
}

fn executed_by(line: &str) -> Option<&str> {
    let mut words = last_command(line)?.split_whitespace();
    let first = words.find(|word| !is_variable(word))?;
    if first != "exec" {
        return None;
    }
    // Without a program, `exec` only redirects.
    let program = words.find(|word| !word.starts_with('-') && !word.contains(['<', '>']))?;
    program
        .trim_matches(['"', '\'', '\\'])
        .rsplit('/')
        .next()
        .filter(|name| !name.is_empty())
}

fn is_variable(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .chars()
                .all(|sign| sign.is_ascii_alphanumeric() || sign == '_')
    })
}

/// The command that a shell runs last, in itself. `None` if that one runs in another process: a subshell, or the background.
fn last_command(line: &str) -> Option<&str> {
    let line = line.trim().trim_end_matches(';');
    let (mut begin, mut quote, mut is_escaped, mut substitutions) = (0, None, false, 0_usize);
    let mut before = ' ';
    for (at, sign) in line.char_indices() {
        let last = std::mem::replace(&mut before, sign);
        if is_escaped {
            is_escaped = false;
            continue;
        }
        match (quote, sign) {
            (_, '\\') => is_escaped = true,
            (Some(open), _) if open == sign => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(sign),
            (None, '(') if last == '$' || substitutions > 0 => substitutions += 1,
            (None, '(') => return None,
            (None, ')') => substitutions = substitutions.saturating_sub(1),
            (None, _) if substitutions > 0 => {}
            // `>&`, `<&`, `&>` and `>|` redirect.
            (None, '&' | '|') if matches!(last, '>' | '<') => {}
            (None, '&') if line[at + 1..].starts_with('>') => {}
            (None, ';' | '&' | '|' | '\n') => begin = at + 1,
            (None, _) => {}
        }
    }
    Some(&line[begin..])
}

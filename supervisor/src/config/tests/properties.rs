//! Garbage in, one clear line out. The seed of each run is printed, so that a failure can be played again: set
//! `SEGUE_SEED` to it.

use std::path::Path;
use std::time::Duration;

use super::super::duration::{self, Limit};
use super::super::{env_file, file, options};
use super::{assert_one_line, line};
use crate::trials::cases;

/// See [`cases`].
const CASES: u32 = 1_000_000;

/// Parsing TOML takes some ten times as long as the rest, so it gets fewer cases.
const TOML_CASES: u32 = 200_000;

fn dice(test: &str) -> fastrand::Rng {
    let seed = std::env::var("SEGUE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("{test}: SEGUE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// A few pieces in a row, now and then with a wild character among them.
fn garbage(dice: &mut fastrand::Rng, pieces: &[&str], most: usize) -> String {
    let mut text = String::new();
    for _ in 0..dice.usize(0..=most) {
        if dice.u8(0..16) == 0 {
            text.push(dice.char(..));
        } else {
            text.push_str(pieces[dice.usize(0..pieces.len())]);
        }
    }
    text
}

#[test]
fn durations_never_panic_and_refuse_clearly() {
    let mut dice = dice("durations");
    let pieces = [
        "0",
        "1",
        "30",
        "9999999999",
        "18446744073709551615",
        "h",
        "m",
        "s",
        "ms",
        "us",
        ".",
        "-",
        "+",
        " ",
        "none",
        "S",
        "1h",
        "2h",
        "5m",
        "30m",
        "1s",
        "30s",
        "7ms",
        "250ms",
    ];
    let mut taken = 0;
    for _ in 0..cases(CASES) {
        let text = garbage(&mut dice, &pieces, 6);
        match duration::parse(&text) {
            Err(reason) => assert_one_line(&reason),
            Ok(duration) => {
                taken += 1;
                assert!(duration <= Duration::from_secs(365 * 24 * 3600), "{text:?}");
                assert_eq!(
                    duration::parse(&duration::text(duration)),
                    Ok(duration),
                    "{text:?}"
                );
                assert_eq!(text.parse(), Ok(Limit(Some(duration))));
            }
        }
    }
    assert!(
        taken > cases(CASES) / 100,
        "only {taken} of {} were durations: the test has lost its teeth",
        cases(CASES)
    );
}

#[test]
fn what_a_duration_prints_is_the_same_duration() {
    let mut dice = dice("printed durations");
    for _ in 0..cases(CASES) {
        let duration = Duration::from_millis(dice.u64(0..=31_536_000_000));
        assert_eq!(duration::parse(&duration::text(duration)), Ok(duration));
    }
}

#[test]
fn env_files_never_panic_and_refuse_clearly() {
    let mut dice = dice("env files");
    let pieces = [
        "A",
        "B_1",
        "=",
        "=",
        "\n",
        "\n",
        " ",
        "\t",
        "\r\n",
        "#",
        ";",
        "'",
        "\"",
        "\\",
        "$",
        "x",
        "\0",
        "export ",
        "LISTEN_FDS",
        "\u{feff}",
    ];
    let mut taken = 0;
    for _ in 0..cases(CASES) {
        let mut content = garbage(&mut dice, &pieces, 12).into_bytes();
        if dice.u8(0..8) == 0 {
            content.push(dice.u8(..));
        }
        let lines = content.iter().filter(|byte| **byte == b'\n').count() + 1;
        match env_file::parse(&content) {
            Err(error) => {
                assert_one_line(&error.message);
                assert!(
                    (1..=lines).contains(&error.line),
                    "line {} of {content:?}",
                    error.line
                );
            }
            Ok(variables) => taken += u32::from(!variables.is_empty()),
        }
    }
    assert!(
        taken > cases(CASES) / 100,
        "only {taken} of {} had variables: the test has lost its teeth",
        cases(CASES)
    );
}

#[test]
fn what_is_quoted_comes_out_as_it_went_in() {
    let mut dice = dice("quoted values");
    let pieces = ["a", " ", "\n", "\"", "'", "\\", "$", "`", "#", "=", "\t", "\r"];
    for _ in 0..cases(CASES) / 10 {
        let value = garbage(&mut dice, &pieces, 10).replace('\0', "");
        let mut quoted = String::new();
        for character in value.chars() {
            if matches!(character, '"' | '\\' | '$' | '`') {
                quoted.push('\\');
            }
            quoted.push(character);
        }
        let variables = env_file::parse(format!("A=\"{quoted}\"\n").as_bytes());
        assert_eq!(variables, Ok(vec![("A".into(), value.into())]));
    }
}

#[test]
fn files_never_panic_and_refuse_clearly() {
    let mut dice = dice("segue.toml");
    let values = [
        "\n",
        "\n",
        " = ",
        " = ",
        " = ",
        "1",
        "'30s'",
        "\"none\"",
        "true",
        "0o27",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        "[[listen]]\n",
        "[env]\n",
        "1979-05-27",
        "1.5",
        "'8080'",
        "'x=unix:/a'",
        "address",
        "backlog",
        "mode",
        "\"",
        "'",
        "#",
        "\\",
        "\0",
    ];
    let pieces: Vec<&str> = values.into_iter().chain(key_names()).collect();
    let mut taken = 0;
    for _ in 0..cases(TOML_CASES) {
        let text = if dice.bool() {
            garbage(&mut dice, &pieces, 14)
        } else {
            assignments(&mut dice, &pieces)
        };
        let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
        match file::parse(Path::new("t"), &text) {
            Ok(_) => taken += 1,
            Err(errors) => {
                assert!(!errors.is_empty(), "{text:?}");
                for error in errors {
                    let text = line(&error);
                    let number = text
                        .split(':')
                        .nth(1)
                        .and_then(|number| number.parse::<usize>().ok());
                    assert!(
                        number.is_some_and(|number| (1..=lines).contains(&number)),
                        "{text:?}"
                    );
                }
            }
        }
    }
    assert!(
        taken > cases(TOML_CASES) / 100,
        "only {taken} of {} were read: the test has lost its teeth",
        cases(TOML_CASES)
    );
}

fn key_names() -> impl Iterator<Item = &'static str> {
    options::keys().map(|setting| setting.name)
}

/// Lines of `key = value`, most of which are TOML.
fn assignments(dice: &mut fastrand::Rng, pieces: &[&str]) -> String {
    let mut text = String::new();
    for _ in 0..dice.usize(1..4) {
        let keys: Vec<_> = key_names().collect();
        let key = keys[dice.usize(0..keys.len())];
        let value = match dice.u8(0..4) {
            0 => garbage(dice, pieces, 4),
            1 => "['8080', {address = '*:1', backlog = 5}]".to_owned(),
            2 => "'30s'".to_owned(),
            _ => "7".to_owned(),
        };
        text.push_str(&format!("{key} = {value}\n"));
    }
    text
}

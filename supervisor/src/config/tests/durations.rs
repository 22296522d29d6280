use std::time::Duration;

use super::super::duration::{Limit, parse, text};

#[test]
fn units_and_combinations_are_read() {
    for (written, millis) in [
        ("250ms", 250),
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("1m30s", 90_000),
        ("90s", 90_000),
        ("1h0m1ms", 3_600_001),
        ("0s", 0),
        ("007s", 7_000),
        ("8760h", 31_536_000_000),
    ] {
        assert_eq!(parse(written), Ok(Duration::from_millis(millis)), "{written}");
    }
}

#[test]
fn what_is_no_duration_is_refused_with_a_hint() {
    for (written, reason) in [
        ("30", "a duration needs a unit: `30s` (or ms, m, h)"),
        ("0", "a duration needs a unit: `0s` (or ms, m, h)"),
        (
            "12345678901234567890123",
            "a duration needs a unit: `30s` (or ms, m, h)",
        ),
        (
            "",
            "expected a duration such as `30s`, `250ms` or `1m30s`, got \"\"",
        ),
        (
            "-1s",
            "expected a duration such as `30s`, `250ms` or `1m30s`, got \"-1s\"",
        ),
        (
            "1m30",
            "expected a duration such as `30s`, `250ms` or `1m30s`, got \"1m30\"",
        ),
        (
            "1.5s",
            "expected a duration such as `30s`, `250ms` or `1m30s`, got \"1.5s\"; for a fraction take a smaller unit, `1500ms`",
        ),
        (
            "30sec",
            "unknown unit \"sec\" in \"30sec\"; the units are h, m, s and ms",
        ),
        (
            "30S",
            "unknown unit \"S\" in \"30S\"; the units are h, m, s and ms",
        ),
        (
            "30s1m",
            "the units of a duration go from large to small, each once: `1m30s`, got \"30s1m\"",
        ),
        (
            "1s1s",
            "the units of a duration go from large to small, each once: `1m30s`, got \"1s1s\"",
        ),
        ("none", "`none` is not allowed here; a duration is, such as `30s`"),
        ("8761h", "\"8761h\" is longer than a year"),
        (
            "99999999999999999999h",
            "\"99999999999999999999h\" is longer than a year",
        ),
        (
            "1s\n",
            "expected a duration such as `30s`, `250ms` or `1m30s`, got \"1s\\n\"",
        ),
    ] {
        assert_eq!(parse(written), Err(reason.to_owned()), "{written:?}");
    }
}

#[test]
fn none_is_a_limit() {
    assert_eq!("none".parse(), Ok(Limit(None)));
    assert_eq!("2s".parse(), Ok(Limit(Some(Duration::from_secs(2)))));
    assert!("None".parse::<Limit>().is_err());
}

#[test]
fn what_is_written_is_read_again() {
    assert_eq!(text(Duration::from_millis(90_250)), "1m30s250ms");
    assert_eq!(text(Duration::ZERO), "0s");
    assert_eq!(text(Duration::from_secs(7200)), "2h");
}

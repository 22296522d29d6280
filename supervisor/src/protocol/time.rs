//! RFC 3339 times in UTC, to the millisecond.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-11-22T10:00:00.123Z` (RFC 3339, section 5.6). Times before 1970 or after 9999, which no sound clock
/// shows, become the nearest that can be written.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    const LAST: Duration = Duration::from_millis(253_402_300_799_999);
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST);
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

/// Reads what [`rfc3339`] writes. `None` for everything else, offsets other than `Z` included: it reads the times of our own
/// supervisor and nobody else's.
pub(crate) fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn at(seconds: u64, millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis)
    }

    #[test]
    fn known_instants_are_written_right() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.123Z"),
            (951_782_400, "2000-02-29T00:00:00.123Z"),
            (1_709_251_199, "2024-02-29T23:59:59.123Z"),
            (1_795_341_600, "2026-11-22T10:00:00.123Z"),
            (4_107_542_400, "2100-03-01T00:00:00.123Z"),
        ] {
            assert_eq!(rfc3339(at(seconds, 123)), text);
            assert_eq!(parse_rfc3339(text), Some(at(seconds, 123)));
        }
    }

    #[test]
    fn times_out_of_range_become_the_nearest() {
        assert_eq!(
            rfc3339(UNIX_EPOCH - Duration::from_secs(1)),
            "1970-01-01T00:00:00.000Z"
        );
        assert_eq!(rfc3339(at(400_000_000_000, 0)), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn every_day_reads_back() {
        for day in 0..80_000 {
            let time = at(day * DAY + day % DAY, day % 1000);
            assert_eq!(parse_rfc3339(&rfc3339(time)), Some(time));
        }
    }

    #[test]
    fn other_text_is_no_time() {
        for text in [
            "",
            "Z",
            "2026-11-22",
            "2026-11-22T10:00:00+01:00",
            "2026-13-22T10:00:00Z",
            "2026-11-22 10:00:00Z",
            "äöü6-11-22T10:00:0Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}

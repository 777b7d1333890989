//! RFC 3339, section 5.6, as far as people write it.
//!
//! Guarantees: what is written is read back. Never reads a time without an offset, a leap second, a
//! date that the calendar does not have, or anything after the offset. Example: `1970-01-01T00:00:00.5Z`
//! is 500 milliseconds.

const DAY_MILLIS: i64 = 86_400_000;
/// Most digits of a fraction: nanoseconds are the finest that clocks give.
const FRACTION_DIGITS_MAX: usize = 9;

/// Milliseconds since 1970 of `text`; `None` where it is not RFC 3339.
pub(super) fn millis(text: &[u8]) -> Option<i64> {
    let (year, rest) = digits(text, 4)?;
    let (month, rest) = digits(after(rest, b"-")?, 2)?;
    let (day, rest) = digits(after(rest, b"-")?, 2)?;
    let (hour, rest) = digits(after(rest, b"Tt ")?, 2)?;
    let (minute, rest) = digits(after(rest, b":")?, 2)?;
    let (second, rest) = digits(after(rest, b":")?, 2)?;
    let (fraction, rest) = fraction(rest)?;
    let offset_minutes = offset(rest)?;
    let known = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let of_day = ((hour * 60 + minute - offset_minutes) * 60 + second) * 1_000 + fraction;
    known.then(|| days_since_epoch(year, month, day) * DAY_MILLIS + of_day)
}

/// `millis` in UTC; years outside 0 to 9999 are written with more digits or a sign, and not read back.
pub(super) fn text(millis: i64) -> String {
    let (year, month, day) = date(millis.div_euclid(DAY_MILLIS));
    let of_day = millis.rem_euclid(DAY_MILLIS);
    let (seconds, fraction) = (of_day / 1_000, of_day % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = if fraction == 0 {
        String::new()
    } else {
        format!(".{fraction:03}")
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

fn after<'a>(text: &'a [u8], any_of: &[u8]) -> Option<&'a [u8]> {
    let (first, rest) = text.split_first()?;
    any_of.contains(first).then_some(rest)
}

fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (head, rest) = text.split_at_checked(count)?;
    let value = head.iter().try_fold(0_i64, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + i64::from(byte - b'0'))
    })?;
    Some((value, rest))
}

/// Milliseconds of `.5` or of nothing.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = after(text, b".") else {
        return Some((0, text));
    };
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 || count > FRACTION_DIGITS_MAX {
        return None;
    }
    let (value, _) = digits(rest, count.min(3))?;
    let scale = [100, 10, 1].get(count.min(3) - 1)?;
    Some((value * scale, rest.get(count..)?))
}

/// Minutes east of UTC, with nothing after it.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, rest) = text.split_first()?;
    let sign = match sign {
        b'Z' | b'z' if rest.is_empty() => return Some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, rest) = digits(rest, 2)?;
    let (minutes, rest) = digits(after(rest, b":")?, 2)?;
    (rest.is_empty() && hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of 400 years of the Gregorian calendar.
const ERA_DAYS: i64 = 146_097;
/// From 0000-03-01, where years that begin in March begin to count, to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

/// Years are counted from March, so that the day that comes and goes is the last of a year.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let months_from_march = (month + 9) % 12;
    let day_of_year = (153 * months_from_march + 2) / 5 + day - 1;
    era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - EPOCH_DAYS
}

/// The inverse of [`days_since_epoch`].
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, day) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * of_era + of_era / 4 - of_era / 100);
    let months_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_from_march + 2) / 5 + 1;
    let month = (months_from_march + 2) % 12 + 1;
    let year = era * 400 + of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::Time;

    /// What jiff makes of it, rounded down as ours is.
    fn oracle(text: &str) -> Option<i64> {
        let at: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(at.as_nanosecond().div_euclid(1_000_000)).ok()
    }

    proptest! {
        #[test]
        fn a_time_is_written_as_jiff_writes_it_and_reads_back(ms in -62_135_596_800_000_i64..253_402_207_200_000) {
            let text = Time::from_millis(ms).to_string();
            prop_assert_eq!(oracle(&text), Some(ms));
            prop_assert_eq!(text.parse::<Time>().unwrap(), Time::from_millis(ms));
        }

        #[test]
        fn a_date_with_an_offset_and_a_fraction_is_read_as_jiff_reads_it(
            (year, month, day) in (1_i64..9_998, 0_i64..14, 0_i64..33),
            (hour, minute, second) in (0_i64..25, 0_i64..61, 0_i64..60),
            fraction in "(\\.[0-9]{1,9})?",
            offset in "Z|z|[+-][01][0-9]:[0-5][0-9]",
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{offset}");
            let ours = text.parse::<Time>().ok().map(Time::millis);
            prop_assert_eq!(ours, oracle(&text), "{}", text);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,30}") {
            let _ = text.parse::<Time>();
        }
    }

    #[test]
    fn what_has_no_offset_or_no_such_day_is_refused_with_an_example() {
        for wrong in [
            "",
            "2026-11-05",
            "2026-11-05T18:00:00",
            "2026-02-29T00:00:00Z",
            "2026-11-05T18:00:60Z",
            "2026-11-05T18:00:00.Z",
            "2026-11-05T18:00:00Z ",
            "2026-11-05T18:00:00+0100",
            "1793898000000",
        ] {
            let error = wrong.parse::<Time>().unwrap_err().to_string();
            assert!(error.contains("2026-11-05T18:00:00Z"), "{error}");
        }
    }

    #[test]
    fn a_time_is_read_from_text_or_an_integer_and_written_as_an_integer() {
        let read = |json: &str| serde_json::from_str::<Time>(json);
        let at = Time::from_millis(1_793_898_000_000);
        assert_eq!(read("\"2026-11-05T17:00:00Z\"").unwrap(), at);
        assert_eq!(read("\"2026-11-05T18:00:00+01:00\"").unwrap(), at);
        assert_eq!(read("1793898000000").unwrap(), at);
        assert_eq!(read("-1").unwrap(), Time::from_millis(-1));
        assert_eq!(serde_json::to_string(&at).unwrap(), "1793898000000");
        for wrong in ["\"tomorrow\"", "1.5", "true", "18446744073709551615"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(
            read("\"soon\"")
                .unwrap_err()
                .to_string()
                .contains("`soon` is not a time")
        );
    }
}

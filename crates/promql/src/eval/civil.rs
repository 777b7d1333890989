//! Calendar fields of a time in UTC, in the proleptic Gregorian calendar.
//!
//! Guarantees: exact for every 64-bit second within the calendar's arithmetic; no time zones, no leap
//! seconds. The conversion from days counts 400-year eras beginning in March, so that a leap day ends a year.

const DAY_S: i64 = 86_400;

/// Times beyond this (about 300 million years) have no calendar date here.
const MAX_S: i64 = 1 << 53;

pub(crate) fn minute(t: i64) -> f64 {
    (t.rem_euclid(3600) / 60) as f64
}

pub(crate) fn hour(t: i64) -> f64 {
    (t.rem_euclid(DAY_S) / 3600) as f64
}

pub(crate) fn day_of_week(t: i64) -> f64 {
    // The epoch was a Thursday.
    (t.div_euclid(DAY_S) + 4).rem_euclid(7) as f64
}

pub(crate) fn day_of_month(t: i64) -> f64 {
    date(t).2 as f64
}

pub(crate) fn month(t: i64) -> f64 {
    date(t).1 as f64
}

pub(crate) fn year(t: i64) -> f64 {
    date(t).0 as f64
}

pub(crate) fn day_of_year(t: i64) -> f64 {
    let (year, month, day) = date(t);
    let before: i64 = (1..month).map(|m| month_len(year, m)).sum();
    (before + day) as f64
}

pub(crate) fn days_in_month(t: i64) -> f64 {
    let (year, month, _) = date(t);
    month_len(year, month) as f64
}

fn month_len(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month (from 1), day (from 1).
fn date(t: i64) -> (i64, i64, i64) {
    let days = t.clamp(-MAX_S, MAX_S).div_euclid(DAY_S);
    // Days since 1 March of year 0.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leap_days_and_century_rules_hold() {
        assert_eq!(date(951_782_400), (2000, 2, 29));
        assert_eq!(date(4_107_542_400), (2100, 3, 1));
        assert_eq!(date(-1), (1969, 12, 31));
        assert_eq!(day_of_year(951_782_400 + 306 * DAY_S), 366.0);
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut previous = date(-200_000 * DAY_S);
        for day in -199_999..200_000 {
            let (year, month, mday) = previous;
            let next = if mday < month_len(year, month) {
                (year, month, mday + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
            previous = date(day * DAY_S);
            assert_eq!(previous, next);
        }
    }
}

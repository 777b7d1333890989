//! What names become: as Prometheus's receiver makes them (`UnderscoreEscapingWithSuffixes`), so that its queries fit.
//!
//! Guarantees: a name has only letters, digits, `_` and (of a metric) `:`, and begins with no digit; the same name
//! becomes the same always. Its unit ends it, `_total` a counter and `_ratio` a gauge of unit `1`.
//!
//! ```text
//! http.server.request.duration, s     http_server_request_duration_seconds
//! 5xx.answers, {answer}, a counter    _5xx_answers_total
//! ```

/// Words for units of UCUM.
const UNITS: [(&str, &str); 25] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("kBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
];
/// Two whose sign is no word.
const SIGNS: [(&str, &str); 2] = [("1", ""), ("%", "percent")];
/// Words for what a rate is per.
const PER: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// What a metric's kind adds to its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suffix {
    /// `_total`.
    Counter,
    /// `_ratio`, if it has no unit.
    Gauge,
    None,
}

/// A metric's name; none if nothing of it is left.
pub(super) fn metric(name: &str, unit: &str, suffix: Suffix) -> Option<String> {
    let mut words: Vec<&str> = name
        .split(|c| !in_metric(c))
        .filter(|it| !it.is_empty())
        .collect();
    let (main, per) = unit_words(unit);
    let has = |words: &[&str], word: &str| words.contains(&word);
    let main = Some(main).filter(|main| !main.is_empty() && !has(&words, main));
    let per = Some(per).filter(|per| !per.is_empty() && !has(&words, per));
    words.extend([&main, &per].into_iter().flatten().map(String::as_str));
    match suffix {
        Suffix::Counter => at_end(&mut words, "total"),
        Suffix::Gauge if unit == "1" => at_end(&mut words, "ratio"),
        Suffix::Gauge | Suffix::None => {}
    }
    let joined = words.join("_");
    let joined = if joined.starts_with(|c: char| c.is_ascii_digit()) {
        format!("_{joined}")
    } else {
        joined
    };
    (!name.is_empty() && joined.contains(|c| c != '_')).then_some(joined)
}

/// A unit in words, as descriptions say it.
pub(super) fn unit(unit: &str) -> String {
    let (main, per) = unit_words(unit);
    let words = [main, per];
    let words: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|it| !it.is_empty())
        .collect();
    words.join("_")
}

/// A label's name; none if nothing of it is left.
pub(super) fn label(key: &str) -> Option<String> {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = key.chars().map(clean).collect();
    if name != key && name.chars().all(|c| c == '_') || name.is_empty() {
        return None;
    }
    Some(if name.starts_with(|c: char| c.is_ascii_digit()) {
        format!("key_{name}")
    } else if name.starts_with('_') && !name.starts_with("__") {
        format!("key{name}")
    } else {
        name
    })
}

fn in_metric(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

fn at_end<'a>(words: &mut Vec<&'a str>, word: &'a str) {
    words.retain(|it| *it != word);
    words.push(word);
}

/// The words of a unit, and of what it is per: `By/s` is `bytes` and `per_second`. What stands in braces is a remark.
fn unit_words(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let word = |unit: &str, known: &[(&str, &str)]| {
        let unit = unit.trim();
        if unit.contains(['{', '}']) {
            return String::new();
        }
        let found = known.iter().find(|(sign, _)| *sign == unit);
        clean(found.map_or(unit, |(_, word)| word))
    };
    let known: Vec<_> = UNITS.into_iter().chain(SIGNS).collect();
    let (main, per) = (word(main, &known), word(per, &PER));
    let per = match per.as_str() {
        "" => String::new(),
        per => format!("per_{per}"),
    };
    (main, per)
}

/// Whatever no name can have, as single underscores between what it can.
fn clean(unit: &str) -> String {
    let words = unit.split(|c| !in_metric(c)).filter(|it| !it.is_empty());
    words.collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_named_as_prometheus_names_it() {
        use Suffix::{Counter, Gauge, None};
        for (name, unit, suffix, expected) in [
            (
                "http.server.request.duration",
                "s",
                None,
                "http_server_request_duration_seconds",
            ),
            ("requests", "", Counter, "requests_total"),
            ("requests_total", "", Counter, "requests_total"),
            ("total.requests", "", Counter, "requests_total"),
            ("items", "1", Counter, "items_total"),
            ("cpu_usage", "1", Gauge, "cpu_usage_ratio"),
            ("cpu_usage_ratio", "1", Gauge, "cpu_usage_ratio"),
            ("level", "1", None, "level"),
            ("response_time_seconds", "s", None, "response_time_seconds"),
            ("memory.usage", "By", Gauge, "memory_usage_bytes"),
            ("requests", "1/s", Gauge, "requests_per_second"),
            ("throughput", "By/s", Gauge, "throughput_bytes_per_second"),
            ("custom_metric", "{custom}", Gauge, "custom_metric"),
            ("custom_metric", "By/{custom}", Gauge, "custom_metric_bytes"),
            (
                "metric__with__many",
                "unit__with__many",
                Gauge,
                "metric_with_many_unit_with_many",
            ),
            (
                "a",
                "unit@with#special/chars",
                Gauge,
                "a_unit_with_special_per_chars",
            ),
            ("disk", "%", Gauge, "disk_percent"),
            ("5xx", "", Counter, "_5xx_total"),
            ("job:rate5m", "", Gauge, "job:rate5m"),
            ("größe", "", Gauge, "gr_e"),
        ] {
            assert_eq!(
                metric(name, unit, suffix).as_deref(),
                Some(expected),
                "{name} {unit}"
            );
        }
        assert_eq!(metric("@#$%", "", Gauge), Option::None);
        assert_eq!(metric("", "s", Counter), Option::None);
        assert_eq!(super::unit("By/s"), "bytes_per_second");
    }

    #[test]
    fn a_label_is_named_as_prometheus_names_it() {
        for (key, expected) in [
            ("http.method", Some("http_method")),
            ("a..b", Some("a__b")),
            ("5xx", Some("key_5xx")),
            ("_private", Some("key_private")),
            ("__reserved__", Some("__reserved__")),
            ("ключ", None),
            ("", None),
        ] {
            assert_eq!(label(key).as_deref(), expected, "{key}");
        }
    }
}

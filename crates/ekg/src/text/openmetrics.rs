//! OpenMetrics text, scanned into the same exposition.
//!
//! Guarantees: a body without `# EOF` is refused, because it was cut; times are seconds there and milliseconds
//! here. Exemplars are read as carefully as samples. It never accepts a comment that the format does
//! not know.

use super::{
    Exposition, Extra, Lines, Sample, TextError, TextErrorKind, TextLimits,
    line::{Line, short},
    utf8,
};
use crate::{exemplars::SentExemplar, metadata::Kind};

/// Seconds that still are whole milliseconds in 64 bits.
const SECONDS_MAX: f64 = 9.0e15;

/// Reads a whole body, or says where it stops being the format.
///
/// ```
/// use mainstay_ekg::text::{TextLimits, scan_openmetrics};
/// let body = "# TYPE hits counter\nhits_total 7 1.5\n# EOF\n";
/// let seen = scan_openmetrics(body.as_bytes(), &TextLimits::default())?;
/// assert_eq!(seen.samples[0].timestamp_ms, Some(1_500));
/// # Ok::<(), mainstay_ekg::text::TextError>(())
/// ```
pub fn scan<'a>(body: &'a [u8], limits: &TextLimits) -> Result<Exposition<'a>, TextError> {
    let mut seen = Exposition::default();
    let mut lines = Lines::new(utf8(body)?, limits);
    while let Some(mut line) = lines.next_line()? {
        if !line.take('#') {
            limits.one_more(&seen, &line)?;
            seen.samples.push(sample(&mut line, limits)?);
        } else if comment(&mut line, &mut seen)? {
            return match lines.next_line()? {
                None => Ok(seen),
                Some(more) => Err(more.wrong(TextErrorKind::Expected("nothing after `# EOF`"))),
            };
        }
    }
    let end = Line::new(lines.number + 1, "");
    Err(end.wrong(TextErrorKind::Expected("`# EOF`")))
}

/// Whether it is the end.
fn comment<'a>(line: &mut Line<'a>, seen: &mut Exposition<'a>) -> Result<bool, TextError> {
    line.blanks();
    let start = line.clone();
    let keyword = line.word();
    if keyword == "EOF" {
        line.end()?;
        return Ok(true);
    }
    if !matches!(keyword, "HELP" | "TYPE" | "UNIT") {
        let known = "HELP, TYPE, UNIT or EOF";
        return Err(start.wrong(TextErrorKind::Expected(known)));
    }
    line.blanks();
    let name = line.described_name()?;
    match keyword {
        "HELP" => {
            seen.help.insert(name, line.help()?);
        }
        "UNIT" => {
            let unit = line.word();
            line.end()?;
            seen.units.insert(name, unit.into());
        }
        _ => {
            if seen.types.contains_key(&name) {
                return Err(line.wrong(TextErrorKind::SecondType(name.into_owned())));
            }
            let before = line.clone();
            let kind = kind(line.word()).map_err(|kind| before.wrong(kind))?;
            line.end()?;
            seen.types.insert(name, kind);
        }
    }
    Ok(false)
}

fn kind(word: &str) -> Result<Kind, TextErrorKind> {
    Ok(match word {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        "gaugehistogram" => Kind::GaugeHistogram,
        "summary" => Kind::Summary,
        "info" => Kind::Info,
        "stateset" => Kind::StateSet,
        "unknown" => Kind::Unknown,
        _ => return Err(TextErrorKind::OpenType(short(word))),
    })
}

fn sample<'a>(line: &mut Line<'a>, limits: &TextLimits) -> Result<Sample<'a>, TextError> {
    let (name, labels) = line.series(limits.labels)?;
    let value = line.value()?;
    line.blanks();
    let timestamp_ms = time(line)?;
    let mut exemplars = Vec::new();
    if line.take('#') {
        line.blanks();
        exemplars.push(exemplar(line, limits)?);
    }
    line.end()?;
    Ok(Sample {
        name,
        labels,
        value,
        timestamp_ms,
        extra: Extra::of(exemplars),
    })
}

fn exemplar(line: &mut Line<'_>, limits: &TextLimits) -> Result<SentExemplar, TextError> {
    if !line.take('{') {
        return Err(line.wrong(TextErrorKind::Expected("`{`")));
    }
    // With a name given, a text in quotes can only be a label's name.
    let mut named = "exemplar".into();
    let labels = line.labels(&mut named, limits.labels)?;
    line.blanks();
    let value = line.value()?;
    line.blanks();
    let at_ms = time(line)?;
    let labels = labels.iter().map(|(name, value)| (&**name, &**value));
    Ok(SentExemplar::new(labels, value, at_ms))
}

/// Seconds, if any, before what follows.
fn time(line: &mut Line<'_>) -> Result<Option<i64>, TextError> {
    let start = line.clone();
    if line.at_end() || line.clone().take('#') {
        return Ok(None);
    }
    let word = line.word();
    let seconds = word.parse::<f64>().ok();
    let seconds = seconds.filter(|it| it.is_finite() && it.abs() <= SECONDS_MAX);
    let wrong = || start.wrong(TextErrorKind::Seconds(short(word)));
    let ms = (seconds.ok_or_else(wrong)? * 1_000.0).round() as i64;
    line.blanks();
    Ok(Some(ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Result<Exposition<'_>, TextError> {
        scan(body.as_bytes(), &TextLimits::default())
    }

    #[test]
    fn a_body_of_every_construct_is_read() {
        let body = "# HELP \"http.seconds\" How \\\"long\\\"\\n\n# TYPE \"http.seconds\" histogram\n\
            # UNIT \"http.seconds\" seconds\n\
            {\"http.seconds_bucket\",le=\"1.0\"} 3 # {trace_id=\"a\"} 0.5 12.5\n\
            {\"http.seconds_bucket\",\"my.label\"=\"ä\",le=\"+Inf\"} 4 1520879607.789 # {} 2\n\
            up{a=\"b\"} NaN -1\n# EOF\n";
        let seen = read(body).unwrap();
        let samples: Vec<String> = seen.samples.iter().map(ToString::to_string).collect();
        let extra = seen.samples[0].extra.as_deref().unwrap();
        let exemplar = SentExemplar::new([("trace_id", "a")], 0.5, Some(12_500));
        assert_eq!(extra.exemplars, [exemplar]);
        assert_eq!(
            samples,
            [
                "{\"http.seconds_bucket\",le=\"1.0\"} 3",
                "{\"http.seconds_bucket\",\"my.label\"=\"ä\",le=\"+Inf\"} 4 1520879607789",
                "up{a=\"b\"} NaN -1000",
            ]
        );
        let (name, family) = seen.families().next().unwrap();
        assert_eq!(
            (name, family.kind, &*family.unit),
            ("http.seconds", Kind::Histogram, "seconds")
        );
        assert_eq!(family.help, "How \"long\"\n");
        assert!(seen.counts_from_zero("http.seconds_bucket"));
    }

    #[test]
    fn each_refusal_names_its_line_and_column() {
        for (body, expected) in [
            ("", "1:1: expected `# EOF`"),
            ("a 1\n", "2:1: expected `# EOF`"),
            ("# EOF", "1:6: expected a line feed at the end"),
            ("# EOF\na 1\n", "2:1: expected nothing after `# EOF`"),
            ("# a remark\n", "1:3: expected HELP, TYPE, UNIT or EOF"),
            (
                "# TYPE a untyped\n",
                "1:10: `untyped` is not a type: counter, gauge, histogram, \
                gaugehistogram, summary, info, stateset and unknown are",
            ),
            ("# TYPE a.b gauge\n", "1:9: expected a blank"),
            ("a 1 x\n", "1:5: `x` is not a time in seconds"),
            ("a 1 # 2\n", "1:7: expected `{`"),
            ("a 1 # {b=\"c\"}\n", "1:14: expected a value"),
            (
                "a 1 1 # {b=\"c\"} 1 1 1\n",
                "1:21: expected the end of the line",
            ),
            ("{a=\"b\"} 1\n", "1:1: expected a metric's name"),
        ] {
            assert_eq!(read(body).unwrap_err().to_string(), expected, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_of_the_formats_own_signs_makes_the_scanner_panic(
            body in "(# TYPE |# HELP |# UNIT |# EOF|a|é|\\{|\\}|\"|\\\\|=|,| |#|\n|1|NaN){0,60}"
        ) {
            let _ = read(&body);
        }
    }
}

//! Classic histograms as native ones with custom buckets: one sample for all of `_bucket`, `_count` and `_sum`.
//!
//! Guarantees: bounds and counts are those that were sent, so that a quantile is what the classic buckets give. What does
//! not add up (a bucket with fewer observations than one below it) stays as it was sent. A series that is native already
//! is not made again.
//!
//! ```text
//! seconds_bucket{le="0.5"} 3, seconds_bucket{le="+Inf"} 4, seconds_count 4, seconds_sum 2.5
//! becomes seconds {schema -53, bounds [0.5], counts [3, 1], sum 2.5}
//! ```

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mainstay_tsdb::{BucketCounts, CUSTOM_SCHEMA, Histogram, Tally};

use crate::{
    exemplars::SentExemplar,
    metadata::Kind,
    native,
    text::{Exposition, Extra, Sample},
};

type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// What is known of one classic histogram.
#[derive(Default)]
struct Classic {
    /// Bounds and how many are at most there.
    below: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    timestamp_ms: Option<i64>,
    exemplars: Vec<SentExemplar>,
    /// Where its samples stand.
    places: Vec<usize>,
}

/// Which part of a histogram a sample is.
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

/// Makes a native histogram of each classic one, in whose place it stands, or behind which if `keep_classic`.
pub(crate) fn convert(seen: &mut Exposition<'_>, keep_classic: bool) {
    let mut found: BTreeMap<(String, Labels<'_>), Classic> = BTreeMap::new();
    let mut native = BTreeSet::new();
    for (at, sample) in seen.samples.iter().enumerate() {
        if sample
            .extra
            .as_ref()
            .is_some_and(|it| it.histogram.is_some())
        {
            native.insert((sample.name.to_string(), sample.labels.clone()));
        }
        let Some((family, part, labels)) = part(seen, sample) else {
            continue;
        };
        let classic = found.entry((family.to_owned(), labels)).or_default();
        classic.places.push(at);
        classic.timestamp_ms = sample.timestamp_ms;
        if let Some(extra) = &sample.extra {
            classic.exemplars.extend(extra.exemplars.iter().cloned());
        }
        match part {
            Part::Bucket(bound) => classic.below.push((bound, sample.value)),
            Part::Count => classic.count = Some(sample.value),
            Part::Sum => classic.sum = sample.value,
        }
    }
    let mut gone = BTreeSet::new();
    let mut made = BTreeMap::new();
    for ((family, labels), mut classic) in found {
        let key = (family, labels);
        let Some(histogram) = classic.histogram().filter(|_| !native.contains(&key)) else {
            continue;
        };
        let (name, labels) = key;
        if let Some(last) = classic.places.last() {
            let exemplars = classic.exemplars.into_iter();
            let extra = Extra {
                histogram: Some(Arc::new(histogram)),
                exemplars: exemplars.filter(|it| it.at_ms.is_some()).collect(),
            };
            let sample = Sample {
                name: name.into(),
                labels,
                value: f64::NAN,
                timestamp_ms: classic.timestamp_ms,
                extra: Some(Box::new(extra)),
            };
            made.insert(*last, sample);
        }
        if !keep_classic {
            gone.extend(classic.places);
        }
    }
    if made.is_empty() {
        return;
    }
    let samples = std::mem::take(&mut seen.samples).into_iter().enumerate();
    for (at, sample) in samples {
        if !gone.contains(&at) {
            seen.samples.push(sample);
        }
        seen.samples.extend(made.remove(&at));
    }
}

/// The family that a sample is a part of, which part, and its labels without the bound.
fn part<'a, 's>(
    seen: &Exposition<'a>,
    sample: &'s Sample<'a>,
) -> Option<(&'s str, Part, Labels<'a>)> {
    let of = |suffix| {
        let family = sample.name.strip_suffix(suffix)?;
        let kind = seen.types.get(family);
        matches!(kind, Some(Kind::Histogram | Kind::GaugeHistogram)).then_some(family)
    };
    let mut labels = sample.labels.clone();
    if let Some(family) = of("_bucket") {
        let at = labels.iter().position(|(name, _)| name == "le")?;
        let bound = labels.remove(at).1.parse().ok()?;
        return Some((family, Part::Bucket(bound), labels));
    }
    let count = of("_count").map(|family| (family, Part::Count));
    let (family, part) = count.or_else(|| of("_sum").map(|family| (family, Part::Sum)))?;
    Some((family, part, labels))
}

impl Classic {
    fn histogram(&mut self) -> Option<Histogram> {
        self.below.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.below.dedup_by(|a, b| a.0 == b.0);
        let infinite = self.below.iter().find(|it| it.0 == f64::INFINITY);
        let count = infinite.map(|it| it.1).or(self.count)?;
        if self.below.is_empty() {
            return None;
        }
        let finite = self.below.iter().filter(|it| it.0.is_finite());
        let mut slots: Vec<(i32, f64)> = Vec::new();
        let (mut bounds, mut before) = (Vec::new(), 0.0);
        let ends = finite.map(|it| (Some(it.0), it.1)).chain([(None, count)]);
        for (index, (bound, below)) in (0..).zip(ends) {
            bounds.extend(bound);
            let own = below - before;
            if own.is_nan() || own < 0.0 {
                return None;
            }
            if own > 0.0 {
                slots.push((index, own));
            }
            before = below;
        }
        let (positive, counts) = native::spans_of(&slots);
        let whole = |it: &f64| it.fract() == 0.0 && *it < 2_f64.powi(53);
        let counts = if counts.iter().chain([&count]).all(whole) {
            BucketCounts::Whole(Tally {
                count: count as u64,
                positive: counts.iter().map(|it| *it as u64).collect(),
                ..Tally::default()
            })
        } else {
            BucketCounts::Real(Tally {
                count,
                positive: counts,
                ..Tally::default()
            })
        };
        let histogram = Histogram {
            schema: CUSTOM_SCHEMA,
            sum: self.sum,
            positive,
            bounds: bounds.into(),
            counts,
            ..Histogram::default()
        };
        histogram.check().is_ok().then_some(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{TextLimits, scan};

    const BODY: &str = "# TYPE s histogram\n\
        s_bucket{a=\"1\",le=\"0.5\"} 3\ns_bucket{a=\"1\",le=\"1\"} 3\ns_bucket{a=\"1\",le=\"+Inf\"} 4\n\
        s_sum{a=\"1\"} 2.5\ns_count{a=\"1\"} 4\nup 1\n\
        s_bucket{a=\"2\",le=\"0.5\"} 3\ns_bucket{a=\"2\",le=\"+Inf\"} 2\ns_count{a=\"2\"} 2\n";

    fn names(seen: &Exposition<'_>) -> Vec<String> {
        seen.samples.iter().map(|it| it.name.to_string()).collect()
    }

    #[test]
    fn a_classic_histogram_becomes_one_sample_and_one_that_does_not_add_up_stays() {
        let mut seen = scan(BODY.as_bytes(), &TextLimits::default()).unwrap();
        convert(&mut seen, false);
        assert_eq!(names(&seen), ["s", "up", "s_bucket", "s_bucket", "s_count"]);
        let extra = seen.samples[0].extra.as_ref().unwrap();
        let histogram = extra.histogram.as_ref().unwrap();
        assert_eq!((&*histogram.bounds, histogram.sum), (&[0.5, 1.0][..], 2.5));
        let BucketCounts::Whole(tally) = &histogram.counts else {
            panic!("whole counts");
        };
        assert_eq!((tally.count, &tally.positive[..]), (4, &[3, 1][..]));
        assert_eq!(seen.samples[0].labels, [("a".into(), "1".into())]);
    }

    #[test]
    fn classic_series_are_kept_where_that_is_asked_for() {
        let mut seen = scan(BODY.as_bytes(), &TextLimits::default()).unwrap();
        let before = seen.samples.len();
        convert(&mut seen, true);
        assert_eq!(seen.samples.len(), before + 1);
        assert_eq!(names(&seen)[5], "s");
    }
}

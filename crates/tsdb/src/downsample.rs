//! Old samples as a few that stand for many.
//!
//! Guarantees: of each window of a series are kept, as they were and when they were, the last sample, the last staleness
//! marker, and the samples around resets: so that counters count what they counted. Beside them stand how many samples
//! there were, their sum, the smallest and the largest, each at the time of the window's last sample. Nothing is
//! interpolated or made up. Of histograms the last of each window and those around resets are kept, and nothing stands
//! beside them. docs/adr/0015 has the semantics.

mod read;

pub use read::Coarse;
pub(crate) use read::plain;

use crate::{
    HistogramSample, Labels, METRIC_NAME, histogram::HistogramColumn, is_stale, memtable::Columns,
};

/// The label by which the aggregates of a series are told from it; no query sees it.
pub(crate) const AGGREGATE: &str = "__aggregate__";

/// What is known of the samples of a window beside the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aggregate {
    /// How many.
    Count,
    /// Their sum.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

impl Aggregate {
    pub(crate) const ALL: [Self; 4] = [Self::Count, Self::Sum, Self::Min, Self::Max];

    /// Its name, which is the value of the label too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
        }
    }

    /// The aggregate of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// What one sample is worth, as if it were a window.
    pub(crate) fn of_one(self, value: f64) -> f64 {
        match self {
            Self::Count => 1.0,
            Self::Sum | Self::Min | Self::Max => value,
        }
    }

    fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Count | Self::Sum => a + b,
            // As in PromQL: what is not a number counts only where nothing else is there.
            Self::Min => {
                if b < a || a.is_nan() {
                    b
                } else {
                    a
                }
            }
            Self::Max => {
                if b > a || a.is_nan() {
                    b
                } else {
                    a
                }
            }
        }
    }
}

/// The length of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resolution {
    /// Five minutes.
    FiveMinutes,
    /// An hour.
    Hour,
}

impl Resolution {
    /// In milliseconds.
    pub fn ms(self) -> i64 {
        match self {
            Self::FiveMinutes => 5 * 60 * 1_000,
            Self::Hour => 60 * 60 * 1_000,
        }
    }
}

/// How long samples are kept, by resolution, after those as they came in are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Downsampling {
    /// So old may summaries of five minutes be.
    pub five_minutes_ms: Option<i64>,
    /// So old may summaries of an hour be.
    pub hour_ms: Option<i64>,
}

impl Downsampling {
    /// How long summaries of `resolution` are kept.
    pub(crate) fn keeps_ms(self, resolution: Resolution) -> Option<i64> {
        match resolution {
            Resolution::FiveMinutes => self.five_minutes_ms,
            Resolution::Hour => self.hour_ms,
        }
    }

    /// How long anything is kept as a summary; not at all where nothing is.
    pub(crate) fn longest_ms(self) -> i64 {
        let both = [self.five_minutes_ms, self.hour_ms];
        both.into_iter().flatten().max().unwrap_or(0)
    }

    /// What samples of this resolution, none for those as they came in, become when they are `age_ms` old.
    pub(crate) fn next(self, now: Option<Resolution>, age_ms: i64) -> Option<Resolution> {
        let coarser = [Resolution::FiveMinutes, Resolution::Hour].into_iter();
        let mut coarser = coarser.filter(|it| now.is_none_or(|now| *it > now));
        coarser.find(|it| self.keeps_ms(*it).is_some_and(|keeps| age_ms < keeps))
    }
}

/// A series with what stands for its samples.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) kept: Columns,
    /// In the order of [`Aggregate::ALL`].
    pub(crate) aggregates: [Columns; 4],
}

impl Summary {
    /// Of samples as they came in.
    pub(crate) fn of(labels: &Labels, raw: &Columns, resolution: Resolution) -> Self {
        let aggregates = Aggregate::ALL.map(|aggregate| {
            let real = raw.times.iter().zip(&raw.values);
            let real = real.filter(|(_, value)| !is_stale(**value));
            joined(
                aggregate,
                resolution,
                real.map(|(t, v)| (*t, aggregate.of_one(*v))),
            )
        });
        Self {
            kept: Columns {
                histograms: kept_histograms(&raw.histograms, resolution),
                ..kept(is_counter(labels), raw, resolution)
            },
            aggregates,
        }
    }

    /// Of finer summaries.
    pub(crate) fn coarser(&self, labels: &Labels, resolution: Resolution) -> Self {
        let mut aggregates = <[Columns; 4]>::default();
        for ((aggregate, fine), coarse) in Aggregate::ALL
            .into_iter()
            .zip(&self.aggregates)
            .zip(&mut aggregates)
        {
            let all = fine.times.iter().zip(&fine.values);
            *coarse = joined(aggregate, resolution, all.map(|(t, v)| (*t, *v)));
        }
        Self {
            kept: Columns {
                histograms: kept_histograms(&self.kept.histograms, resolution),
                ..kept(is_counter(labels), &self.kept, resolution)
            },
            aggregates,
        }
    }
}

/// One sample a window, at the time of its last.
fn joined(
    aggregate: Aggregate,
    resolution: Resolution,
    samples: impl Iterator<Item = (i64, f64)>,
) -> Columns {
    let mut joined = Columns::default();
    let mut window = None;
    for (at_ms, value) in samples {
        let this = at_ms.div_euclid(resolution.ms());
        match (joined.times.last_mut(), joined.values.last_mut()) {
            (Some(last_ms), Some(last)) if window == Some(this) => {
                (*last_ms, *last) = (at_ms, aggregate.join(*last, value));
            }
            _ => joined.push(at_ms, value),
        }
        window = Some(this);
    }
    joined
}

/// The histograms that stay as they are: the last of each window, and those around resets.
fn kept_histograms(all: &HistogramColumn, resolution: Resolution) -> HistogramColumn {
    let window = |it: &HistogramSample| it.at_ms.div_euclid(resolution.ms());
    let mut kept = HistogramColumn::default();
    let mut before: Option<&HistogramSample> = None;
    for (at, sample) in all.samples.iter().enumerate() {
        let next = all.samples.get(at + 1);
        let is_last = next.is_none_or(|next| window(next) != window(sample));
        let resets_after = next.is_some_and(|next| next.histogram.is_less_than(&sample.histogram));
        let is_reset = before.is_some_and(|it| sample.histogram.is_less_than(&it.histogram));
        if is_last || resets_after || is_reset {
            kept.samples.push(sample.clone());
        }
        before = Some(sample);
    }
    kept
}

/// Whether a fall of its values can only be a restart.
fn is_counter(labels: &Labels) -> bool {
    let name = labels.get(METRIC_NAME).unwrap_or("");
    let ends = ["_total", "_count", "_sum", "_bucket"];
    ends.iter().any(|end| name.ends_with(end))
}

/// The samples that stay as they are.
fn kept(is_counter: bool, all: &Columns, resolution: Resolution) -> Columns {
    let mut kept = Columns::default();
    let mut window: Vec<(i64, f64)> = Vec::new();
    let mut before = None;
    for (at_ms, value) in all.times.iter().copied().zip(all.values.iter().copied()) {
        let of = |at_ms: i64| at_ms.div_euclid(resolution.ms());
        if window
            .first()
            .is_some_and(|(first_ms, _)| of(*first_ms) != of(at_ms))
        {
            before = keep_of(&window, before, is_counter, &mut kept);
            window.clear();
        }
        window.push((at_ms, value));
    }
    keep_of(&window, before, is_counter, &mut kept);
    kept
}

/// Keeps what stays of one window; `before` is the last real value before it, and what is returned the last in it.
fn keep_of(
    window: &[(i64, f64)],
    before: Option<f64>,
    is_counter: bool,
    kept: &mut Columns,
) -> Option<f64> {
    let mut stays = vec![false; window.len()];
    let mut falls = Vec::new();
    let (mut last, mut last_real) = (before, None);
    for (at, (_, value)) in window.iter().enumerate() {
        if is_stale(*value) {
            continue;
        }
        if last.is_some_and(|last| *value < last) {
            falls.push((last_real, at));
        }
        (last, last_real) = (Some(*value), Some(at));
    }
    // A gauge falls again and again: where it did so once it may be a counter whose name does not say so.
    if is_counter || falls.len() == 1 {
        for (peak, low) in falls {
            for at in peak.into_iter().chain([low]) {
                stays[at] = true;
            }
        }
    }
    for at in last_real.into_iter().chain(window.len().checked_sub(1)) {
        stays[at] = true;
    }
    for ((at_ms, value), _) in window.iter().zip(&stays).filter(|(_, stays)| **stays) {
        kept.push(*at_ms, *value);
    }
    last
}

#[cfg(test)]
mod tests;

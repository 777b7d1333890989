//! Samples on their way from a delivery to the head: many series in few allocations.
//!
//! Guarantees: samples stay in the order in which they were sent. Never holds a series without a sample.

use mainstay_tsdb::{CheckedKeys, Key, LabelKeys, Labels};

use crate::write::Plain;

/// Samples after which the next parcel begins, so that nobody waits for the whole of a large delivery.
const PARCEL_SAMPLES: usize = 10_000;

/// What is told of one series.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Where its points end.
    end: usize,
    /// See [`NewSample`](crate::adapter::NewSample).
    born_from_zero: bool,
}

/// Samples that can be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parcel {
    keys: CheckedKeys,
    told: Vec<Told>,
    points: Vec<(i64, f64)>,
}

/// One series of a parcel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) key: Key<'a>,
    /// Times and values.
    pub(crate) points: &'a [(i64, f64)],
    pub(crate) born_from_zero: bool,
}

impl Parcel {
    /// How many samples.
    pub(crate) fn samples(&self) -> usize {
        self.points.len()
    }

    /// The time of its oldest sample.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.points.iter().map(|(at_ms, _)| *at_ms).min()
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let mut begin = 0;
        self.keys.sets().zip(&self.told).map(move |(key, told)| {
            let points = self.points.get(begin..told.end).unwrap_or_default();
            begin = told.end;
            Item {
                key,
                points,
                born_from_zero: told.born_from_zero,
            }
        })
    }
}

/// Makes parcels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packing {
    done: Vec<Parcel>,
    keys: LabelKeys,
    told: Vec<Told>,
    points: Vec<(i64, f64)>,
}

impl Packing {
    /// Adds a series; `false` if it names no metric.
    pub(crate) fn add(
        &mut self,
        labels: &Labels,
        points: impl IntoIterator<Item = (i64, f64)>,
        born_from_zero: bool,
    ) -> bool {
        let begin = self.points.len();
        self.points.extend(points);
        if self.points.len() == begin {
            return true;
        }
        let named = self.keys.push(labels);
        if named {
            self.close(born_from_zero);
        } else {
            self.points.truncate(begin);
        }
        named
    }

    /// Adds a series from its bytes, with up to `at_most` samples none of which is newer than `newest_ms`; how many
    /// it has. Nothing is added if it is not plain, or not all of it can be taken.
    pub(crate) fn add_plain(
        &mut self,
        mut series: Plain<'_>,
        newest_ms: i64,
        at_most: usize,
    ) -> Option<usize> {
        let begin = self.points.len();
        let added = self.gather(&mut series, newest_ms, begin + at_most);
        if added.is_none() {
            self.keys.give_up();
            self.points.truncate(begin);
            return None;
        }
        if !self.keys.end() {
            self.points.truncate(begin);
            return None;
        }
        let count = self.points.len() - begin;
        if count == 0 {
            self.keys.take_back();
        } else {
            self.close(false);
        }
        Some(count)
    }

    fn gather(&mut self, series: &mut Plain<'_>, newest_ms: i64, until: usize) -> Option<()> {
        while let Some((name, value)) = series.label().ok()? {
            if !self.keys.label(name, value) {
                return None;
            }
        }
        if !series.is_text() {
            return None;
        }
        while let Some((at_ms, value)) = series.sample().ok()? {
            if at_ms > newest_ms || self.points.len() >= until {
                return None;
            }
            self.points.push((at_ms, value));
        }
        Some(())
    }

    fn close(&mut self, born_from_zero: bool) {
        self.told.push(Told {
            end: self.points.len(),
            born_from_zero,
        });
        if self.points.len() >= PARCEL_SAMPLES {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if self.told.is_empty() {
            return;
        }
        // Each part was checked when it came in.
        if let Some(keys) = std::mem::take(&mut self.keys).checked() {
            self.done.push(Parcel {
                keys,
                told: std::mem::take(&mut self.told),
                points: std::mem::take(&mut self.points),
            });
        }
    }

    /// All that was added.
    pub(crate) fn finish(mut self) -> Vec<Parcel> {
        self.seal();
        self.done
    }
}

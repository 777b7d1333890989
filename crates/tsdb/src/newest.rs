//! The newest that is known of series: how old an answer is depends on it.
//!
//! Guarantees: what is told of a series is its newest sample up to a time, however long ago; generations and parts are
//! looked through from the newest back, each series only as far as need be. Of a part that ended before that time no
//! samples are read: its index says how each series ended.

use std::collections::BTreeMap;

use crate::{
    Labels, Matcher, ReadError, Tsdb, damage::Tolerance, downsample::plain, index::matching,
    view::share_table,
};

/// The newest that is known of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Newest {
    /// The series.
    pub labels: Labels,
    /// Time of its newest sample, staleness markers aside.
    pub at_ms: i64,
    /// The value of that sample; not a number where it is a histogram.
    pub value: f64,
    /// Whether a staleness marker follows.
    pub ended: bool,
}

/// A series on the way back.
#[derive(Default)]
struct Known {
    /// Whether its newest sample is a staleness marker, once that is known.
    ended: Option<bool>,
    /// Its newest sample that is none.
    real: Option<(i64, f64)>,
}

impl Tsdb {
    /// The newest sample up to `at_ms` of each matching series that has one, by labels.
    pub fn newest(&self, matchers: &[Matcher], at_ms: i64) -> Result<Vec<Newest>, ReadError> {
        let view = self.view();
        let mut known: BTreeMap<Labels, Known> = BTreeMap::new();
        for sharing in view.generations().chunk_by(share_table).rev() {
            let Some(table) = sharing.first().map(|it| it.table()) else {
                continue;
            };
            let Ok(ids) = matching(&*table.index(), matchers);
            for (id, entry) in ids.iter().filter_map(|id| Some((id, table.get(id)?))) {
                let series = known.entry(entry.labels.clone()).or_default();
                for generation in sharing.iter().rev() {
                    if series.real.is_some() {
                        break;
                    }
                    if let Some(last) = generation.last(id, at_ms) {
                        series.ended.get_or_insert(last.is_stale);
                        series.real = last.real;
                    }
                }
            }
        }
        for part in view.parts.iter().rev() {
            let strict = &mut Tolerance::Strict;
            part.ends(
                &plain(part, matchers),
                at_ms,
                strict,
                &mut |labels, _, last| {
                    let series = known.entry(labels).or_default();
                    if series.real.is_none() {
                        series.ended.get_or_insert(last.is_stale);
                        series.real = last.real;
                    }
                },
            )?;
        }
        let newest = known.into_iter().filter_map(|(labels, series)| {
            let (at_ms, value) = series.real?;
            Some(Newest {
                labels,
                at_ms,
                value,
                ended: series.ended.unwrap_or(false),
            })
        });
        Ok(newest.collect())
    }
}

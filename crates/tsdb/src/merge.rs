//! Which parts become one, and making it.
//!
//! Guarantees: what is merged is what would be read of its parts: each series once, samples in order, of equal times
//! the one that came in first. Memory is bounded by one series' samples, a few pages of each part, and the labels.
//! What to merge is a pure function of the parts; each merge leaves fewer parts or a higher tier, so it comes to an
//! end.

use std::{ops::Range, sync::Arc};

use crate::{
    Labels, ReadError,
    memtable::Columns,
    part::{Contents, Meta, Part, PartWriter, Tier},
};

/// Parts that are merged at once, and what makes it worth while to merge before their time is over.
const MANY_PARTS: usize = 32;
/// Samples in a part that is merged: there must be room for it beside what it is merged from.
const MERGED_SAMPLES: u64 = 1 << 32;

/// How much time the tiers of parts span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// What generations are merged into.
    pub hour_ms: i64,
    /// What those are merged into, which stays.
    pub day_ms: i64,
}

impl Default for Tiers {
    /// An hour and a day.
    fn default() -> Self {
        Self {
            hour_ms: 60 * 60 * 1_000,
            day_ms: 24 * 60 * 60 * 1_000,
        }
    }
}

/// The parts to merge next, and what they become. `parts` stand in the order of their generations; one that is
/// `None` cannot be merged.
pub(crate) fn plan(parts: &[Option<Meta>], tiers: Tiers) -> Option<(Range<usize>, Tier)> {
    let hours = (Tier::Generation, tiers.hour_ms, Tier::Hour);
    let days = (Tier::Hour, tiers.day_ms, Tier::Day);
    [hours, days]
        .into_iter()
        .find_map(|(highest, span_ms, becomes)| {
            let time = |part: &Option<Meta>| {
                let low = part.filter(|meta| meta.tier <= highest)?;
                Some(low.newest_ms.div_euclid(span_ms.max(1)))
            };
            let mut begin = 0;
            parts.chunk_by(|a, b| time(a) == time(b)).find_map(|run| {
                let from = begin;
                begin += run.len();
                // As long as none came after them, more of the same time may come.
                let over = begin < parts.len() || run.len() >= MANY_PARTS;
                time(run.first()?).filter(|_| over)?;
                let count = fitting(run);
                // One alone is written again only to be of the tier that stays.
                (count > 1 || becomes == Tier::Day).then_some((from..from + count, becomes))
            })
        })
}

/// Which parts stay as they are for a while: those of no merge that may begin now, and of no hour to which more may come.
/// A part of one generation that is alone in an hour that is over rests until its day is over, as those of an hour do.
pub(crate) fn resting(parts: &[Option<Meta>], tiers: Tiers) -> Vec<bool> {
    let mut rests = vec![true; parts.len()];
    let spans = [
        (Tier::Generation, tiers.hour_ms),
        (Tier::Hour, tiers.day_ms),
    ];
    for (highest, span_ms) in spans {
        let time = |part: &Option<Meta>| {
            let low = part.filter(|meta| meta.tier <= highest)?;
            Some(low.newest_ms.div_euclid(span_ms.max(1)))
        };
        let mut begin = 0;
        for run in parts.chunk_by(|a, b| time(a) == time(b)) {
            let from = begin;
            begin += run.len();
            let over = begin < parts.len();
            let merges = match highest {
                Tier::Generation => !over || run.len() > 1,
                _ => over,
            };
            if time(run.first().unwrap_or(&None)).is_some() && merges {
                rests[from..begin].fill(false);
            }
        }
    }
    rests
}

/// How many of the first parts one part may hold: at least one.
fn fitting(run: &[Option<Meta>]) -> usize {
    let mut samples = 0;
    let fit = run.iter().flatten().take(MANY_PARTS).take_while(|meta| {
        samples += meta.samples;
        samples <= MERGED_SAMPLES
    });
    fit.count().max(1)
}

/// Why a merge did not end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MergeError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the merged part cannot be written: {0}")]
    Write(#[from] std::io::Error),
    #[error("something else is more urgent")]
    Interrupted,
}

/// Writes all that `parts` hold to `writer`; `go_on` is asked between series.
pub(crate) fn merge(
    parts: &[Arc<Part>],
    writer: &mut PartWriter,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<(), MergeError> {
    merge_some(parts, writer, &|_| true, go_on)
}

/// Like [`merge`], only series that are to keep.
pub(crate) fn merge_some(
    parts: &[Arc<Part>],
    writer: &mut PartWriter,
    keep: &dyn Fn(&Labels) -> bool,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<(), MergeError> {
    let mut inputs = Vec::with_capacity(parts.len());
    for part in parts {
        let mut contents = part.contents();
        let labels = contents.labels()?;
        inputs.push((labels, contents));
    }
    while let Some(next) = inputs
        .iter()
        .filter_map(|(labels, _)| labels.as_ref())
        .min()
    {
        if !go_on() {
            return Err(MergeError::Interrupted);
        }
        let next = next.clone();
        let (born_ms, columns) = together(&next, &mut inputs)?;
        if keep(&next) {
            writer.push(&next, born_ms, &columns)?;
        }
    }
    Ok(())
}

/// What all inputs have of the series, each of which goes on to its next.
fn together(
    series: &Labels,
    inputs: &mut [(Option<Labels>, Contents<'_>)],
) -> Result<(Option<i64>, Columns), ReadError> {
    let (mut born_ms, mut columns) = (None, Columns::default());
    for (labels, contents) in inputs {
        if labels.as_ref() == Some(series) {
            let (born, samples) = contents.samples()?;
            born_ms = born_ms.or(born);
            columns.extend(samples);
            *labels = contents.labels()?;
        }
    }
    Ok((born_ms, columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIERS: Tiers = Tiers {
        hour_ms: 10,
        day_ms: 40,
    };

    #[expect(clippy::unnecessary_wraps, reason = "what a plan is made of")]
    fn part(tier: Tier, newest_ms: i64) -> Option<Meta> {
        Some(Meta {
            tier,
            generations: (0, 0),
            series: 1,
            samples: 1,
            oldest_ms: newest_ms,
            newest_ms,
        })
    }

    #[test]
    fn parts_of_an_hour_become_one_once_it_is_over_and_those_of_a_day_after_that() {
        use Tier::{Day, Generation as G, Hour};
        let mut parts = vec![part(G, 1), part(G, 5), part(G, 9)];
        assert_eq!(plan(&parts, TIERS), None, "more may come");
        parts.push(part(G, 11));
        assert_eq!(plan(&parts, TIERS), Some((0..3, Hour)));
        parts.splice(0..3, [part(Hour, 9)]);
        assert_eq!(plan(&parts, TIERS), None);
        parts.extend([part(G, 39), part(G, 41)]);
        assert_eq!(plan(&parts, TIERS), Some((0..3, Day)));
        parts.splice(0..3, [part(Day, 39)]);
        assert_eq!(plan(&parts, TIERS), None);
    }

    #[test]
    fn what_is_not_merged_soon_rests() {
        use Tier::{Day, Generation as G, Hour};
        let rests = |parts: &[Option<Meta>]| resting(parts, TIERS);
        assert_eq!(rests(&[part(G, 1)]), [false], "more may come in this hour");
        let parts = [part(G, 1), part(G, 5), part(G, 11)];
        assert_eq!(rests(&parts), [false; 3], "two of an hour that is over");
        assert_eq!(rests(&[part(G, 1), part(G, 11)]), [true, false]);
        assert_eq!(rests(&[part(Hour, 9), part(G, 11)]), [true, false]);
        assert_eq!(
            rests(&[part(Hour, 9), part(Hour, 19), part(G, 41)]),
            [false; 3],
            "the day is over"
        );
        assert_eq!(rests(&[part(Day, 39), part(Hour, 49)]), [true; 2]);
    }

    #[test]
    fn a_part_that_cannot_be_merged_parts_those_around_it() {
        use Tier::{Generation as G, Hour};
        let parts = [part(G, 1), None, part(G, 2), part(G, 3), part(Hour, 99)];
        assert_eq!(plan(&parts, TIERS), Some((2..4, Hour)));
    }

    #[test]
    fn many_parts_of_a_time_that_is_not_over_are_merged_all_the_same() {
        let parts = vec![part(Tier::Generation, 1); MANY_PARTS + 3];
        assert_eq!(plan(&parts, TIERS), Some((0..MANY_PARTS, Tier::Hour)));
    }

    #[test]
    fn parts_together_hold_no_more_samples_than_one_may() {
        let mut parts = vec![part(Tier::Generation, 1); 4];
        parts
            .iter_mut()
            .flatten()
            .for_each(|meta| meta.samples = MERGED_SAMPLES / 2);
        parts.push(part(Tier::Generation, 11));
        assert_eq!(plan(&parts, TIERS), Some((0..2, Tier::Hour)));
    }
}

#[cfg(test)]
mod mixed;

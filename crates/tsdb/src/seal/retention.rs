//! Old parts lose the series that are kept for less long; what is to be kept as summaries becomes some.
//!
//! Guarantees: a summary and what it stands for are never both read: one manifest takes the one in and the other out.

use std::sync::Arc;

use super::{Shared, Work};
use crate::{
    Labels, ReadError, Resolution,
    downsample::{AGGREGATE, Aggregate, Summary},
    merge::MergeError,
    part::{IMPORTED, Part, PartWriter, Tier},
};

impl Work {
    /// Drops or summarises what is too old; `Some(false)` if something else is more urgent, `None` if the queue was
    /// closed before.
    pub(super) fn expire(&mut self, now_ms: i64, shared: &Shared) -> Option<bool> {
        let listed = |id: &u64| self.parts.iter().any(|part| part.id() == *id);
        let known = self.expired.clone().into_iter();
        self.expired = known.filter(|(id, _)| listed(id)).collect();
        while let Some((part, passed_ms)) = self.next_to_expire(now_ms) {
            self.expired.insert(part.id(), passed_ms);
            match self.expire_some(&part, passed_ms, now_ms, shared) {
                Ok(()) => {}
                Err(MergeError::Interrupted) if shared.is_closed() => return None,
                Err(MergeError::Interrupted) => {
                    self.expired.remove(&part.id());
                    return Some(false);
                }
                Err(MergeError::Read(error @ ReadError::Damaged { .. })) => {
                    // Once all of it is too old it goes without a summary.
                    self.expired.remove(&part.id());
                    self.leave_unmerged(&[part], &error);
                }
                Err(error @ (MergeError::Read(ReadError::Disk { .. }) | MergeError::Write(_))) => {
                    tracing::warn!(%error, "samples stay longer than they should; it is tried again");
                    self.expired.remove(&part.id());
                    break;
                }
            }
        }
        Some(true)
    }

    /// A part some of whose series may be too old since it was looked at last, and for how long those are kept.
    fn next_to_expire(&self, now_ms: i64) -> Option<(Arc<Part>, i64)> {
        let due = |part: &Arc<Part>| {
            let newest_ms = part.meta().newest_ms;
            let passed_ms = match part.resolution() {
                None => self.retention.passed(newest_ms, now_ms)?,
                Some(resolution) => {
                    let keeps_ms = self.downsampling.keeps_ms(resolution).unwrap_or(0);
                    (newest_ms < now_ms.saturating_sub(keeps_ms)).then_some(keeps_ms)?
                }
            };
            let known = self.expired.get(&part.id());
            let is_new = known.is_none_or(|known| *known < passed_ms);
            // A damaged part is only good to be dropped as a whole.
            let whole = !self.damaged.contains(&part.id());
            let all = part.resolution().is_some() || passed_ms >= self.retention.longest_ms();
            (is_new && (whole || all)).then(|| (Arc::clone(part), passed_ms))
        };
        self.parts.iter().find_map(due)
    }

    fn expire_some(
        &mut self,
        part: &Arc<Part>,
        passed_ms: i64,
        now_ms: i64,
        shared: &Shared,
    ) -> Result<(), MergeError> {
        let retention = self.retention.clone();
        let all = part.resolution().is_some() || passed_ms >= retention.longest_ms();
        let expired = |labels: &Labels| all || retention.of(labels) <= passed_ms;
        if !all {
            let (mut contents, mut any) = (part.contents(), false);
            while let (false, Some(labels)) = (any, contents.labels()?) {
                any = expired(&labels);
            }
            if !any {
                return Ok(());
            }
        }
        let age_ms = now_ms.saturating_sub(part.meta().newest_ms);
        let becomes = self.downsampling.next(part.resolution(), age_ms);
        let damaged = self.damaged.contains(&part.id());
        let summary = match becomes.filter(|_| !damaged) {
            Some(resolution) => self.summarise(part, &expired, resolution, shared)?,
            None => None,
        };
        let left = if all {
            None
        } else {
            self.write_left(part, &|labels| !expired(labels), true, shared)?
        };
        if let Some(left) = &left {
            self.expired.insert(left.id(), passed_ms);
        }
        if let Some(summary) = summary {
            self.manifest.parts.insert(0, summary.id());
            self.parts.insert(0, Arc::new(summary));
        }
        self.put_in_place(part, left, shared)
    }

    /// A part that stands for the series of another that `of` names; none if there are none.
    fn summarise(
        &mut self,
        part: &Arc<Part>,
        of: &dyn Fn(&Labels) -> bool,
        resolution: Resolution,
        shared: &Shared,
    ) -> Result<Option<Part>, MergeError> {
        let tier = match resolution {
            Resolution::FiveMinutes => Tier::FiveMinutes,
            Resolution::Hour => Tier::OneHour,
        };
        let becomes = (tier, IMPORTED, part.meta().newest_ms);
        let written = self.write_part(becomes, |work, writer| {
            let mut contents = part.contents();
            let mut open: Option<(Labels, Summary)> = None;
            while let Some(labels) = contents.labels()? {
                if !work.goes_on(true, shared) {
                    return Err(MergeError::Interrupted);
                }
                let aggregate = labels.get(AGGREGATE).and_then(Aggregate::of);
                match (aggregate, &mut open) {
                    (Some(aggregate), Some((_, summary))) => {
                        summary.aggregates[aggregate as usize] = contents.samples()?.1;
                    }
                    (Some(_), None) => {}
                    (None, _) => {
                        close(&mut open, resolution, writer)?;
                        if of(&labels) && part.resolution().is_none() {
                            let (born_ms, raw) = contents.samples()?;
                            put(
                                writer,
                                &labels,
                                born_ms,
                                &Summary::of(&labels, &raw, resolution),
                            )?;
                        } else if of(&labels) {
                            let kept = contents.samples()?.1;
                            let aggregates = Default::default();
                            open = Some((labels, Summary { kept, aggregates }));
                        }
                    }
                }
            }
            close(&mut open, resolution, writer)
        })?;
        Ok(self.unless_empty(written))
    }
}

/// Ends a series that was gathered from finer summaries.
fn close(
    open: &mut Option<(Labels, Summary)>,
    resolution: Resolution,
    writer: &mut PartWriter,
) -> Result<(), MergeError> {
    match open.take() {
        Some((labels, fine)) => put(writer, &labels, None, &fine.coarser(&labels, resolution)),
        None => Ok(()),
    }
}

/// A series, and right behind it its aggregates.
fn put(
    writer: &mut PartWriter,
    labels: &Labels,
    born_ms: Option<i64>,
    summary: &Summary,
) -> Result<(), MergeError> {
    writer.push(labels, born_ms, &summary.kept)?;
    for (aggregate, columns) in Aggregate::ALL.into_iter().zip(&summary.aggregates) {
        let pairs = labels.iter().chain([(AGGREGATE, aggregate.name())]);
        // A set of labels with one more is one.
        if let Ok(labels) = Labels::from_pairs(pairs) {
            writer.push(&labels, None, columns)?;
        }
    }
    Ok(())
}

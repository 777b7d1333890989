//! Orders, carried out in their turn.
//!
//! Guarantees: what an order did is durable, and seen by readers, before it is answered. One that cannot be carried out
//! changes nothing.

use std::sync::Arc;

use super::{Shared, Work};
use crate::{
    Labels, Matcher, Order, OrderError, Outcome, ReadError,
    grave::{GRAVES_MAX, Grave},
    merge::{MergeError, merge_some},
    order::Ordered,
    part::Part,
};

/// How long removed samples may lie in parts that are not merged: several deletions are cleaned at once.
const CLEAN_AFTER_MS: i64 = 60 * 60 * 1_000;

type Answer = Result<Outcome, OrderError>;

impl Work {
    /// `None` if the queue was closed before.
    pub(super) fn obey(&mut self, ordered: Ordered, shared: &Shared) -> Option<()> {
        let Ordered {
            order,
            now_ms,
            tell,
        } = ordered;
        let answer = match order {
            Order::Delete {
                selectors,
                start_ms,
                end_ms,
            } => self.delete(&selectors, (start_ms, end_ms), now_ms, shared),
            Order::Clean => self.clean(shared),
            Order::Snapshot { name, .. } => self.snapshot(&name),
            Order::Backfill(batch) => self.backfill(batch, now_ms, shared),
        };
        let closed = shared.is_closed() && answer.is_err();
        tell(answer);
        (!closed).then_some(())
    }

    fn delete(
        &mut self,
        selectors: &[Vec<Matcher>],
        window: (i64, i64),
        now_ms: i64,
        shared: &Shared,
    ) -> Answer {
        if self.manifest.graves.len() + selectors.len() > GRAVES_MAX {
            return Err(OrderError::Refused(format!(
                "more than {GRAVES_MAX} deletions would wait for their samples to be cleaned away: have them cleaned first"
            )));
        }
        let mut outcome = Outcome::default();
        let before = self.manifest.graves.len();
        for matchers in selectors {
            let near = self
                .parts
                .iter()
                .filter(|it| it.overlaps(window.0, window.1));
            let holds = near.filter(|part| !part.ids(matchers).is_empty());
            let mut parts: std::collections::BTreeSet<u64> = holds.map(|it| it.id()).collect();
            // A copy may take the place of one that cannot be opened.
            let unserved = |id: &&u64| !self.parts.iter().any(|part| part.id() == **id);
            parts.extend(self.manifest.parts.iter().filter(unserved));
            outcome.parts += parts.len();
            if !parts.is_empty() {
                self.manifest.graves.push(Grave {
                    matchers: matchers.clone(),
                    window,
                    at_ms: now_ms,
                    parts,
                });
            }
        }
        if self.list(&[], shared).is_none() {
            self.manifest.graves.truncate(before);
            return Err(OrderError::Closed);
        }
        self.parts
            .iter()
            .for_each(|part| part.bury(&self.manifest.graves));
        Ok(outcome)
    }

    fn snapshot(&self, name: &str) -> Answer {
        let parts: Vec<u64> = self.parts.iter().map(|part| part.id()).collect();
        let shared = self.manifest.share(&*self.disk, name, &parts);
        shared.map_err(|error| OrderError::Disk(error.to_string()))?;
        Ok(Outcome {
            parts: parts.len(),
            ..Outcome::default()
        })
    }

    /// Writes all parts anew that hold removed samples, while generations that end meanwhile are sealed.
    fn clean(&mut self, shared: &Shared) -> Answer {
        let mut outcome = Outcome::default();
        while let Some(part) = self.buried(i64::MAX) {
            match self.rewrite(&part, false, shared) {
                Ok(()) => outcome.parts += 1,
                Err(MergeError::Interrupted) => return Err(OrderError::Closed),
                Err(MergeError::Read(error)) => {
                    self.leave_unmerged(&[part], &error);
                    return Err(error.into());
                }
                Err(MergeError::Write(error)) => return Err(OrderError::Disk(error.to_string())),
            }
        }
        self.sweep();
        Ok(outcome)
    }

    /// Writes parts anew whose removed samples have lain long enough at `now_ms`; `Some(false)` if something else is
    /// more urgent, `None` if the queue was closed before.
    pub(super) fn clean_old(&mut self, now_ms: i64, shared: &Shared) -> Option<bool> {
        while let Some(part) = self.buried(now_ms.saturating_sub(CLEAN_AFTER_MS)) {
            match self.rewrite(&part, true, shared) {
                Ok(()) => {}
                Err(MergeError::Interrupted) if shared.is_closed() => return None,
                Err(MergeError::Interrupted) => return Some(false),
                Err(MergeError::Read(error @ ReadError::Damaged { .. })) => {
                    self.leave_unmerged(&[part], &error);
                }
                Err(error @ (MergeError::Read(ReadError::Disk { .. }) | MergeError::Write(_))) => {
                    tracing::warn!(%error, "removed samples stay on disk, and hidden; it is tried again");
                    break;
                }
            }
        }
        Some(true)
    }

    /// A part that holds samples which were removed at `before_ms` or earlier, and can be written anew.
    fn buried(&self, before_ms: i64) -> Option<Arc<Part>> {
        let old = |grave: &&Grave| grave.at_ms <= before_ms;
        let held = |part: &&Arc<Part>| {
            let mut graves = self.manifest.graves.iter().filter(old);
            graves.any(|grave| grave.parts.contains(&part.id()))
        };
        let whole = |part: &&Arc<Part>| !self.damaged.contains(&part.id());
        self.parts.iter().filter(whole).find(held).cloned()
    }

    /// Puts in a part's place what is left of it.
    fn rewrite(
        &mut self,
        part: &Arc<Part>,
        yields: bool,
        shared: &Shared,
    ) -> Result<(), MergeError> {
        let left = self.write_left(part, &|_| true, yields, shared)?;
        self.put_in_place(part, left, shared)
    }

    /// What is left of a part, and is to keep, if it is anything.
    pub(super) fn write_left(
        &mut self,
        part: &Arc<Part>,
        keep: &dyn Fn(&Labels) -> bool,
        yields: bool,
        shared: &Shared,
    ) -> Result<Option<Part>, MergeError> {
        let meta = *part.meta();
        let becomes = (meta.tier, meta.generations, meta.newest_ms);
        let inputs = [Arc::clone(part)];
        let written = self.write_part(becomes, |work, writer| {
            merge_some(&inputs, writer, keep, &mut || work.goes_on(yields, shared))
        })?;
        Ok(self.unless_empty(written))
    }

    /// A part that was written, or none where nothing is in it: that was never listed, so that nobody reads it.
    pub(super) fn unless_empty(&self, written: Part) -> Option<Part> {
        if written.meta().series == 0 {
            // If this fails, the next start removes it.
            let _ = self.disk.remove(written.name());
            return None;
        }
        Some(written)
    }

    pub(super) fn put_in_place(
        &mut self,
        part: &Arc<Part>,
        left: Option<Part>,
        shared: &Shared,
    ) -> Result<(), MergeError> {
        let inputs = vec![Arc::clone(part)];
        let replaced = if let Some(left) = left {
            self.replace(inputs, left, shared)
        } else {
            self.parts.retain(|it| it.id() != part.id());
            self.retire(inputs, None, shared)
        };
        replaced.ok_or(MergeError::Interrupted)
    }

    /// Seals what ended meanwhile; whether what is being written may go on.
    pub(super) fn goes_on(&mut self, yields: bool, shared: &Shared) -> bool {
        while let Some(job) = shared.next_job() {
            if self.seal(&job, shared).is_none() {
                return false;
            }
        }
        let gives_way = yields && shared.has_order();
        !(gives_way || shared.is_closed())
    }
}

//! How histograms come in: as numbers do, beside them.
//!
//! Guarantees: a series has one order of time for both; whatever came first at a time stays. Numbers pay nothing for
//! it: they look here only if they are late or repeated.

use std::sync::Arc;

use super::Head;
use crate::{
    AppendError, Histogram, HistogramSample, Labels, STALE_MARKER_BITS, is_stale, roster::Beside,
    series::Entry, tenants::TenantId,
};

impl Head {
    /// Adds a sample that is a histogram, as [`Head::append`] does a number; one whose sum is the staleness marker is
    /// kept as that marker, as it ends the series.
    pub fn append_histogram(
        &mut self,
        labels: &Labels,
        at_ms: i64,
        histogram: Histogram,
    ) -> Result<(), AppendError> {
        if is_stale(histogram.sum) {
            return self.append(labels, at_ms, f64::from_bits(STALE_MARKER_BITS));
        }
        histogram.check().map_err(|fault| AppendError::Histogram {
            labels: labels.clone(),
            fault,
        })?;
        let id = self.series(labels, None)?;
        if let Some(gate) = &mut self.gate {
            let tenant = self.roster.state(id).map(|it| it.tenant);
            let tenant = tenant.unwrap_or(TenantId::NOBODY);
            gate.has_room(tenant)?;
            if self.put_histogram(id, at_ms, histogram)?
                && let Some(gate) = &mut self.gate
            {
                gate.spend(tenant);
            }
            return Ok(());
        }
        self.put_histogram(id, at_ms, histogram).map(drop)
    }

    /// Adds a histogram of a series; whether it was new.
    fn put_histogram(
        &mut self,
        id: u32,
        at_ms: i64,
        mut histogram: Histogram,
    ) -> Result<bool, AppendError> {
        let Some(state) = self.roster.state(id) else {
            unreachable!("the roster remembers every series that it gave a number");
        };
        let newest_ms = state.newest_ms;
        let before = self.roster.beside.get(&id).map(|it| it.newest.clone());
        let repeats = |it: &HistogramSample| it.at_ms == at_ms && *it.histogram == histogram;
        let late = at_ms <= newest_ms;
        let is_held = || late && self.holds_histogram(id, at_ms, &histogram);
        if before.as_ref().is_some_and(repeats) || is_held() {
            return Ok(false);
        }
        let Some((state, table)) = self.roster.remembered(id) else {
            unreachable!("the roster remembers every series that it gave a number");
        };
        if at_ms == newest_ms || late && self.active.has_number(id, at_ms) {
            let labels = table.get(id).map(|it| it.labels.clone());
            let labels = labels.unwrap_or_default();
            return Err(AppendError::DuplicateTime { labels, at_ms });
        }
        if late && newest_ms.saturating_sub(at_ms) > self.limits.late_ms {
            let labels = table.get(id).map(|it| it.labels.clone());
            return Err(AppendError::OutOfOrder {
                labels: labels.unwrap_or_default(),
                newest_ms,
                at_ms,
            });
        }
        if let Some(before) = before {
            histogram.share_layout(&before.histogram);
        }
        let sample = HistogramSample {
            at_ms,
            histogram: Arc::new(histogram),
        };
        if self.journal.is_some() && !self.unlogged {
            if state.defined != self.defining {
                state.defined = self.defining;
                if let Some(Entry { labels, born_ms }) = table.get(id) {
                    self.recorder.series(id, labels, *born_ms, &mut self.group);
                }
            }
            self.recorder.histogram(id, late, &sample, &mut self.group);
        }
        self.enter(id);
        if late {
            self.active.push_late_histogram(id, sample);
        } else {
            self.push_histogram(id, sample);
        }
        Ok(true)
    }

    /// Whether memory holds exactly this sample: then its delivery is one that was repeated.
    fn holds_histogram(&self, id: u32, at_ms: i64, histogram: &Histogram) -> bool {
        let view = self.tsdb.view();
        let mut generations = view.generations().into_iter().rev();
        generations.any(|it| {
            Arc::ptr_eq(it.table(), self.roster.table()) && it.has_exactly(id, at_ms, histogram)
        })
    }

    /// A series is written to in this generation.
    pub(super) fn enter(&mut self, id: u32) {
        let generation = self.generation;
        if let Some((state, _)) = self.roster.remembered(id)
            && state.generation != generation
        {
            state.generation = generation;
            state.page = None;
            self.entered += 1;
        }
    }

    /// Adds a histogram that is newer than those before.
    pub(super) fn push_histogram(&mut self, id: u32, sample: HistogramSample) {
        if let Some((state, _)) = self.roster.remembered(id) {
            state.newest_ms = state.newest_ms.max(sample.at_ms);
        }
        self.active.count_histogram(&sample);
        let generation = self.generation;
        let beside = self.roster.beside.entry(id);
        let beside = beside.or_insert_with(|| Beside::carried(sample.clone()));
        beside.newest = sample.clone();
        if beside.generation != generation || beside.link.is_none() {
            beside.generation = generation;
            beside.link = self.active.first_link(id);
        }
        if let Some(next) = beside.link.as_ref().and_then(|link| link.push(sample)) {
            beside.link = Some(next);
        }
    }
}

//! Slow requests: those slower than the old version's 99th percentile.
//!
//! Guarantees: harm is shown against instances as young as the canary, so that a cold cache is no harm; safety
//! against all old ones. The bound that splits fast from slow follows the old version, and is always taken from
//! ticks before the one it judges: the tests stay valid. Never takes a bound that holds everything for one.

use std::collections::BTreeMap;

use mainstay_core::ports::Growth;
use mainstay_stats::{Judge, Judgement, Pair, STRATA, StatsError};

use super::{
    arms::{Arm, Arms, Kind, Labels},
    sample::{Probed, Sample},
};

/// Share of the old version's requests that its bound for slowness keeps.
const FAST_SHARE: f64 = 0.99;
/// Requests of the old version below which its 99th percentile is not known.
const BOUND_SAMPLE: f64 = 200.0;
/// Weight a tick keeps in the old version's latencies after one more: a memory of about fifty ticks, so that
/// the bound follows the day.
const BOUND_MEMORY: f64 = 0.98;

/// An upper bound of a latency bucket, in the unit of the series, ordered.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound(f64);
impl Eq for Bound {}
impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Bound {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Bound {
    fn of(labels: &BTreeMap<String, String>) -> Option<Self> {
        let le = labels.get("le")?;
        le.replace("+Inf", "inf").parse().ok().map(Self)
    }
}

/// The running evidence about slow requests. Bounded by the router's buckets.
#[derive(Debug, Clone)]
pub(super) struct Latency {
    judge: Judge,
    slow: Sample,
    slow_young: Sample,
    /// Requests of the old version by upper bound of latency, cumulative.
    old_buckets: BTreeMap<Bound, f64>,
    bound: Option<Bound>,
}

/// Counts of one tick and one kind of requests.
#[derive(Default)]
struct Tick {
    all: Pair,
    young: Pair,
}

impl Latency {
    pub(super) fn new(judge: Judge) -> Result<Self, StatsError> {
        Ok(Self {
            judge,
            slow: Sample::new(&judge)?,
            slow_young: Sample::new(&judge)?,
            old_buckets: BTreeMap::new(),
            bound: None,
        })
    }

    /// Adds the growth of buckets by `le` in one tick, of users and of probes.
    pub(super) fn observe(
        &mut self,
        arms: &Arms,
        names: &Labels,
        buckets: &[(Kind, &Growth)],
    ) -> Result<(), StatsError> {
        if let Some(bound) = self.bound {
            let (mut all, mut young) = ([Pair::default(); STRATA], [Pair::default(); STRATA]);
            for (kind, growth) in buckets {
                let tick = split(arms, names, growth, bound);
                all[*kind as usize] = tick.all;
                young[*kind as usize] = tick.young;
            }
            self.slow.observe(all)?;
            self.slow_young.observe(young)?;
        }
        self.learn(arms, names, buckets);
        Ok(())
    }

    /// The bound for the next tick, from what the old version did up to this one.
    fn learn(&mut self, arms: &Arms, names: &Labels, buckets: &[(Kind, &Growth)]) {
        for count in self.old_buckets.values_mut() {
            *count *= BOUND_MEMORY;
        }
        for series in buckets.iter().flat_map(|(_, growth)| &growth.series) {
            if let (Some(Arm::Control | Arm::YoungControl), Some(le)) =
                (arms.of(&series.labels, names), Bound::of(&series.labels))
            {
                *self.old_buckets.entry(le).or_default() += series.by as f64;
            }
        }
        let all = self.old_buckets.values().next_back().copied();
        let total = all.unwrap_or(0.0);
        if total >= BOUND_SAMPLE {
            let enough = |below: f64| below >= FAST_SHARE * total;
            self.bound = self
                .old_buckets
                .iter()
                .find(|(_, below)| enough(**below))
                .map(|(bound, _)| *bound)
                .filter(|bound| bound.0.is_finite());
        }
    }

    /// The verdict; as slow as young instances of the old version is no harm, only not yet safe.
    pub(super) fn judge(&self) -> Judgement {
        let young = self.slow_young.judge(&self.judge);
        if matches!(young, Judgement::Harmful { .. }) {
            return young;
        }
        match self.slow.judge(&self.judge) {
            Judgement::Harmful { evidence, .. } => Judgement::Insufficient {
                needed_requests: None,
                evidence,
            },
            other @ (Judgement::NonInferior { .. }
            | Judgement::BothFailing { .. }
            | Judgement::Insufficient { .. }) => other,
        }
    }

    /// Probes in the sample that [`Self::judge`] rests on.
    pub(super) fn probed(&self) -> Probed {
        match self.slow_young.judge(&self.judge) {
            Judgement::Harmful { .. } => self.slow_young.probed(),
            Judgement::NonInferior { .. }
            | Judgement::BothFailing { .. }
            | Judgement::Insufficient { .. } => self.slow.probed(),
        }
    }

    /// What is counted, for people.
    pub(super) fn words(&self, names: &Labels) -> String {
        let bound = self.bound.map_or_else(
            || "the old version's p99".to_owned(),
            |bound| format!("{} ms", bound.0 / names.second * 1e3),
        );
        format!("requests slower than {bound}")
    }
}

/// Requests of each arm, and those of them slower than `bound`.
fn split(arms: &Arms, names: &Labels, growth: &Growth, bound: Bound) -> Tick {
    let mut totals = [0_u64; 3];
    let mut fast = [0_u64; 3];
    for series in &growth.series {
        let (Some(arm), Some(le)) = (arms.of(&series.labels, names), Bound::of(&series.labels))
        else {
            continue;
        };
        if le.0.is_infinite() {
            totals[arm as usize] += series.by;
        } else if le == bound {
            fast[arm as usize] += series.by;
        }
    }
    let mut tick = Tick::default();
    for arm in [Arm::Canary, Arm::Control, Arm::YoungControl] {
        let (total, fast) = (totals[arm as usize], fast[arm as usize]);
        let slow = total.saturating_sub(fast);
        arm.add(&mut tick.all, total, slow);
        if arm != Arm::Control {
            arm.add(&mut tick.young, total, slow);
        }
    }
    tick
}

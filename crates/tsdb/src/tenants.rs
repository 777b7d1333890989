//! Limits that series share by the value of one label, as teams share an engine.
//!
//! Guarantees: a tenant that is over a limit never costs another one a sample; a series without the label, such as
//! those of the platform itself, has no tenant and no such limit. At most [`TENANTS_MAX`] are told apart: those after
//! them share one. Who writes counts, and any number read.
//!
//! ```
//! use mainstay_tsdb::{AppendError, Head, HeadLimits, Labels, TenantLimit, TenantLimits};
//! let mut head = Head::new(HeadLimits::default());
//! let usual = TenantLimit { series: Some(1), ..TenantLimit::default() };
//! let tenants = head.limit_tenants(TenantLimits { label: "team".to_owned(), usual, named: [].into() });
//! let series = |name| Labels::from_pairs([("__name__", name), ("team", "shop")]);
//! head.append(&series("a")?, 1_000, 1.0)?;
//! assert!(matches!(head.append(&series("b")?, 1_000, 1.0), Err(AppendError::Tenant(_))));
//! assert_eq!((tenants.all()[0].series, tenants.all()[0].refused_series), (1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::labels::Pairs;

/// Tenants that are told apart.
pub const TENANTS_MAX: usize = 10_000;
/// The name of those that are not.
const OTHERS: &str = "(others)";
/// A tenant may send so many seconds' worth at once: those who are scraped each minute do.
const BURST_SECS: f64 = 60.0;
/// How often a rate is measured.
const RATE_EVERY_MS: i64 = 10_000;

/// What one tenant may hold and send; nothing said is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLimit {
    /// Series in the head.
    pub series: Option<u64>,
    /// Samples a second, over a minute.
    pub samples_per_second: Option<u64>,
    /// Labels of one series, the name included.
    pub labels: Option<u64>,
}

/// Who shares, and what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// The label whose values are the tenants.
    pub label: String,
    /// What holds for each.
    pub usual: TenantLimit,
    /// What holds for those of these names instead.
    pub named: BTreeMap<String, TenantLimit>,
}

/// What a tenant has too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Series.
    Series,
    /// Samples.
    Samples,
    /// Labels.
    Labels,
}

/// A sample that one tenant may not add.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tenant `{tenant}` is at its limit of {limit} {excess}")]
pub struct OverLimit {
    /// Who.
    pub tenant: Arc<str>,
    /// Of what.
    pub excess: Excess,
    /// The limit.
    pub limit: u64,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Series => "series",
            Self::Samples => "samples a second",
            Self::Labels => "labels of one series",
        })
    }
}

/// How one tenant stands.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantUse {
    /// Its name.
    pub name: Arc<str>,
    /// What it may.
    pub limit: TenantLimit,
    /// Series that it has in the head.
    pub series: u64,
    /// Samples that were added since the start.
    pub samples: u64,
    /// Samples a second, as last measured over at least ten seconds.
    pub samples_per_second: f64,
    /// Samples refused since the start, of series that were too many …
    pub refused_series: u64,
    /// … that were too many themselves …
    pub refused_samples: u64,
    /// … or of series with too many labels.
    pub refused_labels: u64,
}

#[derive(Debug, Default)]
struct Counters {
    series: AtomicU64,
    samples: AtomicU64,
    /// In thousandths.
    rate: AtomicU64,
    refused: [AtomicU64; 3],
}

#[derive(Debug)]
struct Seen {
    name: Arc<str>,
    limit: TenantLimit,
    counters: Counters,
}

/// All tenants, for those who read.
#[derive(Clone, Debug, Default)]
pub struct Tenants(Arc<RwLock<Vec<Arc<Seen>>>>);

impl Tenants {
    /// How each stands, in the order in which they came.
    pub fn all(&self) -> Vec<TenantUse> {
        let tenants = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tenants.iter().map(|it| it.told()).collect()
    }
}

impl Seen {
    fn told(&self) -> TenantUse {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [series, samples, labels] = &self.counters.refused;
        TenantUse {
            name: Arc::clone(&self.name),
            limit: self.limit,
            series: read(&self.counters.series),
            samples: read(&self.counters.samples),
            samples_per_second: read(&self.counters.rate) as f64 / 1_000.0,
            refused_series: read(series),
            refused_samples: read(samples),
            refused_labels: read(labels),
        }
    }
}

/// A tenant's number; its series remember it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TenantId(u32);

impl TenantId {
    /// Of series that belong to nobody.
    pub(crate) const NOBODY: Self = Self(u32::MAX);
}

#[derive(Debug)]
struct Tenant {
    seen: Arc<Seen>,
    /// Samples that it may send at once.
    tokens: f64,
    filled_ms: i64,
    /// Its samples when the rate was last measured.
    measured: u64,
}

/// What stands before the head; belongs to who writes.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: TenantLimits,
    by_name: HashMap<Arc<str>, TenantId>,
    tenants: Vec<Tenant>,
    shared: Tenants,
    now_ms: i64,
    measured_ms: i64,
}

impl Gate {
    pub(crate) fn new(limits: TenantLimits) -> Self {
        Self {
            limits,
            by_name: HashMap::new(),
            tenants: Vec::new(),
            shared: Tenants::default(),
            now_ms: 0,
            measured_ms: 0,
        }
    }

    pub(crate) fn tenants(&self) -> Tenants {
        self.shared.clone()
    }

    /// It is `now_ms` on the clock of those who append.
    pub(crate) fn tick(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        let since_ms = now_ms.saturating_sub(self.measured_ms);
        // A clock that went back begins anew.
        if (0..RATE_EVERY_MS).contains(&since_ms) {
            return;
        }
        self.measured_ms = now_ms;
        for tenant in &mut self.tenants {
            let counters = &tenant.seen.counters;
            let samples = counters.samples.load(Ordering::Relaxed);
            let added = samples - tenant.measured;
            let rate = if since_ms > 0 {
                added.saturating_mul(1_000_000) / since_ms.unsigned_abs()
            } else {
                0
            };
            counters.rate.store(rate, Ordering::Relaxed);
            tenant.measured = samples;
        }
    }

    /// The head begins to count its series anew.
    pub(crate) fn begin(&self) {
        for tenant in &self.tenants {
            tenant.seen.counters.series.store(0, Ordering::Relaxed);
        }
    }

    /// Whose a series is.
    pub(crate) fn owner(&mut self, key: &str) -> TenantId {
        let label = self.limits.label.as_str();
        let Some((_, name)) = Pairs::of(key).find(|(name, _)| *name == label) else {
            return TenantId::NOBODY;
        };
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let name = if self.tenants.len() < TENANTS_MAX {
            name
        } else {
            OTHERS
        };
        match self.by_name.get(name) {
            Some(id) => *id,
            None => self.add(name.into()),
        }
    }

    fn add(&mut self, name: Arc<str>) -> TenantId {
        let id = TenantId(u32::try_from(self.tenants.len()).unwrap_or(u32::MAX));
        let named = self.limits.named.get(&*name).copied();
        let limit = named.unwrap_or(self.limits.usual);
        let seen = Arc::new(Seen {
            name: Arc::clone(&name),
            limit,
            counters: Counters::default(),
        });
        let shared = self.shared.0.write();
        shared
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&seen));
        self.tenants.push(Tenant {
            seen,
            tokens: limit.samples_per_second.unwrap_or_default() as f64 * BURST_SECS,
            filled_ms: self.now_ms,
            measured: 0,
        });
        self.by_name.insert(name, id);
        id
    }

    /// Whether its tenant may have one more series with these labels.
    pub(crate) fn admits(&self, id: TenantId, key: &str) -> Result<(), OverLimit> {
        let Some(tenant) = self.tenants.get(id.0 as usize) else {
            return Ok(());
        };
        if let Some(limit) = tenant.seen.limit.labels
            && Pairs::of(key).count() as u64 > limit
        {
            return Err(tenant.over(Excess::Labels, limit));
        }
        if let Some(limit) = tenant.seen.limit.series
            && tenant.seen.counters.series.load(Ordering::Relaxed) >= limit
        {
            return Err(tenant.over(Excess::Series, limit));
        }
        Ok(())
    }

    /// A series of its was added.
    pub(crate) fn entered(&self, id: TenantId) {
        if let Some(tenant) = self.tenants.get(id.0 as usize) {
            let series = &tenant.seen.counters.series;
            series.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether its tenant may send one more sample.
    pub(crate) fn has_room(&mut self, id: TenantId) -> Result<(), OverLimit> {
        let now_ms = self.now_ms;
        let Some(tenant) = self.tenants.get_mut(id.0 as usize) else {
            return Ok(());
        };
        let Some(limit) = tenant.seen.limit.samples_per_second else {
            return Ok(());
        };
        tenant.fill(limit, now_ms);
        if tenant.tokens < 1.0 {
            return Err(tenant.over(Excess::Samples, limit));
        }
        Ok(())
    }

    /// A sample of its was added.
    pub(crate) fn spend(&mut self, id: TenantId) {
        if let Some(tenant) = self.tenants.get_mut(id.0 as usize) {
            tenant.tokens -= 1.0;
            let samples = &tenant.seen.counters.samples;
            samples.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Tenant {
    fn fill(&mut self, limit: u64, now_ms: i64) {
        let since_ms = now_ms.saturating_sub(self.filled_ms);
        self.filled_ms = now_ms;
        if since_ms > 0 {
            let (limit, secs) = (limit as f64, since_ms as f64 / 1_000.0);
            self.tokens = (self.tokens + limit * secs).min(limit * BURST_SECS);
        }
    }

    fn over(&self, excess: Excess, limit: u64) -> OverLimit {
        let counter = self.seen.counters.refused.get(excess as usize);
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        OverLimit {
            tenant: Arc::clone(&self.seen.name),
            excess,
            limit,
        }
    }
}

#[cfg(test)]
mod tests;

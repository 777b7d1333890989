//! `[limits]`: what those may hold and send who share the engine.

use std::collections::BTreeMap;

use mainstay_tsdb::{TenantLimit, TenantLimits};
use serde::Deserialize;

/// The section.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// The label whose values are the tenants; unset: there are none.
    tenant_label: Option<String>,
    /// What holds for each: `[limits.each]`.
    each: Limit,
    /// What holds for one instead: `[limits.tenant.NAME]`.
    tenant: BTreeMap<String, Limit>,
}

/// What one may; nothing said is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Limit {
    /// Series in memory.
    series: Option<u64>,
    /// Samples a second, over a minute.
    samples_per_second: Option<u64>,
    /// Labels of one series, the name included.
    labels: Option<u64>,
}

impl From<Limit> for TenantLimit {
    fn from(limit: Limit) -> Self {
        Self {
            series: limit.series,
            samples_per_second: limit.samples_per_second,
            labels: limit.labels,
        }
    }
}

impl Limits {
    /// Whether it is said whose limits these are.
    pub(super) fn make_sense(&self) -> bool {
        let says_nothing = self.each == Limit::default() && self.tenant.is_empty();
        let label = self.tenant_label.as_deref();
        label.map_or(says_nothing, |it| !it.is_empty())
    }

    /// For the engine.
    pub(crate) fn tenants(self) -> Option<TenantLimits> {
        let named = self.tenant.into_iter();
        Some(TenantLimits {
            label: self.tenant_label?,
            usual: self.each.into(),
            named: named.map(|(name, limit)| (name, limit.into())).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Limits {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn limits_need_to_say_whose_they_are() {
        assert!(read("").make_sense() && read("").tenants().is_none());
        assert!(!read("[each]\nseries = 5").make_sense());
        assert!(!read("[tenant.shop]\nlabels = 5").make_sense());
        let limits = read(
            "tenant_label = \"team\"\n[each]\nseries = 5\n[tenant.shop]\nsamples_per_second = 7",
        );
        assert!(limits.make_sense());
        let limits = limits.tenants().unwrap();
        assert_eq!(
            (limits.label.as_str(), limits.usual.series),
            ("team", Some(5))
        );
        // Another limit stands instead of the usual one, not beside it.
        let shop = limits.named["shop"];
        assert_eq!((shop.series, shop.samples_per_second), (None, Some(7)));
    }
}

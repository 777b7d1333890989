//! What is scraped right now, pool by pool, and how each target did the last time.
//!
//! Guarantees: a target is listed from the moment it is followed, with health `unknown` until its first scrape;
//! what relabeling dropped is counted, and the first [`DROPPED_MAX`] of a pool are listed. Shapes are those of
//! Prometheus's `/api/v1/targets`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mainstay_core::{Span, Time};
use mainstay_tsdb::Labels;
use serde_json::{Map, Value, json};

use super::Target;
use crate::{
    metadata::Described,
    relabel::{self, Rule, Set},
};

/// Dropped targets of one pool that are listed word by word.
const DROPPED_MAX: usize = 1_000;

type Key = (String, Labels);

/// All pools, shared.
#[derive(Clone, Debug, Default)]
pub struct Pools(Arc<Mutex<BTreeMap<String, Pool>>>);

#[derive(Debug, Default)]
struct Pool {
    active: BTreeMap<Key, Active>,
    dropped: Vec<Set>,
    dropped_count: usize,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Active {
    target: Target,
    interval: Span,
    deadline: Span,
    last: Option<Last>,
    /// What it says of its metrics.
    described: Vec<Arc<Described>>,
}

/// How a scrape ended.
#[derive(Debug)]
pub(super) struct Last {
    pub(super) at: Time,
    pub(super) seconds: f64,
    /// Why it failed, if it did.
    pub(super) error: Option<String>,
}

impl Pools {
    /// From now on `pool` has these targets, in their rhythms; those that stay keep their state.
    pub(super) fn follow(&self, pool: &str, targets: impl Iterator<Item = (Target, Span, Span)>) {
        let mut pools = self.lock();
        let pool = pools.entry(pool.to_owned()).or_default();
        let mut before = std::mem::take(&mut pool.active);
        for (target, interval, deadline) in targets {
            let key = target.key();
            let before = before.remove(&key).map(|it| (it.last, it.described));
            let (last, described) = before.unwrap_or_default();
            let active = Active {
                target,
                interval,
                deadline,
                last,
                described,
            };
            pool.active.insert(key, active);
        }
    }

    /// There is no such pool any more.
    pub fn forget(&self, pool: &str) {
        self.lock().remove(pool);
    }

    /// What relabeling dropped from `pool`.
    pub fn drop_targets(&self, pool: &str, mut dropped: Vec<Set>) {
        let mut pools = self.lock();
        let pool = pools.entry(pool.to_owned()).or_default();
        pool.dropped_count = dropped.len();
        dropped.truncate(DROPPED_MAX);
        pool.dropped = dropped;
    }

    /// A target of `pool` has been scraped.
    pub(super) fn scraped(&self, pool: &str, target: &Target, last: Last) {
        let mut pools = self.lock();
        let active = pools
            .get_mut(pool)
            .and_then(|it| it.active.get_mut(&target.key()));
        if let Some(active) = active {
            active.last = Some(last);
        }
    }

    /// A target of `pool` said what its metrics are.
    pub(super) fn described(&self, pool: &str, target: &Target, described: Vec<Arc<Described>>) {
        let mut pools = self.lock();
        let active = pools
            .get_mut(pool)
            .and_then(|it| it.active.get_mut(&target.key()));
        if let Some(active) = active {
            active.described = described;
        }
    }

    /// The targets of `pool` are relabeled by these rules.
    pub(super) fn relabel_by(&self, pool: &str, rules: &[Rule]) {
        self.lock().entry(pool.to_owned()).or_default().rules = rules.to_vec();
    }

    /// The data of `/api/v1/targets/relabel_steps`: what each rule of `pool` makes of `labels`. None where there is
    /// no such pool.
    pub fn relabel_steps(&self, pool: &str, labels: Set) -> Option<Value> {
        let rules = self.lock().get(pool)?.rules.clone();
        let steps = relabel::steps(&rules, labels).into_iter();
        let steps = steps.map(|(rule, left)| {
            let keep = left.is_some();
            json!({ "rule": rule, "output": left.unwrap_or_default(), "keep": keep })
        });
        Some(json!({ "steps": steps.collect::<Vec<Value>>() }))
    }

    /// The data of `/api/v1/targets/metadata`: what the targets whose labels `wanted` takes say of `metric`, or of
    /// all where it is empty; at most `limit` descriptions.
    pub fn metadata(
        &self,
        wanted: impl Fn(&Labels) -> bool,
        metric: &str,
        limit: Option<usize>,
    ) -> Value {
        let pools = self.lock();
        let targets = pools.values().flat_map(|pool| pool.active.values());
        let targets = targets.filter(|active| wanted(active.target.labels()));
        let described = targets.flat_map(|active| {
            let labels: BTreeMap<&str, &str> = active.target.labels().iter().collect();
            let described = active.described.iter();
            let described = described.filter(|it| metric.is_empty() || *it.name == *metric);
            described.map(move |it| {
                let mut told = it.family.told();
                told["target"] = json!(labels);
                if metric.is_empty() {
                    told["metric"] = it.name.to_string().into();
                }
                told
            })
        });
        described.take(limit.unwrap_or(usize::MAX)).collect()
    }

    /// The names of all pools.
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// The data of `/api/v1/targets`, of one pool or, where the name is empty, of all.
    pub fn listed(&self, pool: &str) -> Value {
        let pools = self.lock();
        let wanted = || {
            let all = pools.iter();
            all.filter(|(name, _)| pool.is_empty() || *name == pool)
        };
        let active = wanted().flat_map(|(name, pool)| {
            let targets = pool.active.values();
            targets.map(move |target| target.listed(name))
        });
        let dropped = wanted().flat_map(|(name, pool)| {
            let sets = pool.dropped.iter();
            sets.map(move |set| json!({ "discoveredLabels": set, "scrapePool": name }))
        });
        let counts = wanted().map(|(name, pool)| (name.clone(), pool.dropped_count.into()));
        json!({
            "activeTargets": active.collect::<Vec<Value>>(),
            "droppedTargets": dropped.collect::<Vec<Value>>(),
            "droppedTargetCounts": counts.collect::<Map<String, Value>>(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Pool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Active {
    fn listed(&self, pool: &str) -> Value {
        let labels = self.target.labels().iter();
        let labels: BTreeMap<&str, &str> = labels.collect();
        let url = self.target.url().to_string();
        let (health, error) = match &self.last {
            None => ("unknown", ""),
            Some(Last { error: None, .. }) => ("up", ""),
            Some(Last {
                error: Some(error), ..
            }) => ("down", error.as_str()),
        };
        // As Prometheus writes a time that never was.
        let never = "0001-01-01T00:00:00Z".to_owned();
        json!({
            "discoveredLabels": self.target.discovered(),
            "labels": labels,
            "scrapePool": pool,
            "scrapeUrl": url,
            "globalUrl": url,
            "lastError": error,
            "lastScrape": self.last.as_ref().map_or(never, |last| last.at.to_string()),
            "lastScrapeDuration": self.last.as_ref().map_or(0.0, |last| last.seconds),
            "health": health,
            "scrapeInterval": self.interval.to_string(),
            "scrapeTimeout": self.deadline.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_keeps_its_state_while_it_is_followed_and_is_forgotten_after() {
        let pools = Pools::default();
        let target = Target::new("http://a:1/metrics", [("job", "shop")]).unwrap();
        let follow = |targets: &[&Target]| {
            let rhythm = |it: &&Target| ((*it).clone(), Span::from_secs(15), Span::from_secs(10));
            pools.follow("shop", targets.iter().map(rhythm));
        };
        follow(&[&target]);
        let listed = |field: &str| pools.listed("shop")["activeTargets"][0][field].clone();
        assert_eq!(listed("health"), "unknown");
        let failed = Last {
            at: Time::from_millis(1_000),
            seconds: 0.5,
            error: Some("answered 500, not 200".to_owned()),
        };
        pools.scraped("shop", &target, failed);
        let other = Target::new("http://b:1/metrics", [("job", "shop")]).unwrap();
        follow(&[&target, &other]);
        assert_eq!(
            (listed("health"), listed("lastError")),
            ("down".into(), "answered 500, not 200".into())
        );
        assert_eq!(listed("lastScrape"), "1970-01-01T00:00:01Z");
        assert_eq!(
            (
                listed("scrapeInterval"),
                listed("labels")["instance"].clone()
            ),
            ("15s".into(), "a:1".into())
        );
        follow(&[]);
        assert_eq!(listed("health"), Value::Null);
        assert_eq!(pools.listed("other")["activeTargets"], json!([]));
    }

    #[test]
    fn what_relabeling_dropped_is_counted_and_the_first_are_listed() {
        let pools = Pools::default();
        let set = |at: usize| Set::from([("__address__".to_owned(), at.to_string())]);
        pools.drop_targets("shop", (0..=DROPPED_MAX).map(set).collect());
        let listed = pools.listed("");
        assert_eq!(
            listed["droppedTargets"].as_array().unwrap().len(),
            DROPPED_MAX
        );
        assert_eq!(listed["droppedTargetCounts"]["shop"], DROPPED_MAX + 1);
        assert_eq!(pools.names(), ["shop"]);
    }
}

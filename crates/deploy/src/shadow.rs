//! Shadow verdicts: what a rollout's judge would have said of a version that somebody else rolled out.
//!
//! Guarantees: two versions that serve at once are compared by the same tests as in a rollout, over whatever
//! counts the requests; what is missing never passes; only a version seen first and a ruling that turns to
//! harm or pass are news. Never acts, and has nothing to act with.
//!
//! ```
//! use mainstay_core::{Percent, Time, ports::Growth};
//! use mainstay_deploy::{evidence::Labels, shadow::{Memory, Shadow}};
//! let mut shadow = Shadow::new(Labels::default(), Percent::new(1.0).unwrap(), Memory::default());
//! let news = shadow.tick(Time::from_millis(0), &Growth::default(), &Growth::default())?;
//! assert!(news.is_empty() && shadow.trial().is_none());
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

mod mapping;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use mainstay_core::{Finding, Outcome, Percent, ServiceName, Span, Time, ports::Growth};
use mainstay_stats::StatsError;
use serde::{Deserialize, Serialize};

pub use mapping::Mapping;

use crate::{
    evidence::{Arms, Bench, Labels, Ruled, Tick},
    rollout::Ruling,
};

/// Kind of the plan that a shadow's changes carry.
pub const KIND: &str = "shadow";
/// A version without a request for so long does not serve any more.
pub const QUIET: Span = Span::from_secs(300);
/// First seconds, in which nothing is called old or new: targets are scraped at different moments.
const SETTLE: Span = Span::from_secs(5);
/// How long a new version may be slow: how old instances are is not known, and cold caches are no harm.
const WARM_UP: Span = Span::from_secs(30);
/// Versions that may serve at once; more of them are no versions, but a wrong label.
const SERVING_MAX: usize = 4;
/// Versions remembered of a service, oldest forgotten first.
const VERSIONS_MAX: usize = 64;

/// Something worth an entry in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "saw")]
pub enum News {
    /// The first version of which anything was seen.
    First {
        /// The version.
        version: String,
    },
    /// A version never seen before serves beside another.
    Beside {
        /// The version that served before.
        from: String,
        /// The new one.
        to: String,
    },
    /// What a rollout would have been told has changed.
    Ruled {
        /// The version that served before.
        from: String,
        /// The new one.
        to: String,
        /// Harm or pass.
        ruling: Ruling,
        /// Its numbers.
        findings: Vec<Finding>,
    },
}

/// The plan of a change that only notes what was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Of which service.
    pub service: ServiceName,
    /// What was seen.
    pub news: News,
}

/// What the ledger already says about a service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Versions in the order in which they were first seen.
    versions: Vec<String>,
    told: Option<(String, String, Ruling)>,
}

impl Memory {
    /// Folds what was noted.
    pub fn fold(&mut self, news: &News) {
        match news {
            News::First { version } | News::Beside { to: version, .. } => {
                if !self.versions.contains(version) {
                    self.versions.push(version.clone());
                }
                if self.versions.len() > VERSIONS_MAX {
                    self.versions.remove(0);
                }
            }
            News::Ruled {
                from, to, ruling, ..
            } => self.told = Some((from.clone(), to.clone(), *ruling)),
        }
    }

    fn age(&self, version: &str) -> usize {
        let known = self.versions.iter().position(|it| it == version);
        known.unwrap_or(usize::MAX)
    }
}

/// One comparison.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The version that served before.
    pub from: String,
    /// The new one.
    pub to: String,
    /// Since when both are seen.
    pub since: Time,
    bench: Bench,
    uncoded: u64,
    timed: bool,
    warm: bool,
}

impl Trial {
    fn new(from: String, to: String, at: Time, bench: Bench) -> Self {
        Self {
            from,
            to,
            since: at,
            bench,
            uncoded: 0,
            timed: false,
            warm: false,
        }
    }

    /// What it comes to now.
    pub fn rule(&self) -> Ruled {
        let mut ruled = self.bench.rule();
        let latency = ruled.findings.iter_mut();
        for finding in latency.filter(|it| it.signal == "latency") {
            if !self.timed {
                "latency: no data".clone_into(&mut finding.value);
                "map a histogram: spec.observe.signals.latency".clone_into(&mut finding.remedy);
            } else if !self.warm {
                "latency: not judged yet".clone_into(&mut finding.value);
                finding.remedy = format!("wait until it has served for {WARM_UP}: cold caches");
            }
        }
        if self.uncoded > 0 {
            ruled.findings.push(Finding {
                signal: "mapping".to_owned(),
                outcome: Outcome::InsufficientEvidence,
                value: format!("{} requests without a status", self.uncoded),
                limit: "every request has one".to_owned(),
                remedy: "name its label: spec.observe.signals.requests.codeLabel".to_owned(),
            });
            if ruled.ruling == Ruling::Pass {
                ruled.ruling = Ruling::Insufficient;
            }
        }
        ruled
    }

    /// Requests counted so far: of the new version, and of the old one.
    pub fn requests(&self) -> (u64, u64) {
        let (canary, control) = self.bench.counts();
        (canary.total, control.total)
    }
}

#[derive(Debug, Clone, Copy)]
struct Serving {
    since: Time,
    last: Time,
    requests: u64,
}

/// One observed service.
#[derive(Debug)]
pub struct Shadow {
    labels: Labels,
    margin: Percent,
    memory: Memory,
    serving: BTreeMap<String, Serving>,
    since: Option<Time>,
    stable: Option<String>,
    trial: Option<Trial>,
    unversioned: u64,
}

impl Shadow {
    /// A shadow that starts with what the ledger says.
    pub fn new(labels: Labels, margin: Percent, memory: Memory) -> Self {
        Self {
            labels,
            margin,
            memory,
            serving: BTreeMap::new(),
            since: None,
            stable: None,
            trial: None,
            unversioned: 0,
        }
    }

    /// Takes what was counted since the last tick: requests, and buckets of their latency.
    pub fn tick(
        &mut self,
        now: Time,
        requests: &Growth,
        buckets: &Growth,
    ) -> Result<Vec<News>, StatsError> {
        self.count(now, requests);
        let is_open = self.since.is_some_and(|since| now.since(since) >= SETTLE);
        if !is_open || self.serving.len() > SERVING_MAX {
            return Ok(Vec::new());
        }
        let mut news = Vec::new();
        self.settle(&mut news);
        self.compare(now, &mut news)?;
        self.judge(now, requests, buckets, &mut news)?;
        Ok(news)
    }

    fn count(&mut self, now: Time, requests: &Growth) {
        for series in requests.series.iter().filter(|series| series.by > 0) {
            let Some(version) = series.labels.get(&self.labels.version) else {
                self.unversioned = self.unversioned.saturating_add(series.by);
                continue;
            };
            // One more than may serve is enough to see that the label is wrong.
            if self.serving.len() > SERVING_MAX && !self.serving.contains_key(version) {
                continue;
            }
            let serving = self.serving.entry(version.clone()).or_insert(Serving {
                since: now,
                last: now,
                requests: 0,
            });
            serving.last = now;
            serving.requests = serving.requests.saturating_add(series.by);
            self.since.get_or_insert(now);
        }
        self.serving.retain(|_, it| now.since(it.last) <= QUIET);
    }

    /// Which version serves from before: the one noted first, or the one with the most requests.
    fn settle(&mut self, news: &mut Vec<News>) {
        let still = |version: &String| self.serving.contains_key(version);
        if self.serving.is_empty() || self.stable.as_ref().is_some_and(still) {
            return;
        }
        let oldest = self
            .serving
            .iter()
            .min_by_key(|(version, it)| (self.memory.age(version), std::cmp::Reverse(it.requests)));
        if let Some((version, _)) = oldest {
            let version = version.clone();
            if self.memory.age(&version) == usize::MAX {
                self.note(
                    News::First {
                        version: version.clone(),
                    },
                    news,
                );
            }
            self.stable = Some(version);
        }
    }

    fn compare(&mut self, now: Time, news: &mut Vec<News>) -> Result<(), StatsError> {
        let Some(from) = self.stable.clone() else {
            return Ok(());
        };
        let newest = self
            .serving
            .iter()
            .filter(|(version, _)| **version != from)
            .max_by_key(|(version, it)| (it.since, self.memory.age(version)));
        let Some((to, _)) = newest else {
            self.trial = None;
            return Ok(());
        };
        let goes_on = |trial: &Trial| trial.to == *to && trial.from == from;
        if self.trial.as_ref().is_some_and(goes_on) {
            return Ok(());
        }
        let to = to.clone();
        if self.memory.age(&to) == usize::MAX {
            let beside = News::Beside {
                from: from.clone(),
                to: to.clone(),
            };
            self.note(beside, news);
        }
        let bench = Bench::reading(self.margin, self.labels.clone())?;
        self.trial = Some(Trial::new(from, to, now, bench));
        Ok(())
    }

    fn judge(
        &mut self,
        now: Time,
        requests: &Growth,
        buckets: &Growth,
        news: &mut Vec<News>,
    ) -> Result<(), StatsError> {
        let Some(trial) = &mut self.trial else {
            return Ok(());
        };
        let arms = Arms {
            canary: trial.to.clone(),
            control: trial.from.clone(),
            young: Vec::new(),
        };
        let is_warm = now.since(trial.since) >= WARM_UP;
        let version = |labels: &BTreeMap<String, String>| labels.get(&self.labels.version).cloned();
        let mut buckets = buckets.clone();
        buckets
            .series
            .retain(|it| is_warm || version(&it.labels).as_ref() != Some(&trial.to));
        trial.warm = is_warm;
        trial.timed |= buckets.series.iter().any(|it| it.by > 0);
        for series in &requests.series {
            let is_new = version(&series.labels).as_ref() == Some(&trial.to);
            if is_new && !series.labels.contains_key(&self.labels.code) {
                trial.uncoded = trial.uncoded.saturating_add(series.by);
            }
        }
        trial
            .bench
            .observe(&arms, Tick::of_users(requests, &buckets))?;
        let ruled = trial.rule();
        if !matches!(ruled.ruling, Ruling::Pass | Ruling::Harm) {
            return Ok(());
        }
        let told = (trial.from.clone(), trial.to.clone(), ruled.ruling);
        if self.memory.told.as_ref() != Some(&told) {
            let (from, to, ruling) = told;
            let findings = ruled.findings;
            let ruled = News::Ruled {
                from,
                to,
                ruling,
                findings,
            };
            self.note(ruled, news);
        }
        Ok(())
    }

    fn note(&mut self, it: News, news: &mut Vec<News>) {
        self.memory.fold(&it);
        news.push(it);
    }

    /// The comparison under way.
    pub fn trial(&self) -> Option<&Trial> {
        self.trial.as_ref()
    }

    /// The version that serves from before.
    pub fn stable(&self) -> Option<&str> {
        self.stable.as_deref()
    }

    /// Versions that serve, with the time of the last request seen.
    pub fn serving(&self) -> impl Iterator<Item = (&str, Time)> {
        self.serving
            .iter()
            .map(|(version, it)| (version.as_str(), it.last))
    }

    /// Why nothing is compared, and what would mend it.
    pub fn because(&self) -> String {
        let label = &self.labels.version;
        if self.serving.len() > SERVING_MAX {
            return format!(
                "more than {SERVING_MAX} values of the label `{label}` serve at once: it is not that of the version"
            );
        }
        match (self.serving.len(), self.unversioned) {
            (0, 0) => "no request was counted: see whether spec.observe.signals.requests selects \
                       anything (`mainstay query SELECTOR`)"
                .to_owned(),
            (0, count) => format!("{count} requests were counted, none with the label `{label}`"),
            (1, _) => "one version serves".to_owned(),
            _ => "two versions serve".to_owned(),
        }
    }
}

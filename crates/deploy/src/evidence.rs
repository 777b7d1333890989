//! What is known of a new version beside the old one, and what that comes to.
//!
//! Errors are judged over all requests, and again in each cohort (fabric, route), so that one broken group
//! is not averaged away; latency is the share of requests slower than the old version's 99th percentile.
//! The chance of false harm is split among them (e-Bonferroni): half to errors, a quarter to latency, a
//! quarter to at most [`COHORTS_MAX`] cohorts. Cohorts can only fail a version, never promote it.
//!
//! Guarantees: harm by latency is shown against instances as young as the canary, so that a cold cache is no
//! harm; safety against all old ones. The bound that splits fast from slow follows the old version, and is
//! always taken from ticks before the one it judges: the tests stay valid. Never takes silence for health.

use std::collections::BTreeMap;

use mainstay_core::{Finding, Outcome, Percent, ports::Growth};
use mainstay_stats::{
    ArmCounts, Comparison, Evidence, Judge, Judgement, StatsError, smallest_detectable,
};

use crate::rollout::Ruling;

/// Most cohorts judged; those that appear later are not, and their requests still count in the whole.
pub const COHORTS_MAX: usize = 32;
/// Share of the old version's requests that its bound for slowness keeps.
const FAST_SHARE: f64 = 0.99;
/// Requests of the old version below which its 99th percentile is not known.
const BOUND_SAMPLE: f64 = 200.0;
/// Weight a tick keeps in the old version's latencies after one more: a memory of about fifty ticks, so that
/// the bound follows the day.
const BOUND_MEMORY: f64 = 0.98;

/// Which version's request it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arm {
    Canary,
    Control,
    /// Of the old version, and as young as the canary.
    YoungControl,
}

/// Who is compared with whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arms {
    /// The new version.
    pub canary: String,
    /// The old version.
    pub control: String,
    /// Instances of the old version that are as young as the canary.
    pub young: Vec<String>,
}

/// How the series that are judged are labelled.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    /// The label that holds the version.
    pub version: String,
    /// The label that holds the status: `503`, `5xx` or `5`.
    pub code: String,
    /// A second, in the unit of the bounds of latency.
    pub second: f64,
    /// Whether it is known how old instances are; where not, every one of the old version counts as young.
    pub ages_known: bool,
}

impl Default for Labels {
    /// Those of the router.
    fn default() -> Self {
        Self {
            version: "version".to_owned(),
            code: "code".to_owned(),
            second: 1.0,
            ages_known: true,
        }
    }
}

/// Whether a status says that the server failed: a code from 500 on, or the class of them.
fn is_failure(code: &str) -> bool {
    let class = code.strip_suffix("xx").unwrap_or(code);
    class.len() == 1 && class == "5" || code.parse::<u16>().is_ok_and(|code| code >= 500)
}

impl Arms {
    fn of(&self, labels: &BTreeMap<String, String>, names: &Labels) -> Option<Arm> {
        let version = labels.get(&names.version)?;
        if *version == self.canary {
            return Some(Arm::Canary);
        }
        let instance = labels.get("instance");
        let is_young = !names.ages_known || instance.is_some_and(|it| self.young.contains(it));
        (*version == self.control).then_some(if is_young {
            Arm::YoungControl
        } else {
            Arm::Control
        })
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    canary: ArmCounts,
    control: ArmCounts,
}

impl Pair {
    fn add(&mut self, arm: Arm, total: u64, bad: u64) {
        let more = ArmCounts { total, bad };
        let side = match arm {
            Arm::Canary => &mut self.canary,
            Arm::Control | Arm::YoungControl => &mut self.control,
        };
        *side = side.plus(more);
    }
}

/// The running evidence of one rollout. Bounded by [`COHORTS_MAX`] and the router's buckets.
#[derive(Debug, Clone)]
pub struct Bench {
    names: Labels,
    whole: Judge,
    cohort: Judge,
    tail: Judge,
    errors: Comparison,
    cohorts: BTreeMap<(String, String), Comparison>,
    slow: Comparison,
    slow_young: Comparison,
    /// Requests of the old version by upper bound of latency, cumulative.
    old_buckets: BTreeMap<Bound, f64>,
    bound: Option<Bound>,
}

/// An upper bound of a latency bucket, in seconds, ordered.
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

/// A ruling with its reasons.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruled {
    /// The ruling.
    pub ruling: Ruling,
    /// Its reasons.
    pub findings: Vec<Finding>,
    /// About how many more requests of the new version would show that it is no worse.
    pub needed_requests: Option<u64>,
}

impl Bench {
    /// No evidence yet, for a tolerated difference of `margin`.
    pub fn new(margin: Percent) -> Result<Self, StatsError> {
        Self::reading(margin, Labels::default())
    }

    /// Like [`Bench::new`], over series labelled by `names`.
    pub fn reading(margin: Percent, names: Labels) -> Result<Self, StatsError> {
        let all = Judge {
            margin: margin.fraction(),
            ..Judge::default()
        };
        let part = |of: f64| Judge {
            alpha_harm: all.alpha_harm * of,
            ..all
        };
        let (whole, tail) = (part(0.5), part(0.25));
        let cohort = part(0.25 / COHORTS_MAX as f64);
        Ok(Self {
            names,
            errors: whole.start()?,
            slow: tail.start()?,
            slow_young: tail.start()?,
            whole,
            cohort,
            tail,
            cohorts: BTreeMap::new(),
            old_buckets: BTreeMap::new(),
            bound: None,
        })
    }

    /// Adds what the router counted in one tick: growth of its requests by `code`, and of its latency
    /// buckets by `le`.
    pub fn observe(
        &mut self,
        arms: &Arms,
        requests: &Growth,
        buckets: &Growth,
    ) -> Result<(), StatsError> {
        let mut whole = Pair::default();
        let mut cohorts: BTreeMap<(String, String), Pair> = BTreeMap::new();
        for series in &requests.series {
            let Some(arm) = arms.of(&series.labels, &self.names) else {
                continue;
            };
            let is_bad = series
                .labels
                .get(&self.names.code)
                .is_some_and(|code| is_failure(code));
            let bad = if is_bad { series.by } else { 0 };
            whole.add(arm, series.by, bad);
            for kind in ["fabric", "route"] {
                if let Some(value) = series.labels.get(kind) {
                    let key = (kind.to_owned(), value.clone());
                    cohorts.entry(key).or_default().add(arm, series.by, bad);
                }
            }
        }
        self.errors.observe(whole.canary, whole.control)?;
        for (key, pair) in cohorts {
            if !self.cohorts.contains_key(&key) {
                if self.cohorts.len() >= COHORTS_MAX {
                    continue;
                }
                self.cohorts.insert(key.clone(), self.cohort.start()?);
            }
            if let Some(comparison) = self.cohorts.get_mut(&key) {
                comparison.observe(pair.canary, pair.control)?;
            }
        }
        self.observe_latency(arms, buckets)
    }

    fn observe_latency(&mut self, arms: &Arms, buckets: &Growth) -> Result<(), StatsError> {
        let (mut all, mut young) = (Pair::default(), Pair::default());
        let mut totals = [0_u64; 3];
        let mut fast = [0_u64; 3];
        for series in &buckets.series {
            let bound = series
                .labels
                .get("le")
                .and_then(|le| le.replace("+Inf", "inf").parse().ok())
                .map(Bound);
            let (Some(arm), Some(le)) = (arms.of(&series.labels, &self.names), bound) else {
                continue;
            };
            if le.0.is_infinite() {
                totals[arm as usize] += series.by;
            } else if Some(le) == self.bound {
                fast[arm as usize] += series.by;
            }
        }
        if self.bound.is_some() {
            for arm in [Arm::Canary, Arm::Control, Arm::YoungControl] {
                let (total, fast) = (totals[arm as usize], fast[arm as usize]);
                let slow = total.saturating_sub(fast);
                all.add(arm, total, slow);
                if arm != Arm::Control {
                    young.add(arm, total, slow);
                }
            }
            self.slow.observe(all.canary, all.control)?;
            self.slow_young.observe(young.canary, young.control)?;
        }
        self.learn(arms, buckets);
        Ok(())
    }

    /// The bound for the next tick, from what the old version did up to this one.
    fn learn(&mut self, arms: &Arms, buckets: &Growth) {
        for count in self.old_buckets.values_mut() {
            *count *= BOUND_MEMORY;
        }
        for series in &buckets.series {
            let le: Option<f64> = series
                .labels
                .get("le")
                .and_then(|le| le.replace("+Inf", "inf").parse().ok());
            if let (Some(Arm::Control | Arm::YoungControl), Some(le)) =
                (arms.of(&series.labels, &self.names), le)
            {
                *self.old_buckets.entry(Bound(le)).or_default() += series.by as f64;
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

    /// What it comes to now.
    pub fn rule(&self) -> Ruled {
        let errors = self.whole.judge(&self.errors);
        let slow = self.tail.judge(&self.slow);
        let slow_young = self.tail.judge(&self.slow_young);
        let broken = self
            .cohorts
            .iter()
            .map(|(key, comparison)| (key, self.cohort.judge(comparison)))
            .find(|(_, judgement)| matches!(judgement, Judgement::Harmful { .. }));
        let latency_harm = matches!(slow_young, Judgement::Harmful { .. });
        let harmed = matches!(errors, Judgement::Harmful { .. });
        let mut findings = vec![finding("errors", "requests that failed", &errors)];
        if let Some((kind, value)) = broken.as_ref().map(|(key, _)| *key)
            && let Some((_, judgement)) = &broken
            && !harmed
        {
            let what = format!("requests that failed at {kind} {value}");
            findings.push(finding(&format!("errors {kind}={value}"), &what, judgement));
        }
        let bound = self.bound.map_or_else(
            || "the old version's p99".to_owned(),
            |b| format!("{} ms", b.0 / self.names.second * 1e3),
        );
        let what = format!("requests slower than {bound}");
        // As slow as young instances of the old version is no harm, only not yet safe.
        let latency = match (&slow, latency_harm) {
            (_, true) => slow_young,
            (Judgement::Harmful { evidence, .. }, false) => Judgement::Insufficient {
                needed_requests: None,
                evidence: *evidence,
            },
            (_, false) => slow,
        };
        findings.push(finding("latency", &what, &latency));
        let needed = |judgement: &Judgement| match judgement {
            Judgement::Insufficient {
                needed_requests, ..
            } => *needed_requests,
            Judgement::NonInferior { .. }
            | Judgement::Harmful { .. }
            | Judgement::BothFailing { .. } => None,
        };
        let needed_requests = needed(&errors).max(needed(&latency));
        let safe = |judgement: &Judgement| matches!(judgement, Judgement::NonInferior { .. });
        let ruling = if harmed || latency_harm || broken.is_some() {
            Ruling::Harm
        } else if matches!(errors, Judgement::BothFailing { .. }) {
            Ruling::SharedFailure
        } else if safe(&errors) && safe(&latency) {
            Ruling::Pass
        } else {
            Ruling::Insufficient
        };
        Ruled {
            ruling,
            findings,
            needed_requests,
        }
    }

    /// Counts of all requests so far: the new version's and the old one's.
    pub fn counts(&self) -> (ArmCounts, ArmCounts) {
        let evidence = *self.whole.judge(&self.errors).evidence();
        (evidence.canary, evidence.control)
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(
        || "no data".to_owned(),
        |share| format!("{:.2} %", share * 100.0),
    )
}

fn numbers(what: &str, evidence: &Evidence) -> String {
    let most = if evidence.upper_bound < 1.0 {
        format!("; worse by at most {}", percent(Some(evidence.upper_bound)))
    } else {
        String::new()
    };
    format!(
        "{what}: {} of {} with the new version, {} of {} with the old one{most}",
        percent(evidence.canary_rate),
        evidence.canary.total,
        percent(evidence.control_rate),
        evidence.control.total,
    )
}

/// What a person who decides without waiting may rely on: the smallest rate of bad requests that those seen so
/// far would have shown.
fn detectable(evidence: &Evidence) -> String {
    let ratio = evidence.control.total as f64 / (evidence.canary.total.max(1)) as f64;
    let baseline = evidence.control_rate.unwrap_or(0.0);
    smallest_detectable(
        evidence.canary.total,
        baseline,
        Judge::default().alpha_harm,
        ratio,
    )
    .map_or_else(
        || "; so few as there were would show no rate at all".to_owned(),
        |rate| {
            format!(
                "; those so far would have shown {} as harm",
                percent(Some(rate))
            )
        },
    )
}

fn finding(signal: &str, what: &str, judgement: &Judgement) -> Finding {
    let evidence = judgement.evidence();
    let (outcome, remedy) = match judgement {
        Judgement::NonInferior { .. } => (Outcome::Pass, String::new()),
        Judgement::Harmful { .. } => (Outcome::Fail, "mend the new version".to_owned()),
        Judgement::BothFailing { .. } => (
            Outcome::InsufficientEvidence,
            "mend what both versions depend on, then resume".to_owned(),
        ),
        Judgement::Insufficient {
            needed_requests, ..
        } => (
            Outcome::InsufficientEvidence,
            needed_requests.map_or_else(
                || "no number of requests would show it as things stand".to_owned(),
                |needed| {
                    format!(
                        "about {needed} more requests to the new version{}",
                        detectable(evidence)
                    )
                },
            ),
        ),
    };
    Finding {
        signal: signal.to_owned(),
        outcome,
        value: numbers(what, evidence),
        limit: format!("no worse by {}", percent(Some(evidence.margin))),
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_core::ports::Grown;

    fn arms() -> Arms {
        Arms {
            canary: "v2".into(),
            control: "v1".into(),
            young: vec!["s-lax-6".into()],
        }
    }

    fn growth(rows: &[(&str, &str, &str, &str, u64)]) -> Growth {
        let series = rows
            .iter()
            .map(|(version, instance, name, value, by)| Grown {
                labels: [
                    ("version", *version),
                    ("instance", *instance),
                    (*name, *value),
                    ("fabric", "lax"),
                ]
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .into(),
                by: *by,
            })
            .collect();
        Growth {
            series,
            whole: true,
        }
    }

    /// One second: requests and bad ones, fast (under 100 ms) and slow ones, of new, old and young old.
    fn tick(bench: &mut Bench, new: (u64, u64, u64), old: (u64, u64, u64), young: (u64, u64, u64)) {
        let rows = [
            ("v2", "s-lax-5", new),
            ("v1", "s-lax-1", old),
            ("v1", "s-lax-6", young),
        ];
        let mut requests = Vec::new();
        let mut buckets = Vec::new();
        for (version, instance, (total, bad, slow)) in rows {
            requests.push((version, instance, "code", "200", total - bad));
            requests.push((version, instance, "code", "502", bad));
            buckets.push((version, instance, "le", "0.1", total - slow));
            buckets.push((version, instance, "le", "0.5", total));
            buckets.push((version, instance, "le", "+Inf", total));
        }
        bench
            .observe(&arms(), &growth(&requests), &growth(&buckets))
            .unwrap();
    }

    fn bench() -> Bench {
        Bench::new(Percent::new(1.0).unwrap()).unwrap()
    }

    #[test]
    fn nothing_measured_is_insufficient_and_a_version_as_good_as_the_old_one_passes() {
        let mut bench = bench();
        assert_eq!(bench.rule().ruling, Ruling::Insufficient);
        for second in 0..80 {
            let one_slow = u64::from(second % 5 == 0);
            tick(&mut bench, (40, 0, 0), (300, 0, one_slow), (40, 0, 0));
        }
        let ruled = bench.rule();
        assert_eq!(ruled.ruling, Ruling::Pass, "{:#?}", ruled.findings);
    }

    #[test]
    fn a_version_that_fails_one_request_in_five_is_harm_within_seconds_of_little_traffic() {
        let mut bench = bench();
        for _ in 0..10 {
            tick(&mut bench, (0, 0, 0), (100, 0, 0), (10, 0, 0));
        }
        for _ in 0..4 {
            tick(&mut bench, (2, 1, 0), (200, 0, 0), (10, 0, 0));
        }
        assert_eq!(bench.rule().ruling, Ruling::Harm);
    }

    #[test]
    fn as_slow_as_a_young_old_instance_is_not_harm_but_slower_is() {
        let (mut cold, mut slow) = (bench(), bench());
        for _ in 0..5 {
            tick(&mut cold, (40, 0, 0), (300, 0, 1), (40, 0, 0));
            tick(&mut slow, (40, 0, 0), (300, 0, 1), (40, 0, 0));
        }
        for _ in 0..30 {
            tick(&mut cold, (40, 0, 20), (300, 0, 1), (40, 0, 20));
            tick(&mut slow, (40, 0, 20), (300, 0, 1), (40, 0, 0));
        }
        assert_eq!(cold.rule().ruling, Ruling::Insufficient);
        assert_eq!(slow.rule().ruling, Ruling::Harm);
    }

    #[test]
    fn a_status_is_read_as_a_code_or_as_its_class() {
        for bad in ["500", "503", "5xx", "5"] {
            assert!(is_failure(bad), "{bad}");
        }
        for fine in ["200", "404", "2xx", "4", "50", "", "xx", "total"] {
            assert!(!is_failure(fine), "{fine}");
        }
    }

    #[test]
    fn series_of_a_foreign_proxy_are_judged_by_its_own_labels_and_unit() {
        let names = Labels {
            version: "envoy_cluster_name".to_owned(),
            code: "envoy_response_code_class".to_owned(),
            second: 1e3,
            ages_known: false,
        };
        let mut bench = Bench::reading(Percent::new(1.0).unwrap(), names).unwrap();
        let foreign = |rows: &[(&str, &str, &str, u64)]| Growth {
            series: rows
                .iter()
                .map(|(cluster, name, value, by)| Grown {
                    labels: [("envoy_cluster_name", *cluster), (*name, *value)]
                        .map(|(n, v)| (n.to_owned(), v.to_owned()))
                        .into(),
                    by: *by,
                })
                .collect(),
            whole: true,
        };
        let class = "envoy_response_code_class";
        for _ in 0..40 {
            let requests = [("v1", class, "2", 100), ("v2", class, "2", 50)];
            let buckets = [
                ("v1", "le", "100", 100),
                ("v1", "le", "+Inf", 100),
                ("v2", "le", "100", 20),
                ("v2", "le", "+Inf", 50),
            ];
            bench
                .observe(&arms(), &foreign(&requests), &foreign(&buckets))
                .unwrap();
        }
        let ruled = bench.rule();
        assert_eq!(ruled.ruling, Ruling::Harm, "slow: {:#?}", ruled.findings);
        assert!(ruled.findings[1].value.contains("slower than 100 ms"));
        let requests = [("v1", class, "5", 1), ("v2", class, "5", 40)];
        bench
            .observe(&arms(), &foreign(&requests), &Growth::default())
            .unwrap();
        assert_eq!(bench.counts().0.bad, 40);
    }

    #[test]
    fn both_versions_failing_alike_is_a_shared_failure() {
        let mut bench = bench();
        for _ in 0..20 {
            tick(&mut bench, (10, 5, 0), (100, 50, 0), (10, 5, 0));
        }
        assert_eq!(bench.rule().ruling, Ruling::SharedFailure);
    }
}

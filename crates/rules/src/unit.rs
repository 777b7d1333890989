//! Unit tests of rules, in the format of `promtool test rules`.
//!
//! Guarantees: the rules run as they do live, over the series that a test states and over what the rules
//! themselves record; what comes out otherwise is a [`Missed`] with its line, what was wanted and what was
//! found. Never reads a clock or a server.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Arc, PoisonError, RwLock},
};

use mainstay_core::{Span, Time};
use mainstay_promql::{
    Ask, Engine, EngineOptions, Error, InstantSeries, Labels, Query, QueryResult, When,
    script::{Grid, Memory, is_alike},
};

use crate::{AlertState, Group, GroupRun, RuleFile, Source};

mod file;

pub use file::UnitFile;
use file::{Alerting, Asking, Case, Wanted, WantedAlert};

/// The staleness marker's bits: what a rule gives no more ends with it.
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;
/// Most rounds of evaluation in one test.
const ROUNDS_MAX: u64 = 1_000_000;

/// Annotations of an alert, by name.
type Annotations = BTreeMap<String, String>;

/// What came out otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// Its line in the file, from one.
    pub line: u64,
    /// What was looked at, such as `alert Down at 5m`.
    pub what: String,
    /// What the test wants.
    pub wanted: String,
    /// What there was.
    pub found: String,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let indented = |text: &str| text.replace('\n', "\n    ");
        writeln!(f, "{}: {}", self.line, self.what)?;
        writeln!(f, "  wanted: {}", indented(&self.wanted))?;
        write!(f, "  found:  {}", indented(&self.found))
    }
}

/// What one test gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// Its name, empty where it has none.
    pub name: String,
    /// Its line in the file, from one.
    pub line: u64,
    /// How many expectations it has.
    pub expectations: usize,
    /// Those that were missed; none where the test passes.
    pub missed: Vec<Missed>,
}

impl UnitFile {
    /// Runs those tests whose name `is_wanted`, over `rules`: the groups of each file, in order.
    pub fn run(
        &self,
        rules: &[(String, RuleFile)],
        is_wanted: impl Fn(&str) -> bool,
    ) -> Vec<Tested> {
        let cases = self.cases.iter().filter(|it| is_wanted(&it.name));
        cases.map(|case| self.tested(case, rules)).collect()
    }

    fn tested(&self, case: &Case, rules: &[(String, RuleFile)]) -> Tested {
        let mut missed = Vec::new();
        if let Err(broken) = self.walk(case, rules, &mut missed) {
            missed.push(broken);
        }
        Tested {
            name: case.name.clone(),
            line: case.line,
            expectations: case.alerts.len() + case.queries.len(),
            missed,
        }
    }

    /// Evaluates every group at every step, and looks when the time of an expectation has come.
    fn walk(
        &self,
        case: &Case,
        rules: &[(String, RuleFile)],
        missed: &mut Vec<Missed>,
    ) -> Result<(), Missed> {
        let broken = |what: String, found: String| Missed {
            line: case.line,
            what,
            wanted: "the rules can be evaluated".into(),
            found,
        };
        let bench = Arc::new(Bench::over(case, self.interval)?);
        let source: Arc<dyn Source> = bench.clone();
        let mut groups = self.groups(rules);
        let times = case.alerts.iter().map(|it| it.at);
        let last = times.chain(case.queries.iter().map(|it| it.at)).max();
        let last = last.unwrap_or(Span::ZERO);
        let every = self.interval;
        if last.millis() / every.millis() > ROUNDS_MAX {
            let found = format!("{last} at a step of {every} is more than {ROUNDS_MAX} rounds");
            return Err(broken("its longest eval_time".into(), found));
        }
        let mut since = Span::ZERO;
        while since <= last {
            let now = case.start + since;
            for group in &mut groups {
                for rule in 0..group.rules.len() {
                    let given = group.evaluate(rule, now, &case.external, &source);
                    if let Some(error) = given.error {
                        let name = group.rules[rule].rule.name();
                        return Err(broken(format!("{name} at {since}"), error.to_string()));
                    }
                    bench.write(given.samples);
                }
            }
            let next = Span::from_millis(since.millis().saturating_add(every.millis()));
            let due = case.alerts.iter();
            let due = due.filter(|it| (since..next).contains(&it.at));
            missed.extend(due.filter_map(|it| alerts_missed(it, &groups)));
            since = next;
        }
        let asked = case.queries.iter();
        missed.extend(asked.filter_map(|it| self.query_missed(it, case.start, &bench)));
        Ok(())
    }

    /// Fresh groups, those that the file orders first and in that order.
    fn groups(&self, rules: &[(String, RuleFile)]) -> Vec<GroupRun> {
        let fresh = |file: &str, group: &Group| {
            GroupRun::new(file, group.clone(), self.interval, Span::ZERO)
        };
        let all = rules
            .iter()
            .flat_map(|(name, file)| file.groups.iter().map(move |it| (name, it)));
        let mut groups: Vec<GroupRun> = all.map(|(name, group)| fresh(name, group)).collect();
        let place = |group: &GroupRun| {
            let named = self.order.iter().position(|it| *it == group.name);
            named.unwrap_or(self.order.len())
        };
        groups.sort_by_key(place);
        groups
    }

    fn query_missed(&self, asked: &Asking, start: Time, bench: &Bench) -> Option<Missed> {
        let at_ms = (start + asked.at).millis();
        let found = bench.instant(&asked.query, at_ms);
        let found = match found {
            Ok(QueryResult::Vector(found)) => Ok(found),
            Ok(QueryResult::Scalar(sample)) => {
                Ok(vec![InstantSeries::float(Labels::default(), sample)])
            }
            Ok(QueryResult::String(_) | QueryResult::Matrix(_)) => {
                Err("neither a vector nor a scalar".to_owned())
            }
            Err(error) => Err(format!("error: {error}")),
        };
        let mut wanted: Vec<&(Labels, Wanted)> = asked.wanted.iter().collect();
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        let shown = |found: &[InstantSeries]| lines(found.iter().map(shown_series));
        let found = match found {
            Ok(mut found) => {
                found.sort_by(|a, b| a.labels.cmp(&b.labels));
                let is_same = wanted.len() == found.len()
                    && wanted.iter().zip(&found).all(|((labels, value), it)| {
                        *labels == it.labels && self.is_met(value, it)
                    });
                if is_same {
                    return None;
                }
                shown(&found)
            }
            Err(text) => text,
        };
        Some(Missed {
            line: asked.line,
            what: format!("{} at {}", asked.query.text(), asked.at),
            wanted: lines(wanted.iter().map(|(labels, it)| format!("{labels} {it}"))),
            found,
        })
    }

    fn is_met(&self, wanted: &Wanted, found: &InstantSeries) -> bool {
        match (wanted, &found.histogram) {
            (Wanted::Float(wanted), None) => {
                let value = found.sample.value;
                let is_equal = *wanted == value || (wanted.is_nan() && value.is_nan());
                is_equal || (self.is_fuzzy && is_neighbour(*wanted, value))
            }
            (Wanted::Histogram(wanted), Some(found)) => is_alike(wanted, found),
            (Wanted::Float(_), Some(_)) | (Wanted::Histogram(_), None) => false,
        }
    }
}

/// A span as the engine counts time.
fn whole(span: Span) -> i64 {
    i64::try_from(span.millis()).unwrap_or(i64::MAX)
}

/// Whether two numbers differ in the last bit of their mantissa at most.
fn is_neighbour(a: f64, b: f64) -> bool {
    a.next_down() <= b && b <= a.next_up()
}

fn alerts_missed(expected: &Alerting, groups: &[GroupRun]) -> Option<Missed> {
    let runs = groups.iter().flat_map(|it| &it.rules);
    let runs = runs.filter(|it| it.rule.name() == expected.name);
    let firing = runs
        .flat_map(|it| it.alerts.active())
        .filter(|it| it.state == AlertState::Firing);
    let mut found: Vec<WantedAlert> = firing
        .map(|it| WantedAlert {
            labels: it.labels.clone(),
            annotations: it.annotations.clone(),
        })
        .collect();
    let mut wanted = expected.wanted.clone();
    found.sort();
    wanted.sort();
    (found != wanted).then(|| Missed {
        line: expected.line,
        what: format!("alert {} at {}", expected.name, expected.at),
        wanted: lines(wanted.iter().map(shown_alert)),
        found: lines(found.iter().map(shown_alert)),
    })
}

fn lines(all: impl Iterator<Item = String>) -> String {
    let text = all.fold(String::new(), |text, line| text + "\n" + &line);
    if text.is_empty() {
        "nothing".into()
    } else {
        text
    }
}

fn shown_alert(alert: &WantedAlert) -> String {
    let mut text = alert.labels.to_string();
    for (name, said) in &alert.annotations {
        // Writing to a text cannot fail.
        let _ = write!(text, "\n  {name}: {said:?}");
    }
    text
}

fn shown_series(series: &InstantSeries) -> String {
    match &series.histogram {
        Some(histogram) => format!("{} {histogram}", series.labels),
        None => format!("{} {}", series.labels, series.sample.value),
    }
}

/// The series of a test, and what its rules recorded.
struct Bench {
    memory: RwLock<Memory>,
    engine: Engine,
}

impl Bench {
    fn over(case: &Case, interval: Span) -> Result<Self, Missed> {
        let mut memory = Memory::default();
        let grid = Grid {
            start_ms: case.start.millis(),
            step_ms: whole(case.interval),
        };
        for series in &case.series {
            let loaded = memory.load_series(grid, &series.labels, &series.points);
            loaded.map_err(|wrong| Missed {
                line: series.line,
                what: format!("series {}", series.labels),
                wanted: "points that can be read".into(),
                found: wrong,
            })?;
        }
        let options = EngineOptions {
            subquery_step_ms: whole(interval),
            ..EngineOptions::default()
        };
        Ok(Self {
            memory: RwLock::new(memory),
            engine: Engine::new(options),
        })
    }

    fn write(&self, samples: Vec<crate::Sample>) {
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        for sample in samples {
            if let Some(histogram) = sample.histogram {
                memory.write_histogram(&sample.labels, sample.at_ms, histogram);
                continue;
            }
            let value = sample.value.unwrap_or(f64::from_bits(STALE_BITS));
            memory.write(&sample.labels, sample.at_ms, value);
        }
    }
}

impl Source for Bench {
    fn instant(&self, query: &Query, at_ms: i64) -> Result<QueryResult, Error> {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        let ask = Ask::uninterrupted(When::Instant(at_ms));
        Ok(self.engine.ask(&*memory, query, &ask)?.result)
    }
}

#[cfg(test)]
mod tests;

//! `info(vector, {labels})`: labels of info metrics (such as `target_info`) beside those of a vector.
//!
//! Guarantees: series meet by `instance` and `job`. An info series is read as of the time its partner was
//! read, `@` and `offset` included; of several the newest sample wins, and two of the same age are an error.
//! A label that the vector has already stays as it is.

use super::rows::{Row, merge, without_empty};
use super::{Evaluator, Shift};
use crate::ast::{Expr, ExprKind, Selector};
use crate::error::{ErrorKind, Fault, Outcome};
use crate::storage::METRIC_NAME;
use crate::{Labels, MatchOp, Matcher, Series, Span};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const IDENTIFYING: [&str; 2] = ["instance", "job"];

const DEFAULT_INFO: &str = "target_info";

/// Names of info metrics, where matchers only say which they are not.
const ANY_INFO: &str = ".+_info";

/// What the second argument asks for.
struct Wanted<'a> {
    names: Vec<&'a Matcher>,
    /// Matchers of the labels to take over, by label; all labels if there is none.
    data: BTreeMap<&'a str, Vec<&'a Matcher>>,
}

impl<'a> Wanted<'a> {
    fn of(selector: Option<&'a Selector>) -> Self {
        let mut wanted = Self {
            names: Vec::new(),
            data: BTreeMap::new(),
        };
        for matcher in selector.iter().flat_map(|s| &s.matchers) {
            if matcher.name == METRIC_NAME {
                wanted.names.push(matcher);
            } else {
                wanted.data.entry(&matcher.name).or_default().push(matcher);
            }
        }
        wanted
    }

    /// Whether a series is itself one of the info series asked for.
    fn is_info(&self, labels: &Labels) -> bool {
        if self.names.is_empty() {
            return labels.name() == DEFAULT_INFO;
        }
        self.names_some() && self.names.iter().all(|m| m.matches(labels.name()))
    }

    /// Some matcher says what the name is, not only what it is not.
    fn names_some(&self) -> bool {
        let says = |m: &&Matcher| matches!(m.op, MatchOp::Equal | MatchOp::Regex);
        self.names.iter().any(says)
    }

    fn takes(&self, label: &str) -> bool {
        label != METRIC_NAME && (self.data.is_empty() || self.data.contains_key(label))
    }

    /// Whether a series without any info satisfies the matchers.
    fn content_with_nothing(&self) -> bool {
        self.data.values().flatten().all(|m| m.matches(""))
    }
}

/// An info series, and its current sample's time at each step.
struct Info {
    labels: Labels,
    times: Vec<Option<i64>>,
}

impl Evaluator<'_> {
    pub(super) fn info(&self, args: &[Expr], span: Span) -> Outcome<Vec<Row>> {
        let Some(vector) = args.first() else {
            return Fault::invalid(span, "info needs a vector");
        };
        let selector = match args.get(1).map(|arg| &arg.kind) {
            None => None,
            Some(ExprKind::Selector(selector)) => Some(selector),
            Some(_) => return Fault::invalid(span, "info needs a label selector"),
        };
        let wanted = Wanted::of(selector);
        let rows = self.rows(vector)?;
        let is_info = |row: &Row| wanted.is_info(&row.labels);
        let base: Vec<&Row> = rows.iter().filter(|row| !is_info(row)).collect();
        let infos = self.infos(&base, &wanted, vector)?;
        let mut by_identity: HashMap<Labels, Vec<usize>> = HashMap::new();
        for (at, info) in infos.iter().enumerate() {
            by_identity
                .entry(identity(&info.labels))
                .or_default()
                .push(at);
        }
        let mut results = Vec::with_capacity(rows.len());
        for row in &rows {
            self.go_on(span)?;
            if is_info(row) {
                results.push(row.clone());
                continue;
            }
            let partners = by_identity.get(&identity(&row.labels));
            let partners: Vec<&Info> = partners
                .into_iter()
                .flatten()
                .map(|at| &infos[*at])
                .collect();
            results.append(&mut self.enriched(row, &partners, &wanted, span)?);
        }
        merge(without_empty(results), span)
    }

    /// A row for each set of labels that the row has at some step.
    fn enriched(
        &self,
        row: &Row,
        partners: &[&Info],
        wanted: &Wanted<'_>,
        span: Span,
    ) -> Outcome<Vec<Row>> {
        let mut results: Vec<(Vec<usize>, Row)> = Vec::new();
        for i in 0..self.steps.count {
            let Some(reading) = row.column.get(i).reading() else {
                continue;
            };
            let newest = newest(partners, i, span)?;
            if newest.is_empty() && !wanted.content_with_nothing() {
                continue;
            }
            let known = results.iter().position(|(infos, _)| *infos == newest);
            let at = known.unwrap_or(results.len());
            if known.is_none() {
                let mut result = row.emptied(self.steps);
                let infos = newest.iter().map(|at| &partners[*at].labels);
                result.labels = joined(&row.labels, infos, wanted, span)?;
                results.push((newest, result));
            }
            results[at].1.column.set(i, reading);
        }
        Ok(results.into_iter().map(|(_, row)| row).collect())
    }

    fn infos(&self, base: &[&Row], wanted: &Wanted<'_>, vector: &Expr) -> Outcome<Vec<Info>> {
        let mut matchers = Vec::new();
        for label in IDENTIFYING {
            let values: BTreeSet<&str> = base
                .iter()
                .filter_map(|row| row.labels.get(label))
                .collect();
            if !values.is_empty() {
                let values: Vec<String> = values.into_iter().map(regex::escape).collect();
                matchers.push(Matcher::new(label, MatchOp::Regex, values.join("|")));
            }
        }
        if matchers.is_empty() {
            return Ok(Vec::new());
        }
        if wanted.names.is_empty() {
            matchers.push(Matcher::new(METRIC_NAME, MatchOp::Equal, DEFAULT_INFO));
        } else if !wanted.names_some() {
            matchers.push(Matcher::new(METRIC_NAME, MatchOp::Regex, ANY_INFO));
        }
        let made: Result<Vec<Matcher>, _> = matchers.into_iter().collect();
        let mut matchers = match made {
            Ok(matchers) => matchers,
            Err(error) => return Fault::execution(vector.span, format!("info: {error}")),
        };
        let asked = wanted.names.iter().chain(wanted.data.values().flatten());
        matchers.extend(asked.map(|m| Matcher::clone(m)));
        self.read_as_of(matchers, vector)
    }

    /// Which sample of each series is current when `vector`'s own samples were.
    fn read_as_of(&self, matchers: Vec<Matcher>, vector: &Expr) -> Outcome<Vec<Info>> {
        let shifts = self.shifts_to_selector(vector)?;
        let as_of = |i: usize| {
            let times = shifts.iter();
            times.fold(self.steps.time(i), |at, shift| {
                self.shifted_time(*shift, at)
            })
        };
        let lookback_ms = self.options.lookback_ms;
        let (first, last) = (as_of(0), as_of(self.steps.count.saturating_sub(1)));
        let found = self
            .storage
            .select(
                &matchers,
                first.min(last) - lookback_ms + 1,
                first.max(last),
            )
            .map_err(|error| Fault::new(ErrorKind::Storage(error), vector.span))?;
        self.charge(found.len() as u64 * self.steps.count as u64, vector.span)?;
        let mut infos = Vec::with_capacity(found.len());
        for series in found {
            let mut times = vec![None; self.steps.count];
            for (i, time) in times.iter_mut().enumerate() {
                *time = current_ms(&series, as_of(i), lookback_ms, vector.span)?;
            }
            if times.iter().any(Option::is_some) {
                infos.push(Info {
                    labels: series.labels,
                    times,
                });
            }
        }
        infos.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(infos)
    }

    /// The shifts on the way down to the first selector.
    fn shifts_to_selector(&self, expr: &Expr) -> Outcome<Vec<Shift>> {
        let mut shifts = Vec::new();
        let mut below = vec![expr];
        while let Some(expr) = below.pop() {
            match &expr.kind {
                ExprKind::Selector(selector) | ExprKind::Range { selector, .. } => {
                    shifts.push(self.shift(&selector.modifiers)?);
                    return Ok(shifts);
                }
                ExprKind::Subquery { modifiers, .. } => shifts.push(self.shift(modifiers)?),
                _ => {}
            }
            below.extend(expr.children().into_iter().rev());
        }
        Ok(shifts)
    }
}

fn identity(labels: &Labels) -> Labels {
    labels.filtered(|name| IDENTIFYING.contains(&name))
}

/// The time of the sample that is current at `at_ms`; an info series has no histograms.
fn current_ms(series: &Series, at_ms: i64, lookback_ms: i64, span: Span) -> Outcome<Option<i64>> {
    let after = series.timestamps.partition_point(|t| *t <= at_ms);
    let Some(current) = after.checked_sub(1) else {
        return Ok(None);
    };
    if series.timestamps[current] <= at_ms - lookback_ms || series.is_stale_at(current) {
        return Ok(None);
    }
    if series.is_histogram_at(current) {
        let message = format!(
            "this should be an info metric, with float samples: {}",
            series.labels
        );
        return Fault::execution(span, message);
    }
    Ok(Some(series.timestamps[current]))
}

/// Of each info metric the series with the newest sample at a step.
fn newest(partners: &[&Info], i: usize, span: Span) -> Outcome<Vec<usize>> {
    let mut by_name: BTreeMap<&str, (usize, i64)> = BTreeMap::new();
    for (at, info) in partners.iter().enumerate() {
        let Some(time) = info.times[i] else { continue };
        match by_name.get(info.labels.name()) {
            Some((other, best)) if *best == time => {
                let message = format!(
                    "found duplicate series for info metric: existing {} @ {best}, new {} @ {time}",
                    partners[*other].labels, info.labels
                );
                return Fault::execution(span, message);
            }
            Some((_, best)) if *best > time => {}
            _ => {
                by_name.insert(info.labels.name(), (at, time));
            }
        }
    }
    Ok(by_name.into_values().map(|(at, _)| at).collect())
}

fn joined<'a>(
    base: &Labels,
    infos: impl Iterator<Item = &'a Labels>,
    wanted: &Wanted<'_>,
    span: Span,
) -> Outcome<Labels> {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in infos.flat_map(Labels::iter) {
        if !wanted.takes(name) {
            continue;
        }
        if taken.get(name).is_some_and(|other| *other != value) {
            return Fault::execution(span, format!("conflicting label: {name}"));
        }
        if base.get(name).is_none() {
            taken.insert(name, value);
        }
    }
    Ok(Labels::from_pairs(base.iter().chain(taken)))
}

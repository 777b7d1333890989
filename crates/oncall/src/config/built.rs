//! From the file as it is written to what it means.
//!
//! Guarantees: what a route or a receiver names is there; a channel has all that it needs, from itself or from what
//! holds for all. Never gives half of a configuration.

mod receivers;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::Arc,
};

use mainstay_core::Span;
use serde_saphyr::{Location, Spanned};

use super::{
    ConfigError, Receiver, Settings,
    file::{self, File, Pairs, Words},
};
use crate::{
    inhibit::Rule,
    interval::Interval,
    matcher::{Matcher, Matchers, Operator},
    route::{GroupBy, Manner, RouteId, Tree},
};

type Outcome<T> = Result<T, ConfigError>;

const RESOLVE_TIMEOUT: Span = Span::from_secs(5 * 60);
const GROUP_WAIT: Span = Span::from_secs(30);
const GROUP_INTERVAL: Span = Span::from_secs(5 * 60);
const REPEAT_INTERVAL: Span = Span::from_secs(4 * 3600);
/// Routes below routes.
const DEPTH_MAX: usize = 32;

fn wrong(place: Location, what: impl Display) -> ConfigError {
    ConfigError {
        line: place.line().max(1),
        column: place.column().max(1),
        what: what.to_string(),
    }
}

/// Where a file as a whole is wrong.
fn missing(what: &str) -> ConfigError {
    ConfigError {
        line: 1,
        column: 1,
        what: what.to_owned(),
    }
}

pub(super) fn settings(file: File) -> Outcome<Settings> {
    if let Some(tracing) = &file.tracing {
        return Err(wrong(
            tracing.referenced,
            "tracing: no traces of ourselves are sent; remove the section",
        ));
    }
    let global = file.global.unwrap_or_default();
    let mut receivers: Vec<Receiver> = Vec::new();
    for written in file.receivers.into_iter().flatten() {
        if receivers.iter().any(|it| *it.name == *written.name.value) {
            let what = format!(
                "there are two receivers `{}`; rename one",
                written.name.value
            );
            return Err(wrong(written.name.referenced, what));
        }
        receivers.push(receivers::receiver(written, &global)?);
    }
    let mut intervals: BTreeMap<String, Vec<Interval>> = BTreeMap::new();
    let written = [file.mute_time_intervals, file.time_intervals];
    for written in written.into_iter().flatten().flatten() {
        let name = written.name.value;
        if intervals.contains_key(&name) {
            let what = format!("there are two time intervals `{name}`; rename one");
            return Err(wrong(written.name.referenced, what));
        }
        intervals.insert(name, written.time_intervals);
    }
    let root = file
        .route
        .ok_or_else(|| missing("no route is there; write route: {receiver: NAME}"))?;
    let known = Known {
        receivers: receivers.iter().map(|it| Arc::clone(&it.name)).collect(),
        intervals: &intervals,
    };
    let tree = known.tree(&root)?;
    let inhibit = file.inhibit_rules.into_iter().flatten().map(rule);
    let inhibit = inhibit.collect::<Outcome<Vec<_>>>()?;
    Ok(Settings {
        resolve_timeout: global.resolve_timeout.unwrap_or(RESOLVE_TIMEOUT),
        tree,
        receivers,
        inhibit: inhibit.into(),
        intervals,
        templates: file
            .templates
            .into_iter()
            .flatten()
            .map(Into::into)
            .collect(),
        shown: String::new(),
    })
}

/// What a route may name.
struct Known<'a> {
    receivers: BTreeSet<Arc<str>>,
    intervals: &'a BTreeMap<String, Vec<Interval>>,
}

impl Known<'_> {
    fn tree(&self, root: &Spanned<file::Route>) -> Outcome<Tree> {
        let route = &root.value;
        let place = root.referenced;
        let receiver = route.receiver.as_ref();
        let receiver =
            receiver.ok_or_else(|| wrong(place, "the root route names no receiver; add one"))?;
        if !route.equal.is_empty() || route.match_re.is_some() || route.matchers.is_some() {
            return Err(wrong(
                place,
                "the root route takes every alert; move its matchers to a route below it",
            ));
        }
        if route.goes_on {
            return Err(wrong(
                place,
                "the root route has nothing after it; remove continue",
            ));
        }
        if route.mute_time_intervals.is_some() || route.active_time_intervals.is_some() {
            return Err(wrong(
                place,
                "the root route is always told; move its time intervals to a route below it",
            ));
        }
        let above = Manner {
            receiver: receiver.value.as_str().into(),
            group_by: GroupBy::Labels(BTreeSet::new()),
            group_wait: GROUP_WAIT,
            group_interval: GROUP_INTERVAL,
            repeat_interval: REPEAT_INTERVAL,
            mute: Vec::new(),
            active: Vec::new(),
        };
        let mut tree = Tree::new(self.manner(route, &above)?);
        self.below(&mut tree, Tree::ROOT, route, 1)?;
        Ok(tree)
    }

    fn below(
        &self,
        tree: &mut Tree,
        id: RouteId,
        route: &file::Route,
        depth: usize,
    ) -> Outcome<()> {
        for child in route.routes.iter().flatten() {
            if depth > DEPTH_MAX {
                return Err(wrong(
                    child.referenced,
                    format!("routes are nested at most {DEPTH_MAX} deep"),
                ));
            }
            let above = tree.get(id).manner.clone();
            let manner = self.manner(&child.value, &above)?;
            let written = (
                &child.value.equal,
                &child.value.match_re,
                &child.value.matchers,
            );
            let matchers = matchers(written.0, written.1.as_ref(), written.2.as_ref())?;
            let added = tree.add(id, matchers, child.value.goes_on, manner);
            self.below(tree, added, &child.value, depth + 1)?;
        }
        Ok(())
    }

    fn manner(&self, route: &file::Route, above: &Manner) -> Outcome<Manner> {
        let mut manner = above.clone();
        if let Some(receiver) = &route.receiver {
            let name: Arc<str> = receiver.value.as_str().into();
            if !self.receivers.contains(&name) {
                let what = format!("no receiver is named `{name}`; add it to receivers");
                return Err(wrong(receiver.referenced, what));
            }
            manner.receiver = name;
        }
        if let Some(names) = &route.group_by {
            manner.group_by = group_by(names)?;
        }
        manner.group_wait = route.group_wait.unwrap_or(manner.group_wait);
        for (written, own, name) in [
            (
                &route.group_interval,
                &mut manner.group_interval,
                "group_interval",
            ),
            (
                &route.repeat_interval,
                &mut manner.repeat_interval,
                "repeat_interval",
            ),
        ] {
            if let Some(span) = written {
                if span.value == Span::ZERO {
                    return Err(wrong(
                        span.referenced,
                        format!("{name} cannot be zero; write 5m"),
                    ));
                }
                *own = span.value;
            }
        }
        manner.mute = self.named(route.mute_time_intervals.as_ref())?;
        manner.active = self.named(route.active_time_intervals.as_ref())?;
        Ok(manner)
    }

    fn named(&self, names: Option<&Vec<Spanned<String>>>) -> Outcome<Vec<String>> {
        let names = names.into_iter().flatten().map(|name| {
            if self.intervals.contains_key(&name.value) {
                return Ok(name.value.clone());
            }
            let what = format!(
                "no time interval is named `{}`; add it to time_intervals",
                name.value
            );
            Err(wrong(name.referenced, what))
        });
        names.collect()
    }
}

fn group_by(names: &Spanned<Vec<String>>) -> Outcome<GroupBy> {
    let all: BTreeSet<String> = names.value.iter().cloned().collect();
    let place = names.referenced;
    if all.len() < names.value.len() {
        return Err(wrong(place, "group_by names a label twice; remove one"));
    }
    if !all.contains("...") {
        return Ok(GroupBy::Labels(all));
    }
    if all.len() > 1 {
        return Err(wrong(
            place,
            "group_by: '...' is all labels; remove the others",
        ));
    }
    Ok(GroupBy::All)
}

fn matchers(
    equal: &Pairs,
    regex: Option<&Spanned<Pairs>>,
    written: Option<&Spanned<Words>>,
) -> Outcome<Matchers> {
    let mut all = Vec::new();
    for (name, value) in equal {
        all.extend(Matcher::new(name, Operator::Equal, value).ok());
    }
    if let Some(pairs) = regex {
        for (name, value) in &pairs.value {
            // With its anchors, as the original has it in the keys of groups.
            let matcher = Matcher::new(name, Operator::Matches, format!("^(?:{value})$"));
            all.push(matcher.map_err(|error| wrong(pairs.referenced, error))?);
        }
    }
    let mut all = Matchers::from(all);
    if let Some(words) = written {
        for text in words.value.list() {
            let read: Result<Matchers, _> = text.parse();
            all.extend(
                read.map_err(|error| {
                    wrong(words.referenced, format!("matchers `{text}`: {error}"))
                })?,
            );
        }
    }
    Ok(all)
}

fn rule(it: file::Inhibit) -> Outcome<Rule> {
    let source = (it.source_match_re.as_ref(), it.source_matchers.as_ref());
    let target = (it.target_match_re.as_ref(), it.target_matchers.as_ref());
    Ok(Rule {
        source: matchers(&it.source_match, source.0, source.1)?,
        target: matchers(&it.target_match, target.0, target.1)?,
        equal: it.equal.unwrap_or_default(),
    })
}

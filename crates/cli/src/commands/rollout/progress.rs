//! Where a rollout stands, as lines for people.
//!
//! Guarantees: the same rollout at the same time gives the same lines; absent data is left out or a dash.
//! Never shortens a number of a finding. Example: `12/50 new, 10 verified` beside a bar of 20 cells.

use std::collections::BTreeMap;

use mainstay_core::{Actor, ChangeState, Time, Verdict};
use serde::{Deserialize, Deserializer};

use crate::{
    output,
    style::{self, Style},
};

/// Cells of the bar.
const BAR: usize = 20;
/// Weights are shares of so many.
const WHOLE: f64 = 10_000.0;
/// Batches shown: those that ended long ago are in `mainstay why`.
const BATCHES_SHOWN: usize = 4;
/// Columns of the names of a block's parts.
const NAMES: usize = 11;

/// Columns of [`row`].
pub(super) const HEADER: [&str; 7] = ["CHANGE", "SERVICE", "FROM", "TO", "STATE", "NEW", "AGE"];

/// A rollout as the server's view tells it, or another change in its shape.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rollout {
    pub(crate) change: String,
    pub(crate) state: ChangeState,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) title: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) service: String,
    #[serde(default)]
    pub(crate) from: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) to: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) strategy: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) phase: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) because: String,
    #[serde(default)]
    pub(crate) opened_at: Option<Time>,
    #[serde(default)]
    pub(crate) ended_at: Option<Time>,
    #[serde(default)]
    pub(crate) actor: Option<Actor>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) progress: Option<Progress>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) weights: BTreeMap<String, BTreeMap<String, u32>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) batches: Vec<Batch>,
    #[serde(default)]
    pub(crate) verdict: Option<Verdict>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) verdicts: Vec<Verdict>,
}

/// How many instances are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Progress {
    pub(crate) total: u64,
    #[serde(default)]
    pub(crate) new: u64,
    #[serde(default)]
    pub(crate) verified: u64,
}

/// One batch.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Batch {
    pub(crate) number: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) fabric: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) instances: Vec<String>,
    #[serde(default)]
    pub(crate) began_at: Option<Time>,
    #[serde(default)]
    pub(crate) verified_at: Option<Time>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) arithmetic: String,
}

/// Reads null as nothing.
fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Rollout {
    /// `feed v1 → v2`, or what another change calls itself.
    pub(crate) fn title(&self) -> String {
        let title = match &self.from {
            _ if !self.title.is_empty() => self.title.clone(),
            Some(from) => format!("{} {from} → {}", self.service, self.to),
            None => format!("{} {} (first release)", self.service, self.to),
        };
        style::clean(&title)
    }

    /// `running · canary`.
    pub(super) fn standing(&self, style: Style) -> String {
        let state = style.word(&output::word(&self.state));
        if self.phase.is_empty() || self.phase == output::word(&self.state) {
            state
        } else {
            format!("{state} · {}", style::clean(&self.phase))
        }
    }

    /// Why it stands so, where its phase does not say it already.
    pub(super) fn why(&self) -> Option<String> {
        let said = self.because.is_empty() || self.because == self.phase;
        (!said).then(|| style::clean(&self.because))
    }

    /// Who opened it and why.
    pub(super) fn opener(&self) -> String {
        let by = self.actor.as_ref().map_or_else(String::new, |actor| {
            let mark = if actor.verified { "" } else { " (unverified)" };
            format!(" by {}{mark}", style::clean(&actor.id))
        });
        match self.reason.as_str() {
            "" => by,
            reason => format!("{by}: {}", style::clean(reason)),
        }
    }
}

/// One line of a table; see [`HEADER`].
pub(super) fn row(rollout: &Rollout, now: Time, style: Style) -> Vec<String> {
    let or_dash = |text: &str| match text {
        "" => "-".to_owned(),
        text => style::clean(text),
    };
    let age = rollout.opened_at.map(|at| output::short(now.since(at)));
    vec![
        rollout.change.clone(),
        or_dash(&rollout.service),
        or_dash(rollout.from.as_deref().unwrap_or_default()),
        or_dash(&rollout.to),
        rollout.standing(style),
        rollout
            .progress
            .map_or_else(|| "-".to_owned(), |of| format!("{}/{}", of.new, of.total)),
        age.unwrap_or_else(|| "-".to_owned()),
    ]
}

/// The block that is redrawn while a rollout is watched, each line at most `width` wide.
pub(super) fn block(rollout: &Rollout, now: Time, style: Style, width: usize) -> Vec<String> {
    let took = rollout.opened_at.map_or_else(String::new, |opened| {
        let end = rollout.ended_at.unwrap_or(now);
        format!("  {}", output::short(end.since(opened)))
    });
    let mut lines = vec![format!(
        "{}  {}  {}{}",
        style.bold(&rollout.title()),
        rollout.standing(style),
        style.dim(&rollout.change),
        style.dim(&took)
    )];
    if let Some(why) = rollout.why() {
        lines.push(named("because", &why, style));
    }
    if let Some(progress) = rollout.progress {
        lines.push(named("instances", &bar(progress, style), style));
    }
    for (number, (fabric, weights)) in rollout.weights.iter().enumerate() {
        let name = if number == 0 { "weights" } else { "" };
        lines.push(named(name, &shares(fabric, weights), style));
    }
    lines.extend(judged(rollout, style));
    lines.extend(batches(rollout, now, style));
    lines.iter().map(|line| style::cut(line, width)).collect()
}

fn named(name: &str, text: &str, style: Style) -> String {
    format!("  {}{text}", style.dim(&format!("{name:<NAMES$}")))
}

/// `[██████░░░░] 12/50 new, 10 verified`: full cells are verified, half ones are not yet.
fn bar(of: Progress, style: Style) -> String {
    let cells = |count: u64| match of.total {
        0 => 0,
        total => (count.min(total) as usize * BAR) / total as usize,
    };
    let (verified, new) = (cells(of.verified), cells(of.new));
    let pending = new.saturating_sub(verified);
    let rest = BAR - verified - pending;
    format!(
        "[{}{}{}] {}/{} new, {} verified",
        style.good(&"█".repeat(verified)),
        style.warn(&"▒".repeat(pending)),
        style.dim(&"░".repeat(rest)),
        of.new,
        of.total,
        of.verified
    )
}

/// `lax  v1 99 %  v2 1 %`.
fn shares(fabric: &str, weights: &BTreeMap<String, u32>) -> String {
    let share = |(version, weight): (&String, &u32)| {
        let per_cent = f64::from(*weight) / WHOLE * 100.0;
        format!("{} {} %", style::clean(version), output::figure(per_cent))
    };
    let shares: Vec<String> = weights.iter().map(share).collect();
    format!("{}  {}", style::clean(fabric), shares.join("  "))
}

fn judged(rollout: &Rollout, style: Style) -> Vec<String> {
    let Some(verdict) = &rollout.verdict else {
        return Vec::new();
    };
    let at = style.dim(&format!("at {}", output::to_second(verdict.at)));
    let head = format!("{}  {at}", output::verdict(verdict, style));
    let mut lines = vec![named("verdict", &head, style)];
    for finding in &verdict.findings {
        lines.push(named("", &output::finding(finding, style), style));
    }
    lines
}

fn batches(rollout: &Rollout, now: Time, style: Style) -> Vec<String> {
    let skipped = rollout.batches.len().saturating_sub(BATCHES_SHOWN);
    let mut lines = Vec::new();
    if skipped > 0 {
        lines.push(named(
            "batches",
            &style.dim(&format!("… {skipped} before")),
            style,
        ));
    }
    for batch in rollout.batches.iter().skip(skipped) {
        let name = if lines.is_empty() { "batches" } else { "" };
        let line = format!("{} {}", subject(batch), standing(batch, now, style));
        lines.push(named(name, &line, style));
    }
    if let Some(last) = rollout.batches.last()
        && !last.arithmetic.is_empty()
    {
        lines.push(named(
            "",
            &style.dim(&style::clean(&last.arithmetic)),
            style,
        ));
    }
    lines
}

/// `3 in lax (5 instances)`.
pub(super) fn subject(batch: &Batch) -> String {
    let what = match batch.instances.as_slice() {
        [one] => style::clean(one),
        many => format!("{} instances", many.len()),
    };
    format!(
        "{} in {} ({what})",
        batch.number,
        style::clean(&batch.fabric)
    )
}

fn standing(batch: &Batch, now: Time, style: Style) -> String {
    match (batch.began_at, batch.verified_at) {
        (Some(began), Some(verified)) => format!(
            "{} in {}",
            style.good("verified"),
            output::short(verified.since(began))
        ),
        (None, Some(_)) => style.good("verified"),
        (Some(began), None) => format!("since {}", output::short(now.since(began))),
        (None, None) => "planned".to_owned(),
    }
}

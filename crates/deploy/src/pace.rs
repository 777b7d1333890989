//! How long it takes to replace instances of a service, as the ledger has it.
//!
//! Guarantees: counts batches whose every successor was verified, and nothing else. Never averages: whoever asks
//! wants to know what it takes when it is slow.

use std::fmt;

use mainstay_core::{ServiceName, Span, Version};

use crate::{
    action::Task,
    model::{Batch, Model, Track},
};

/// Batches looked back on: what hosts and artifacts were like before that says little of now.
const BATCHES_MAX: usize = 32;
/// From the end of one wave to the next, where none was measured: the new instances are reported, the lease is
/// asked for again, and what carries load counts.
const BETWEEN: Span = Span::from_secs(2);

/// How long replacements of a service took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// The slowest batch, from taking its instances out until every successor was verified.
    pub replaced_within: Span,
    /// The longest pause between two batches on a way back.
    pub between: Span,
    /// Instances replaced in all of them.
    pub replacements: usize,
    /// The most of one batch.
    pub widest: usize,
    /// The service and, where all led to it, the version.
    pub of: String,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "from {} replacements of {} measured, up to {} at once",
            self.replacements, self.of, self.widest
        )
    }
}

/// A batch that was replaced, and what it led to.
struct Replaced<'a> {
    to: &'a Version,
    batch: &'a Batch,
    took: Span,
}

impl Pace {
    /// How long replacements of `service` took: of those that led to `version`, if any did, else of all.
    pub fn measured(model: &Model, service: &ServiceName, version: &Version) -> Option<Self> {
        let rollouts = model.newest_first();
        let rollouts: Vec<&Track> = rollouts
            .into_iter()
            .filter(|it| it.state.plan().service == *service)
            .collect();
        let mut all: Vec<Replaced<'_>> = rollouts.iter().flat_map(|it| rolled(it)).collect();
        for track in model.newest_actions() {
            let plan = track.state.plan();
            if plan.service == *service && plan.task == Task::Restart {
                let to = &plan.base.version;
                all.extend(track.batches.iter().filter_map(|it| replaced(to, it)));
            }
        }
        all.sort_by_key(|it| std::cmp::Reverse(it.batch.began_at));
        let same = all.iter().any(|it| it.to == version);
        all.retain(|it| !same || it.to == version);
        all.truncate(BATCHES_MAX);
        let pauses = rollouts.iter().flat_map(|it| pauses(&it.batches));
        Some(Self {
            replaced_within: all.iter().map(|it| it.took).max()?,
            between: pauses.max().unwrap_or(BETWEEN),
            replacements: all.iter().map(|it| it.batch.slots.len()).sum(),
            widest: all.iter().map(|it| it.batch.slots.len()).max()?,
            of: if same {
                format!("{service} {version}")
            } else {
                service.to_string()
            },
        })
    }
}

fn replaced<'a>(to: &'a Version, batch: &'a Batch) -> Option<Replaced<'a>> {
    let took = batch.verified_at?.since(batch.began_at);
    Some(Replaced { to, batch, took })
}

fn rolled(track: &Track) -> impl Iterator<Item = Replaced<'_>> {
    let plan = track.state.plan();
    track.batches.iter().filter_map(|batch| {
        let to = match &plan.from {
            Some(from) if batch.restoring => from,
            Some(_) | None => &plan.to,
        };
        replaced(to, batch)
    })
}

/// How long batches on a way back waited for the one before to count.
fn pauses(batches: &[Batch]) -> impl Iterator<Item = Span> {
    batches.windows(2).filter_map(|pair| match pair {
        [before, after] if before.restoring && after.restoring => {
            Some(after.began_at.since(before.verified_at?))
        }
        _ => None,
    })
}

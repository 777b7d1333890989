//! What to do next on this host: a pure function of what should run and what does.
//!
//! **Guarantees.** Deterministic: the same arguments give the same steps, in the order of the names. An
//! instance never gets a second process before its first was seen gone. **Never** acts, reads a clock or
//! remembers anything between calls.
//!
//! ```
//! use std::collections::BTreeMap;
//! use mainstay_core::Time;
//! use mainstay_fleet::plan::plan;
//! use mainstay_wire::agent::DesiredSet;
//! assert!(plan(&DesiredSet::default(), &BTreeMap::new(), Time::from_millis(0)).is_empty());
//! ```

use std::collections::BTreeMap;

use mainstay_core::{InstanceName, Span, Time};
use mainstay_wire::agent::{DesiredInstance, DesiredSet};
use serde::{Deserialize, Serialize};

/// Wait after the first unordered exit.
pub const BACK_OFF_MIN: Span = Span::from_millis(500);
/// Longest wait between two tries.
pub const BACK_OFF_MAX: Span = Span::from_secs(30);
/// A process that lived this long starts its back-off anew.
pub const STABLE_AFTER: Span = Span::from_secs(60);
/// A process group that outlived SIGKILL (it waits in the kernel) is sent it again after this long.
pub const KILL_AGAIN_AFTER: Span = Span::from_secs(5);

/// What was stopped for good is reported as gone for this long, with how it went, before it is forgotten.
pub const TOLD_GONE_FOR: Span = Span::from_secs(5);

/// Where the process of an instance stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "life", rename_all = "kebab-case")]
pub enum Life {
    /// Written down before the start, so that a crash between start and record leaves a trace.
    Launching,
    /// It runs.
    Alive {
        /// Since when.
        since: Time,
    },
    /// It was told to stop and is still there.
    Stopping {
        /// When it was told.
        asked_at: Time,
        /// When its group was last killed.
        killed_at: Option<Time>,
    },
    /// Seen gone.
    Gone {
        /// When.
        at: Time,
        /// Whether the agent had told it to stop.
        ordered: bool,
    },
    /// It could not be started.
    Failed {
        /// When it was tried.
        at: Time,
        /// Why, with the remedy.
        because: String,
    },
}

impl Life {
    /// The same with no time after `now`: what was written down before the clock was set back would
    /// otherwise delay a start or a kill by as much.
    #[must_use]
    pub fn not_after(self, now: Time) -> Self {
        match self {
            Self::Launching => Self::Launching,
            Self::Alive { since } => Self::Alive {
                since: since.min(now),
            },
            Self::Stopping {
                asked_at,
                killed_at,
            } => Self::Stopping {
                asked_at: asked_at.min(now),
                killed_at: killed_at.map(|at| at.min(now)),
            },
            Self::Gone { at, ordered } => Self::Gone {
                at: at.min(now),
                ordered,
            },
            Self::Failed { at, because } => Self::Failed {
                at: at.min(now),
                because,
            },
        }
    }
}

/// One instance as the planner needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The order its process was started from.
    pub order: DesiredInstance,
    /// Where the process stands.
    pub life: Life,
    /// Exits and failed starts in a row; a stable life sets it back.
    pub failures_in_row: u32,
}

/// Why nothing is done yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The instance that waits.
    pub instance: InstanceName,
    /// When it is tried again.
    pub until: Time,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Start a process from this order.
    Start(DesiredInstance),
    /// Ask the process to stop.
    Stop(InstanceName),
    /// Kill its process group: it outlived its grace.
    Kill(InstanceName),
    /// Wait out the back-off.
    Wait(Wait),
    /// It is gone and not wanted: drop it from the records.
    Forget(InstanceName),
}

/// How long to wait after `failures_in_row` exits or failed starts in a row.
pub fn back_off(failures_in_row: u32) -> Span {
    if failures_in_row == 0 {
        return Span::ZERO;
    }
    let doublings = (failures_in_row - 1).min(16);
    Span::from_millis((BACK_OFF_MIN.millis() << doublings).min(BACK_OFF_MAX.millis()))
}

/// Whether a process started from `old` is the one that `new` asks for: all but the grace agrees.
pub fn same_process(old: &DesiredInstance, new: &DesiredInstance) -> bool {
    let with_grace_of_new = DesiredInstance {
        stop_grace: new.stop_grace,
        ..old.clone()
    };
    with_grace_of_new == *new
}

/// The steps that bring `running` nearer to `desired`, at most one an instance.
pub fn plan(
    desired: &DesiredSet,
    running: &BTreeMap<InstanceName, Running>,
    now: Time,
) -> Vec<Step> {
    let wanted: BTreeMap<&InstanceName, &DesiredInstance> =
        desired.instances.iter().map(|d| (&d.instance, d)).collect();
    let mut names: Vec<&InstanceName> = wanted.keys().copied().chain(running.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| next(name, wanted.get(name).copied(), running.get(name), now))
        .collect()
}

fn next(
    name: &InstanceName,
    want: Option<&DesiredInstance>,
    have: Option<&Running>,
    now: Time,
) -> Option<Step> {
    let Some(have) = have else {
        return want.cloned().map(Step::Start);
    };
    match &have.life {
        // Resolved by looking at the host, not by planning.
        Life::Launching => None,
        Life::Alive { .. } => match want {
            Some(want) if same_process(&have.order, want) => None,
            Some(_) | None => Some(Step::Stop(name.clone())),
        },
        Life::Stopping {
            asked_at,
            killed_at,
        } => {
            let grace = want.map_or(have.order.stop_grace, |want| {
                want.stop_grace.min(have.order.stop_grace)
            });
            let overdue = match killed_at {
                None => now.since(*asked_at) >= grace,
                Some(killed_at) => now.since(*killed_at) >= KILL_AGAIN_AFTER,
            };
            overdue.then(|| Step::Kill(name.clone()))
        }
        Life::Gone { at, .. } | Life::Failed { at, .. } => {
            let (until, then) = match want {
                None => (*at + told_gone_for(&have.life), Step::Forget(name.clone())),
                Some(want) if same_process(&have.order, want) => {
                    let until = *at + back_off(have.failures_in_row);
                    (until, Step::Start(want.clone()))
                }
                Some(want) => return Some(Step::Start(want.clone())),
            };
            let wait = Wait {
                instance: name.clone(),
                until,
            };
            Some(if now < until { Step::Wait(wait) } else { then })
        }
    }
}

/// How long an end that nobody has to wait for is told. Only one that was ordered is worth it: with others it was told
/// when they came.
fn told_gone_for(life: &Life) -> Span {
    match life {
        Life::Gone { ordered: true, .. } => TOLD_GONE_FOR,
        Life::Gone { ordered: false, .. }
        | Life::Failed { .. }
        | Life::Launching
        | Life::Alive { .. }
        | Life::Stopping { .. } => Span::ZERO,
    }
}

#[cfg(test)]
mod tests;

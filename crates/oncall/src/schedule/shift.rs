//! Shifts, and what becomes of them where something comes before them.

use jiff::Timestamp;
use mainstay_core::{Name, oncall::Role};
use serde::{Deserialize, Serialize};

/// Why somebody is on call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// By a layer, of this name.
    Layer(Name),
    /// By an override that the schedule declares, by its place.
    Override(usize),
    /// By what a change entered.
    Change(String),
}

/// Somebody is on call in a role for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shift {
    /// In which role.
    pub role: Role,
    /// Who.
    pub person: Name,
    /// From when.
    pub from: Timestamp,
    /// Until when, which does not belong to it.
    pub until: Timestamp,
    /// Why.
    pub by: Source,
    /// Whom they swapped with, if they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<Name>,
}

impl Shift {
    /// Whether it holds at `at`.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }

    /// The same between other instants.
    pub(crate) fn between(&self, from: Timestamp, until: Timestamp) -> Self {
        Self {
            from,
            until,
            ..self.clone()
        }
    }
}

/// `upper` wherever it holds, and `lower` elsewhere; both are in order and without overlaps, and so is the result.
pub(crate) fn over(lower: &[Shift], upper: &[Shift]) -> Vec<Shift> {
    if upper.is_empty() {
        return lower.to_vec();
    }
    let mut all = Vec::with_capacity(lower.len() + upper.len());
    let mut begin = 0;
    for low in lower {
        let mut from = low.from;
        while upper.get(begin).is_some_and(|it| it.until <= from) {
            begin += 1;
        }
        let rest = upper.get(begin..).unwrap_or_default().iter();
        for high in rest.take_while(|it| it.from < low.until) {
            if high.from > from {
                all.push(low.between(from, high.from));
            }
            from = from.max(high.until);
        }
        if from < low.until {
            all.push(low.between(from, low.until));
        }
    }
    all.extend_from_slice(upper);
    all.sort_by_key(|it| it.from);
    all
}

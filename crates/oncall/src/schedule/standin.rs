//! Standing in: overrides, swaps, and taking the shift that is under way.
//!
//! Guarantees: what is entered later comes before what was entered earlier, and all of it before the layers. Swapping
//! twice is not swapping; an override holds whoever's turn it would be. Never changes what is outside its time.

use jiff::Timestamp;
use mainstay_core::{Name, oncall::Role};
use serde::{Deserialize, Serialize};

use super::{
    Schedule,
    shift::{Shift, Source, over},
};

/// Somebody stands in for somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandIn {
    /// The change that entered it, or its place among those that are declared.
    pub by: Source,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Who, for whom.
    pub what: What,
}

/// Who stands in, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// Somebody holds a role, whoever's turn it is.
    Holds {
        /// The role.
        role: Role,
        /// Who.
        person: Name,
    },
    /// Two exchange all their shifts.
    Swap {
        /// In this role; in every role where there is none.
        role: Option<Role>,
        /// One.
        person: Name,
        /// The other.
        with: Name,
    },
}

impl StandIn {
    /// The shifts of `role` as they are with it.
    pub(crate) fn applied(&self, role: Role, shifts: Vec<Shift>) -> Vec<Shift> {
        match &self.what {
            What::Holds { role: of, person } if *of == role => {
                let held = Shift {
                    role,
                    person: person.clone(),
                    from: self.from,
                    until: self.until,
                    by: self.by.clone(),
                    instead_of: None,
                };
                over(&shifts, &[held])
            }
            What::Swap {
                role: of,
                person,
                with,
            } if of.is_none_or(|of| of == role) => {
                let other = |it: &Name| {
                    let of = |one, another: &Name| (it == one).then(|| another.clone());
                    of(person, with).or_else(|| of(with, person))
                };
                shifts
                    .into_iter()
                    .flat_map(|it| self.swapped(it, other))
                    .collect()
            }
            What::Holds { .. } | What::Swap { .. } => shifts,
        }
    }

    /// The pieces of a shift: before the swap's time, in it, and after.
    fn swapped(&self, shift: Shift, other: impl Fn(&Name) -> Option<Name>) -> Vec<Shift> {
        let (from, until) = (shift.from.max(self.from), shift.until.min(self.until));
        let Some(person) = other(&shift.person).filter(|_| from < until) else {
            return vec![shift];
        };
        let mut within = shift.between(from, until);
        let was = within
            .instead_of
            .take()
            .unwrap_or_else(|| shift.person.clone());
        within.instead_of = (was != person).then_some(was);
        within.person = person;
        let mut pieces = Vec::with_capacity(3);
        if shift.from < from {
            pieces.push(shift.between(shift.from, from));
        }
        pieces.push(within);
        if until < shift.until {
            pieces.push(shift.between(until, shift.until));
        }
        pieces
    }
}

/// Why a shift cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// There is none.
    #[error("nobody is on call as {0} at that time: there is no shift to take")]
    Nobody(Role),
    /// It is theirs.
    #[error("{0} is on call as {1} already")]
    Already(Name, Role),
}

impl Schedule {
    /// What lets `person` have the shift of `role` that is under way at `at`, from then to its end.
    pub fn take(
        &self,
        role: Role,
        at: Timestamp,
        person: &Name,
    ) -> Result<(Shift, What), NotTaken> {
        let shift = self.on_call(role, at).ok_or(NotTaken::Nobody(role))?;
        if shift.person == *person {
            return Err(NotTaken::Already(person.clone(), role));
        }
        let what = What::Holds {
            role,
            person: person.clone(),
        };
        Ok((shift.between(at, shift.until), what))
    }
}

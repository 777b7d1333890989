//! What will go wrong with a schedule: nobody on call, or somebody who cannot be reached.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mainstay_core::{
    Name,
    oncall::{ResponderSpec, Role},
};
use serde::{Deserialize, Serialize};

use super::{
    Schedule,
    hours::{Stretch, common, stretches},
};

/// A time in which nobody would answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// In which role.
    pub role: Role,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Why.
    #[serde(flatten)]
    pub why: Why,
}

/// Why nobody would answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Why {
    /// Nobody is on call.
    Gap,
    /// Whoever is on call is not declared.
    Unknown {
        /// Who.
        person: Name,
    },
    /// Whoever is on call has no contact.
    NoContact {
        /// Who.
        person: Name,
    },
}

impl Schedule {
    /// Where nobody is on call within `from..until`, in the hours that the schedule covers, by role and time. Nobody
    /// relies on a shadow: where there is none is no gap.
    pub fn gaps(&self, from: Timestamp, until: Timestamp) -> Vec<Trouble> {
        let relied_on = self
            .roles()
            .into_iter()
            .filter(|role| *role != Role::Shadow);
        relied_on
            .flat_map(|role| self.gaps_of(role, (from, until)))
            .collect()
    }

    fn gaps_of(&self, role: Role, within: Stretch) -> Vec<Trouble> {
        let (from, until) = within;
        let mut nobody = Vec::new();
        let mut at = from;
        for shift in self.shifts_of(role, from, until) {
            if shift.from > at {
                nobody.push((at, shift.from.min(until)));
            }
            at = at.max(shift.until);
        }
        if at < until {
            nobody.push((at, until));
        }
        let covered = stretches(self.zone(), self.covers(), within);
        let gaps = common(&nobody, &covered).into_iter();
        gaps.map(|(from, until)| Trouble {
            role,
            from,
            until,
            why: Why::Gap,
        })
        .collect()
    }

    /// Gaps, and shifts of whom nobody could reach, within `from..until`, in the order of time.
    pub fn troubles(
        &self,
        responders: &BTreeMap<Name, ResponderSpec>,
        from: Timestamp,
        until: Timestamp,
    ) -> Vec<Trouble> {
        let mut all = self.gaps(from, until);
        for shift in self.shifts(from, until) {
            let person = || shift.person.clone();
            let why = match responders.get(&shift.person) {
                None => Why::Unknown { person: person() },
                Some(spec) if spec.contacts.is_empty() => Why::NoContact { person: person() },
                Some(_) => continue,
            };
            all.push(Trouble {
                role: shift.role,
                from: shift.from.max(from),
                until: shift.until.min(until),
                why,
            });
        }
        all.sort_by_key(|it| (it.from, it.role));
        all
    }
}

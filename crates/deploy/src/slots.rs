//! Places where processes of a service run, and sets of them that are short in JSON.
//!
//! Guarantees: a set reads back what it writes; ranges are given per fabric, so that an entry about a
//! thousand instances stays small. Never names a process: a slot outlives the processes in it.
//!
//! ```
//! use mainstay_deploy::{Slot, Slots};
//! let slots: Slots = (1..=3).map(|n| Slot::new("lax".parse().unwrap(), n)).collect();
//! assert_eq!(serde_json::to_string(&slots).unwrap(), r#"{"lax":[[1,3]]}"#);
//! ```

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{FabricName, InstanceName, NameError, ServiceName};
use serde::{Deserialize, Serialize};

/// Most slots of one service: entries and route tables stay within their limits.
pub const SLOTS_MAX: usize = 10_000;

/// One place where a process of a service runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// Its fabric.
    pub fabric: FabricName,
    /// Its number within service and fabric, from 1.
    pub ordinal: u32,
}

impl Slot {
    /// The slot `ordinal` of `fabric`.
    pub fn new(fabric: FabricName, ordinal: u32) -> Self {
        Self { fabric, ordinal }
    }
    /// What the instance in this slot of `service` is called.
    pub fn instance(&self, service: &ServiceName) -> Result<InstanceName, NameError> {
        InstanceName::new(format!("{service}-{}-{}", self.fabric, self.ordinal))
    }
}

/// A set of slots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Ranges", into = "Ranges")]
pub struct Slots(BTreeSet<Slot>);

type Ranges = BTreeMap<FabricName, Vec<(u32, u32)>>;

impl Slots {
    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter()
    }
    /// Whether `slot` is one of them.
    pub fn contains(&self, slot: &Slot) -> bool {
        self.0.contains(slot)
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Those of one fabric, in order.
    pub fn of<'a>(&'a self, fabric: &'a FabricName) -> impl Iterator<Item = &'a Slot> {
        self.0.iter().filter(move |slot| slot.fabric == *fabric)
    }
    /// The fabrics they lie in.
    pub fn fabrics(&self) -> BTreeSet<&FabricName> {
        self.0.iter().map(|slot| &slot.fabric).collect()
    }
    /// Adds one.
    pub fn insert(&mut self, slot: Slot) {
        self.0.insert(slot);
    }
    /// Adds all of `more`.
    pub fn extend(&mut self, more: impl IntoIterator<Item = Slot>) {
        self.0.extend(more);
    }
    /// Whether every one of `others` is among them.
    pub fn covers(&self, others: &Slots) -> bool {
        others.0.is_subset(&self.0)
    }
}

impl FromIterator<Slot> for Slots {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        Self(slots.into_iter().collect())
    }
}

impl From<Slots> for Ranges {
    fn from(slots: Slots) -> Self {
        let mut ranges = Ranges::new();
        for slot in slots.0 {
            let of_fabric = ranges.entry(slot.fabric).or_default();
            match of_fabric.last_mut() {
                Some((_, last)) if *last + 1 == slot.ordinal => *last = slot.ordinal,
                _ => of_fabric.push((slot.ordinal, slot.ordinal)),
            }
        }
        ranges
    }
}

impl TryFrom<Ranges> for Slots {
    type Error = String;
    fn try_from(ranges: Ranges) -> Result<Self, String> {
        let mut slots = BTreeSet::new();
        for (fabric, ranges) in ranges {
            for (first, last) in ranges {
                if first == 0 || last < first || (last - first) as usize >= SLOTS_MAX {
                    return Err(format!("{first} to {last} is no range of slots"));
                }
                slots.extend((first..=last).map(|n| Slot::new(fabric.clone(), n)));
            }
        }
        if slots.len() > SLOTS_MAX {
            return Err(format!(
                "{} slots where at most {SLOTS_MAX} are allowed",
                slots.len()
            ));
        }
        Ok(Self(slots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_reads_back_what_it_writes_and_a_bad_range_is_refused() {
        let slot = |fabric: &str, n| Slot::new(fabric.parse().unwrap(), n);
        let slots: Slots = [
            slot("iad", 2),
            slot("lax", 1),
            slot("lax", 2),
            slot("lax", 9),
        ]
        .into_iter()
        .collect();
        let text = serde_json::to_string(&slots).unwrap();
        assert_eq!(text, r#"{"iad":[[2,2]],"lax":[[1,2],[9,9]]}"#);
        assert_eq!(serde_json::from_str::<Slots>(&text).unwrap(), slots);
        for wrong in [
            r#"{"lax":[[0,2]]}"#,
            r#"{"lax":[[3,2]]}"#,
            r#"{"lax":[[1,99999999]]}"#,
        ] {
            assert!(serde_json::from_str::<Slots>(wrong).is_err(), "{wrong}");
        }
    }
}

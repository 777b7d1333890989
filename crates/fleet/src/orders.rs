//! Which orders are taken.
//!
//! **Guarantees.** A set of an older generation than the last one taken is refused; the same set may come
//! any number of times and is taken once; a set that contradicts itself is refused whole. **Never** takes
//! part of a set.
//!
//! ```
//! use mainstay_fleet::orders::{Taken, take};
//! use mainstay_wire::{Generation, agent::DesiredSet};
//! let newer = DesiredSet { generation: Generation { epoch: 1, counter: 1 }, ..DesiredSet::default() };
//! assert_eq!(take(&DesiredSet::default(), &newer), Ok(Taken::New));
//! assert_eq!(take(&newer, &newer), Ok(Taken::Again));
//! assert!(take(&newer, &DesiredSet::default()).is_err());
//! ```

use std::collections::BTreeSet;

use mainstay_core::InstanceName;
use mainstay_wire::{Generation, agent::DesiredSet};

/// Most instances one host is asked to run: each is looked at every second.
pub const INSTANCES_MAX: usize = 1_024;

/// What became of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is newer: act on it.
    New,
    /// It is the one held already.
    Again,
}

/// Why a set is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusedOrder {
    /// A server that lost its lease sends late.
    #[error(
        "generation {}.{} is older than {}.{}, which this agent holds",
        got.epoch, got.counter, held.epoch, held.counter
    )]
    Stale {
        /// What came.
        got: Generation,
        /// What is held.
        held: Generation,
    },
    /// Two different sets claim the same place.
    #[error(
        "a different set of generation {}.{} was taken before; send it under a new generation",
        generation.epoch, generation.counter
    )]
    Contradiction {
        /// The generation both claim.
        generation: Generation,
    },
    /// One instance cannot be two things.
    #[error("instance {0} is in the set twice")]
    Twice(InstanceName),
    /// Over [`INSTANCES_MAX`].
    #[error("{0} instances on one host where at most {INSTANCES_MAX} are allowed")]
    TooMany(usize),
}

/// Whether `set` is taken by an agent that holds `held`.
pub fn take(held: &DesiredSet, set: &DesiredSet) -> Result<Taken, RefusedOrder> {
    if set.generation < held.generation {
        return Err(RefusedOrder::Stale {
            got: set.generation,
            held: held.generation,
        });
    }
    if set == held {
        return Ok(Taken::Again);
    }
    if set.generation == held.generation {
        return Err(RefusedOrder::Contradiction {
            generation: set.generation,
        });
    }
    if set.instances.len() > INSTANCES_MAX {
        return Err(RefusedOrder::TooMany(set.instances.len()));
    }
    let mut seen = BTreeSet::new();
    for wanted in &set.instances {
        if !seen.insert(&wanted.instance) {
            return Err(RefusedOrder::Twice(wanted.instance.clone()));
        }
    }
    Ok(Taken::New)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(epoch: u64, counter: u64, names: &[&str]) -> DesiredSet {
        let instances = names.iter().map(|name| {
            serde_json::from_value(serde_json::json!({
                "instance": name, "service": "voyager", "fabric": "lax", "version": "v1",
                "incarnation": 1, "artifacts": "/a", "stopGrace": "1s",
            }))
            .unwrap()
        });
        DesiredSet {
            generation: Generation { epoch, counter },
            instances: instances.collect(),
            ..DesiredSet::default()
        }
    }

    #[test]
    fn an_older_epoch_is_refused_however_high_it_counted() {
        let refused = take(&set(2, 1, &[]), &set(1, 900, &["a"])).unwrap_err();
        assert!(refused.to_string().contains("1.900 is older than 2.1"));
    }

    #[test]
    fn the_same_set_is_taken_once() {
        assert_eq!(
            take(&set(1, 1, &["a"]), &set(1, 1, &["a"])),
            Ok(Taken::Again)
        );
        assert_eq!(take(&set(1, 1, &["a"]), &set(1, 2, &["a"])), Ok(Taken::New));
    }

    #[test]
    fn a_different_set_under_a_generation_already_taken_is_refused() {
        let refused = take(&set(1, 1, &["a"]), &set(1, 1, &["b"])).unwrap_err();
        assert!(matches!(refused, RefusedOrder::Contradiction { .. }));
    }

    #[test]
    fn a_set_that_names_an_instance_twice_is_refused_whole() {
        let refused = take(&set(1, 1, &[]), &set(1, 2, &["a", "b", "a"])).unwrap_err();
        assert_eq!(refused, RefusedOrder::Twice("a".parse().unwrap()));
    }
}

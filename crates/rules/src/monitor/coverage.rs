//! How much of a catalog is watched at all.

use mainstay_core::monitor::EntityKind;

use super::{Entity, Monitor};

/// How many entities of a kind some monitor watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// The kind.
    pub kind: EntityKind,
    /// How many are watched.
    pub watched: usize,
    /// Those that nobody watches, in the order of the catalog.
    pub unwatched: Vec<String>,
}

/// The coverage of each kind.
pub fn coverage(entities: &[Entity], monitors: &[&Monitor]) -> Vec<Coverage> {
    let of_kind = |kind| {
        let all = entities.iter().filter(|it| it.kind == kind);
        let (watched, others): (Vec<&Entity>, Vec<&Entity>) =
            all.partition(|entity| monitors.iter().any(|it| it.watches(entity)));
        Coverage {
            kind,
            watched: watched.len(),
            unwatched: others.into_iter().map(|it| it.name.clone()).collect(),
        }
    };
    EntityKind::ALL.into_iter().map(of_kind).collect()
}

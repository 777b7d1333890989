//! What of a part was removed: it lies in the file, and nobody reads it.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Part;
use crate::{
    IdSet, Matcher,
    damage::{Damage, Tolerance},
    grave::Grave,
    memtable::Columns,
};

/// Samples of some series in a window, both ends included.
#[derive(Debug)]
pub(super) struct Mask {
    ids: IdSet,
    window: (i64, i64),
}

/// All that was removed of a part.
#[derive(Debug, Default)]
pub(super) struct Masks(ArcSwap<Vec<Mask>>);

impl Masks {
    /// As they are now, for one reading.
    pub(super) fn now(&self) -> Masked {
        Masked(self.0.load_full())
    }
}

/// Masks that do not change.
#[derive(Debug)]
pub(super) struct Masked(Arc<Vec<Mask>>);

impl Masked {
    /// Whether anything of a series was removed.
    pub(super) fn any(&self, id: u32) -> bool {
        self.0.iter().any(|mask| mask.ids.contains(id))
    }

    /// Takes what was removed out of the samples of a series.
    pub(super) fn apply(&self, id: u32, columns: &mut Columns) {
        for mask in self.0.iter().filter(|mask| mask.ids.contains(id)) {
            columns.cut_out(mask.window);
        }
    }
}

impl Part {
    /// The series that satisfy all matchers, without those that cannot be read: what cannot be read needs no mask.
    pub(crate) fn ids(&self, matchers: &[Matcher]) -> IdSet {
        let mut ids = IdSet::empty(self.meta.series);
        let mut damage = Damage::default();
        let tolerance = &mut Tolerance::Noting(&mut damage);
        // All damage is tolerated: so there is no error.
        let _ = self.walk_ids(matchers, tolerance, &mut ids);
        ids
    }

    /// Nobody reads any more what lies in these graves.
    pub(crate) fn bury(&self, graves: &[Grave]) {
        let own = graves.iter().filter(|grave| grave.parts.contains(&self.id));
        let masks = own.map(|grave| Mask {
            ids: self.ids(&grave.matchers),
            window: grave.window,
        });
        self.masks.0.store(Arc::new(masks.collect()));
    }
}

//! Which rows below make one row: the groups of an aggregation, the buckets of a histogram.
//!
//! Guarantees: members are walked in the order in which the evaluator walks them, so that what is added up comes
//! out the same to the last bit.

use std::collections::BTreeMap;

use mainstay_promql::Labels;

/// Which rows below make one row here.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    by_labels: BTreeMap<Labels, u32>,
    /// The group of each row below; none for what is left out.
    of: Vec<Option<u32>>,
    members: Vec<Members>,
}

#[derive(Debug, Clone, Default)]
struct Members {
    /// Bounds of buckets, 0 elsewhere, and rows below.
    rows: Vec<(f64, u32)>,
    is_sorted: bool,
}

impl Groups {
    /// How many rows below it knows.
    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    /// The group of a row below.
    pub(super) fn of(&self, row: u32) -> Option<u32> {
        self.of[row as usize]
    }

    /// Bounds and rows below of a group.
    pub(super) fn members(&self, group: u32) -> &[(f64, u32)] {
        &self.members[group as usize].rows
    }

    /// The next row below is in no group.
    pub(super) fn leave_out(&mut self) {
        self.of.push(None);
    }

    /// Puts the next row below into its group; the group's labels if it is new.
    pub(super) fn join(&mut self, labels: Labels, bound: f64) -> Option<Labels> {
        let row = self.of.len() as u32;
        let next = self.members.len() as u32;
        let group = *self.by_labels.entry(labels.clone()).or_insert(next);
        let is_new = group == next;
        if is_new {
            self.members.push(Members::default());
        }
        let members = &mut self.members[group as usize];
        members.rows.push((bound, row));
        members.is_sorted = false;
        self.of.push(Some(group));
        is_new.then_some(labels)
    }

    /// The members of a group as the evaluator walks them: by bound, then by labels.
    pub(super) fn sorted<'a>(
        &mut self,
        group: u32,
        labels: impl Fn(u32) -> Option<&'a Labels>,
    ) -> &[(f64, u32)] {
        let members = &mut self.members[group as usize];
        if !std::mem::replace(&mut members.is_sorted, true) {
            members.rows.sort_by(|(a_bound, a), (b_bound, b)| {
                let by_bound = a_bound.total_cmp(b_bound);
                by_bound.then_with(|| labels(*a).cmp(&labels(*b)))
            });
        }
        &members.rows
    }
}

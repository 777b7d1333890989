//! Which rows of two operands meet, by their labels, and what they make.
//!
//! Guarantees: an error of the evaluator, because several meet where one may, is known as one. Never makes a
//! row for a series of the right that stands in no result.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_promql::{
    Labels,
    ast::{Binary, BinaryOp},
    pieces,
};

use super::node::{Node, Row, Touched};

/// Which rows below have equal labels where it counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Pairs {
    by_signature: BTreeMap<Labels, u32>,
    left_of: Vec<u32>,
    right_of: Vec<u32>,
    /// The own row of each row on the left, and of `or` on the right.
    own: [Vec<u32>; 2],
    /// The meeting of each own row.
    meeting_of: Vec<u32>,
    meetings: Vec<Meeting>,
    touched: Touched,
    /// Meetings with several on the right.
    crowded_right: BTreeSet<u32>,
    /// Meetings with several on the left and one on the right.
    crowded_left: BTreeSet<u32>,
}

#[derive(Debug, Clone, Default)]
struct Meeting {
    left: Vec<u32>,
    right: Vec<u32>,
}

impl Pairs {
    fn meeting(&mut self, signature: Labels) -> u32 {
        let next = self.meetings.len() as u32;
        let at = *self.by_signature.entry(signature).or_insert(next);
        if at == next {
            self.meetings.push(Meeting::default());
        }
        at
    }
}

impl Pairs {
    /// The rows here that share partners with one of them, which are to be computed together.
    pub(super) fn touch(&mut self, own: u32) -> Vec<u32> {
        let at = self.meeting_of[own as usize];
        self.touched.add(at);
        self.own_rows(at).collect()
    }

    /// The rows here that rows of the operands lead to.
    pub(super) fn rise(&mut self, left: &[u32], right: &[u32]) -> Vec<u32> {
        let left = left.iter().map(|it| self.left_of[*it as usize]);
        let right = right.iter().map(|it| self.right_of[*it as usize]);
        let mut rows = Vec::new();
        for at in left.chain(right).collect::<Vec<u32>>() {
            self.touched.add(at);
            rows.extend(self.own_rows(at));
        }
        rows
    }

    /// Operands, 0 or 1, and their rows that the touched rows are made of.
    pub(super) fn sources(&self) -> impl Iterator<Item = (usize, u32)> {
        self.touched.rows().iter().flat_map(|it| {
            let meeting = &self.meetings[*it as usize];
            let left = meeting.left.iter().map(|row| (0, *row));
            left.chain(meeting.right.iter().map(|row| (1, *row)))
        })
    }

    /// The evaluator gives an error: several meet where one may.
    pub(super) fn is_crowded(&self, any_left: bool) -> bool {
        !self.crowded_left.is_empty() || (any_left && !self.crowded_right.is_empty())
    }

    /// What touched rows come to.
    pub(super) fn computed(
        &mut self,
        binary: &Binary,
        operands: [Option<&Node>; 2],
    ) -> Vec<(u32, Option<f64>)> {
        let mut found = Vec::new();
        for at in self.touched.drain() {
            if binary.op.is_set() {
                self.set(binary.op, at, operands, &mut found);
            } else {
                self.matched(binary, at, operands, &mut found);
            }
        }
        found
    }

    /// Takes in the rows that are new below; gives those that make a row here.
    pub(super) fn grow<'a>(
        &mut self,
        binary: &Binary,
        [left, right]: [&'a [Row]; 2],
    ) -> Vec<&'a Row> {
        let mut new = Vec::new();
        let [known, known_right] = [self.left_of.len(), self.right_of.len()];
        for (row, it) in left.iter().enumerate().skip(known) {
            let at = self.meeting(pieces::signature(&binary.matching, &it.labels));
            self.left_of.push(at);
            self.meetings[at as usize].left.push(row as u32);
            self.own[0].push(self.meeting_of.len() as u32);
            self.meeting_of.push(at);
            new.push(it);
        }
        for (row, it) in right.iter().enumerate().skip(known_right) {
            let at = self.meeting(pieces::signature(&binary.matching, &it.labels));
            self.right_of.push(at);
            self.meetings[at as usize].right.push(row as u32);
            if binary.op == BinaryOp::Or {
                self.own[1].push(self.meeting_of.len() as u32);
                self.meeting_of.push(at);
                new.push(it);
            }
        }
        new
    }

    /// The rows that a meeting makes here.
    fn own_rows(&self, at: u32) -> impl Iterator<Item = u32> {
        let meeting = &self.meetings[at as usize];
        let left = meeting.left.iter().map(|it| self.own[0][*it as usize]);
        let right = meeting.right.iter();
        left.chain(right.filter_map(|it| self.own[1].get(*it as usize).copied()))
    }

    fn matched(
        &mut self,
        binary: &Binary,
        at: u32,
        [left, right]: [Option<&Node>; 2],
        found: &mut Vec<(u32, Option<f64>)>,
    ) {
        let meeting = &self.meetings[at as usize];
        let rights = present(right, &meeting.right);
        let lefts = present(left, &meeting.left);
        let mark = |set: &mut BTreeSet<u32>, is_crowded: bool| {
            if is_crowded {
                set.insert(at);
            } else {
                set.remove(&at);
            }
        };
        mark(&mut self.crowded_right, rights.len() > 1);
        mark(&mut self.crowded_left, rights.len() == 1 && lefts.len() > 1);
        for row in &meeting.left {
            let own = left.and_then(|it| it.rows[*row as usize].value);
            let value = match (own, &rights[..]) {
                (Some(l), [r]) => {
                    let result = pieces::number(binary.op, l, *r);
                    if binary.op.is_comparison() && !binary.return_bool {
                        (result != 0.0).then_some(l)
                    } else {
                        Some(result)
                    }
                }
                (Some(_) | None, _) => None,
            };
            found.push((self.own[0][*row as usize], value));
        }
    }

    fn set(
        &self,
        op: BinaryOp,
        at: u32,
        [left, right]: [Option<&Node>; 2],
        found: &mut Vec<(u32, Option<f64>)>,
    ) {
        let meeting = &self.meetings[at as usize];
        let any_left = !present(left, &meeting.left).is_empty();
        let any_right = !present(right, &meeting.right).is_empty();
        let keeps_left = op == BinaryOp::Or || any_right == (op == BinaryOp::And);
        let sides = [
            (left, &meeting.left, keeps_left),
            (right, &meeting.right, !any_left),
        ];
        for ((side, rows, keeps), own) in sides.into_iter().zip(&self.own) {
            for row in rows {
                let value = side.and_then(|it| it.rows[*row as usize].value);
                // Only `or` has rows of the right.
                if let Some(own) = own.get(*row as usize) {
                    found.push((*own, value.filter(|_| keeps)));
                }
            }
        }
    }
}

/// The values of those that are there.
fn present(node: Option<&Node>, rows: &[u32]) -> Vec<f64> {
    let values = rows.iter();
    let values = values.filter_map(|row| node?.rows[*row as usize].value);
    values.collect()
}

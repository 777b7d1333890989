//! One operation of a compiled rule, with the value of each of its rows.
//!
//! Guarantees: a row keeps its number for good; what a touched row below leads to is touched above, and only
//! that is computed anew. Never looks at a row below that is not its own member's.

use mainstay_promql::{
    Labels,
    ast::{Aggregate, Binary, BinaryOp},
    pieces,
};

use super::{groups::Groups, leaf::Leaf, pairs::Pairs, scalar::Scalar};

/// One series of a node's result.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) labels: Labels,
    /// The name goes when the result is told.
    pub(super) drop_name: bool,
    /// None while it is not there.
    pub(super) value: Option<f64>,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// It has another value.
    Moved,
    /// It is there and was not.
    Came,
    /// It was there and is not.
    Went,
}

/// Rows to compute anew, each once.
#[derive(Debug, Clone, Default)]
pub(super) struct Touched {
    rows: Vec<u32>,
    marked: Vec<bool>,
}

impl Touched {
    pub(super) fn add(&mut self, row: u32) {
        let at = row as usize;
        if at >= self.marked.len() {
            self.marked.resize(at + 1, false);
        }
        if !std::mem::replace(&mut self.marked[at], true) {
            self.rows.push(row);
        }
    }

    pub(super) fn rows(&self) -> &[u32] {
        &self.rows
    }

    pub(super) fn drain(&mut self) -> Vec<u32> {
        for row in &self.rows {
            self.marked[*row as usize] = false;
        }
        std::mem::take(&mut self.rows)
    }
}

/// What a node does with the rows below.
#[derive(Debug, Clone)]
pub(super) enum Op {
    /// What a leaf holds.
    Leaf(usize),
    /// One value without labels.
    Constant(Scalar),
    /// Each value and a scalar under an operator.
    WithScalar(WithScalar),
    /// Each value by itself.
    Math(fn(f64) -> f64),
    /// Several rows become one.
    Aggregate(Box<Aggregate>, Groups),
    /// The buckets of a classic histogram become one value.
    Quantile(Scalar, Groups),
    /// One row while there is none below.
    Absent(Labels),
    /// A row of each side, by their labels.
    Matched(Box<Binary>, Pairs),
    /// `and`, `or`, `unless`.
    Set(Box<Binary>, Pairs),
}

#[derive(Debug, Clone)]
pub(super) struct WithScalar {
    pub(super) op: BinaryOp,
    pub(super) scalar: Scalar,
    /// The scalar is the left operand.
    pub(super) swapped: bool,
    pub(super) return_bool: bool,
}

impl WithScalar {
    fn value(&self, value: f64, now_ms: i64) -> Option<f64> {
        let scalar = self.scalar.at(now_ms);
        let (left, right) = if self.swapped {
            (scalar, value)
        } else {
            (value, scalar)
        };
        let result = pieces::number(self.op, left, right);
        // A filter keeps the vector's value, whichever side it is on.
        if self.op.is_comparison() && !self.return_bool {
            (result != 0.0).then_some(value)
        } else {
            Some(result)
        }
    }
}

/// An operation, where its operands are, and its rows.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) op: Op,
    pub(super) below: Vec<usize>,
    /// Its values move with time alone.
    pub(super) drifts: bool,
    pub(super) rows: Vec<Row>,
    pub(super) touched: Touched,
    /// Rows that are there.
    pub(super) present: usize,
}

impl Node {
    pub(super) fn new(op: Op, below: Vec<usize>, drifts: bool) -> Self {
        let mut node = Self {
            op,
            below,
            drifts,
            rows: Vec::new(),
            touched: Touched::default(),
            present: 0,
        };
        if let Op::Absent(labels) = &node.op {
            let labels = labels.clone();
            node.add_row(labels, false);
            node.touched.add(0);
        }
        if let Op::Constant(_) = &node.op {
            node.add_row(Labels::default(), false);
            node.touched.add(0);
        }
        node
    }

    pub(super) fn add_row(&mut self, labels: Labels, drop_name: bool) {
        self.rows.push(Row {
            labels,
            drop_name,
            value: None,
        });
    }

    /// Touches a row, and with it those that share its partners.
    pub(super) fn touch(&mut self, row: u32) {
        self.touched.add(row);
        if let Op::Matched(_, pairs) | Op::Set(_, pairs) = &mut self.op {
            let rows = pairs.touch(row).into_iter();
            rows.for_each(|it| self.touched.add(it));
        }
    }

    /// Touches what the touched rows below lead to.
    pub(super) fn rise(&mut self, nodes: &[Self]) {
        self.grow(nodes);
        let below = |at: usize| self.below.get(at).and_then(|it| nodes.get(*it));
        let left = below(0).map_or(&[][..], |it| it.touched.rows());
        let right = below(1).map_or(&[][..], |it| it.touched.rows());
        match &mut self.op {
            Op::Leaf(_) | Op::Constant(_) => {}
            Op::WithScalar(_) | Op::Math(_) => left.iter().for_each(|it| self.touched.add(*it)),
            Op::Aggregate(_, groups) | Op::Quantile(_, groups) => {
                let found = left.iter().filter_map(|it| groups.of(*it));
                found.for_each(|it| self.touched.add(it));
            }
            Op::Absent(_) => {
                if !left.is_empty() {
                    self.touched.add(0);
                }
            }
            Op::Matched(_, pairs) | Op::Set(_, pairs) => {
                let rows = pairs.rise(left, right).into_iter();
                rows.for_each(|it| self.touched.add(it));
            }
        }
    }

    /// The rows below, by operand, that the touched rows are made of.
    pub(super) fn sources(&self, nodes: &[Self]) -> Vec<(usize, u32)> {
        let touched = self.touched.rows().iter();
        let left = self.below.first().copied().unwrap_or_default();
        let all_left = || nodes.get(left).map_or(0, |it| it.rows.len() as u32);
        match &self.op {
            Op::Leaf(_) | Op::Constant(_) => Vec::new(),
            Op::WithScalar(_) | Op::Math(_) => touched.map(|it| (left, *it)).collect(),
            Op::Aggregate(_, groups) | Op::Quantile(_, groups) => touched
                .flat_map(|it| groups.members(*it))
                .map(|(_, row)| (left, *row))
                .collect(),
            Op::Absent(_) if touched.len() == 0 => Vec::new(),
            Op::Absent(_) => (0..all_left()).map(|it| (left, it)).collect(),
            Op::Matched(_, pairs) | Op::Set(_, pairs) => {
                let sources = pairs.sources();
                sources
                    .filter_map(|(operand, row)| Some((*self.below.get(operand)?, row)))
                    .collect()
            }
        }
    }

    /// Computes the touched rows at `now_ms`; gives those whose value changed.
    pub(super) fn compute(
        &mut self,
        nodes: &[Self],
        leaves: &[Leaf],
        now_ms: i64,
    ) -> Vec<(u32, Change)> {
        let mut found: Vec<(u32, Option<f64>)> = Vec::new();
        let touched = self.touched.drain();
        let left = self.below.first().and_then(|it| nodes.get(*it));
        let of_left = |row: u32| left.and_then(|it| it.rows[row as usize].value);
        let each = touched.into_iter();
        match &mut self.op {
            Op::Leaf(leaf) => {
                let leaf = &leaves[*leaf];
                found.extend(each.map(|row| (row, leaf.value(row, now_ms))));
            }
            Op::Constant(scalar) => found.extend(each.map(|row| (row, Some(scalar.at(now_ms))))),
            Op::WithScalar(with) => found.extend(each.map(|row| {
                let value = of_left(row).and_then(|it| with.value(it, now_ms));
                (row, value)
            })),
            Op::Math(f) => found.extend(each.map(|row| (row, of_left(row).map(*f)))),
            Op::Aggregate(aggregate, groups) => found.extend(each.map(|row| {
                let members =
                    groups.sorted(row, |row| left.map(|it| &it.rows[row as usize].labels));
                let values = members.iter().filter_map(|(_, member)| of_left(*member));
                (row, pieces::aggregated(aggregate.op, values))
            })),
            Op::Quantile(q, groups) => found.extend(each.map(|row| {
                let members = groups.sorted(row, |_| None);
                let buckets = members.iter();
                let buckets = buckets.filter_map(|(bound, row)| Some((*bound, of_left(*row)?)));
                let buckets: Vec<(f64, f64)> = buckets.collect();
                let some = !buckets.is_empty();
                (row, some.then(|| pieces::quantile(q.at(now_ms), buckets)))
            })),
            Op::Absent(_) => {
                let none = left.is_none_or(|it| it.present == 0);
                found.extend(each.map(|row| (row, none.then_some(1.0))));
            }
            Op::Matched(binary, pairs) | Op::Set(binary, pairs) => {
                let right = self.below.get(1).and_then(|it| nodes.get(*it));
                found = pairs.computed(binary, [left, right]);
            }
        }
        self.settle(found)
    }

    fn settle(&mut self, found: Vec<(u32, Option<f64>)>) -> Vec<(u32, Change)> {
        let mut changed = Vec::new();
        for (row, value) in found {
            let before = std::mem::replace(&mut self.rows[row as usize].value, value);
            let change = match (before, value) {
                (None, Some(_)) => Change::Came,
                (Some(_), None) => Change::Went,
                (None, None) => continue,
                (Some(before), Some(now)) if before.to_bits() == now.to_bits() => continue,
                (Some(_), Some(_)) => Change::Moved,
            };
            match change {
                Change::Came => self.present += 1,
                Change::Went => self.present -= 1,
                Change::Moved => {}
            }
            changed.push((row, change));
        }
        changed
    }

    /// Two rows are there where only one may be: the answer is an error.
    pub(super) fn clashes(&self, nodes: &[Self]) -> bool {
        let Op::Matched(_, pairs) = &self.op else {
            return false;
        };
        let left = self.below.first().and_then(|it| nodes.get(*it));
        let any_left = left.is_some_and(|it| it.present > 0);
        pairs.is_crowded(any_left)
    }

    /// Makes rows of what is new below.
    fn grow(&mut self, nodes: &[Self]) {
        let mut made: Vec<(Labels, bool)> = Vec::new();
        let below = |at: usize| self.below.get(at).and_then(|it| nodes.get(*it));
        let left = below(0).map_or(&[][..], |it| &it.rows[..]);
        let right = below(1).map_or(&[][..], |it| &it.rows[..]);
        match &mut self.op {
            Op::Leaf(_) | Op::Constant(_) | Op::Absent(_) => {}
            Op::WithScalar(with) => {
                let drops = with.return_bool || pieces::makes_another_metric(with.op);
                let new = left.iter().skip(self.rows.len());
                made.extend(new.map(|it| (it.labels.clone(), it.drop_name || drops)));
            }
            Op::Math(_) => {
                let new = left.iter().skip(self.rows.len());
                made.extend(new.map(|it| (it.labels.clone(), true)));
            }
            Op::Aggregate(aggregate, groups) => {
                for row in left.iter().skip(groups.len()) {
                    let labels = pieces::group_labels(aggregate, &row.labels);
                    made.extend(groups.join(labels, 0.0).map(|it| (it, row.drop_name)));
                }
            }
            Op::Quantile(_, groups) => {
                for row in left.iter().skip(groups.len()) {
                    match pieces::bucket(&row.labels) {
                        Some((labels, bound)) => {
                            made.extend(groups.join(labels, bound).map(|it| (it, true)));
                        }
                        None => groups.leave_out(),
                    }
                }
            }
            Op::Matched(binary, pairs) => {
                made.extend(pairs.grow(binary, [left, right]).into_iter().map(|row| {
                    let labels = pieces::matched_labels(binary, &row.labels);
                    (labels, row.drop_name || binary.return_bool)
                }));
            }
            Op::Set(binary, pairs) => {
                let new = pairs.grow(binary, [left, right]).into_iter();
                made.extend(new.map(|it| (it.labels.clone(), it.drop_name)));
            }
        }
        for (labels, drop_name) in made {
            self.add_row(labels, drop_name);
        }
    }
}

//! What each node of a query took: which samples it read, what it gave, how long it was under way.
//!
//! Guarantees: nodes stand in the order in which they were begun, each below the one that asked for it. Without a
//! trace nothing of it costs anything. Never reads a clock: whoever asks gives one.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use crate::ast::Expr;

/// Nodes of one query: the parser takes no deeper ones, and no more text.
const NODES_MAX: usize = 10_000;

/// A node of a query that was evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeUsage {
    /// How many nodes it is below; those that follow with a larger number are its own.
    pub depth: usize,
    /// It, on one line.
    pub expr: String,
    /// Evaluation times.
    pub steps: usize,
    /// What is read from the store, where it is a selection.
    pub selection: Option<Selection>,
    /// Series that it gave.
    pub series: usize,
    /// Threads that computed it.
    pub threads: usize,
    /// How long it was under way, with what is below it.
    pub took: Duration,
}

/// What a selection reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// From, in milliseconds.
    pub start_ms: i64,
    /// To, included.
    pub end_ms: i64,
    /// Series with a sample there.
    pub series: u64,
    /// Samples there.
    pub samples: u64,
}

/// Records nodes.
pub(crate) struct Trace<'a> {
    clock: &'a dyn Fn() -> Duration,
    nodes: RefCell<Vec<NodeUsage>>,
    depth: Cell<usize>,
}

/// A node that is under way.
pub(crate) struct Open {
    at: usize,
    began: Duration,
}

impl<'a> Trace<'a> {
    pub(crate) fn new(clock: &'a dyn Fn() -> Duration) -> Self {
        Self {
            clock,
            nodes: RefCell::default(),
            depth: Cell::new(0),
        }
    }

    pub(crate) fn begin(&self, expr: &Expr, steps: usize) -> Open {
        let mut nodes = self.nodes.borrow_mut();
        let depth = self.depth.get();
        self.depth.set(depth + 1);
        let at = nodes.len();
        if at < NODES_MAX {
            nodes.push(NodeUsage {
                depth,
                expr: expr.to_string(),
                steps,
                selection: None,
                series: 0,
                threads: 1,
                took: Duration::ZERO,
            });
        }
        Open {
            at,
            began: (self.clock)(),
        }
    }

    pub(crate) fn end(&self, open: &Open, series: usize) {
        let took = (self.clock)().saturating_sub(open.began);
        self.depth.set(self.depth.get().saturating_sub(1));
        if let Some(node) = self.nodes.borrow_mut().get_mut(open.at) {
            (node.series, node.took) = (series, took);
        }
    }

    /// The node that was begun last reads this.
    pub(crate) fn select(&self, selection: Selection) {
        self.change(|node| node.selection = Some(selection));
    }

    /// The innermost node under way is computed by so many threads.
    pub(crate) fn threads(&self, threads: usize) {
        let depth = self.depth.get().saturating_sub(1);
        let mut nodes = self.nodes.borrow_mut();
        if let Some(node) = nodes.iter_mut().rev().find(|node| node.depth == depth) {
            node.threads = threads;
        }
    }

    fn change(&self, change: impl FnOnce(&mut NodeUsage)) {
        if let Some(node) = self.nodes.borrow_mut().last_mut() {
            change(node);
        }
    }

    pub(crate) fn nodes(self) -> Vec<NodeUsage> {
        self.nodes.into_inner()
    }
}

//! The routing tree: which receivers an alert goes to, and with whom it is told.
//!
//! Guarantees: an alert goes to the deepest routes that match, to the first branch unless that says `continue`; a
//! route has from its parent what it does not say itself, but for its time intervals. Every alert matches the root.

use std::{collections::BTreeSet, sync::Arc};

use mainstay_core::Span;

use crate::{labels::Labels, matcher::Matchers};

/// By what alerts are told together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupBy {
    /// These labels.
    Labels(BTreeSet<String>),
    /// All of them: each alert alone.
    All,
}

impl GroupBy {
    /// The labels of an alert's group.
    pub fn of(&self, labels: &Labels) -> Labels {
        match self {
            Self::All => labels.clone(),
            Self::Labels(names) => labels.kept(|name, _| names.contains(name)),
        }
    }
}

/// How a group of alerts is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manner {
    /// To whom.
    pub receiver: Arc<str>,
    /// With which others.
    pub group_by: GroupBy,
    /// How long a new group waits for more.
    pub group_wait: Span,
    /// How long until changes are told.
    pub group_interval: Span,
    /// How long until it is said again.
    pub repeat_interval: Span,
    /// When it is not told.
    pub mute: Vec<String>,
    /// When alone it is told.
    pub active: Vec<String>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What it is known by in the keys of groups.
    pub key: String,
    /// What it is about.
    pub matchers: Matchers,
    /// Whether later branches are asked too.
    pub goes_on: bool,
    /// How it tells.
    pub manner: Manner,
    /// Its branches.
    pub children: Vec<RouteId>,
}

/// A route's place in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(usize);

/// All routes; the first is the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(Vec<Route>);

impl Tree {
    /// A tree of its root.
    pub fn new(manner: Manner) -> Self {
        Self(vec![Route {
            key: "{}".to_owned(),
            matchers: Matchers::default(),
            goes_on: false,
            manner,
            children: Vec::new(),
        }])
    }

    /// The root.
    pub const ROOT: RouteId = RouteId(0);

    /// Adds a branch below `parent`, after those that it has.
    pub fn add(
        &mut self,
        parent: RouteId,
        matchers: Matchers,
        goes_on: bool,
        manner: Manner,
    ) -> RouteId {
        let id = RouteId(self.0.len());
        let matchers = matchers.sorted();
        self.0.push(Route {
            key: format!("{}/{matchers}", self.get(parent).key),
            matchers,
            goes_on,
            manner,
            children: Vec::new(),
        });
        if let Some(parent) = self.0.get_mut(parent.0) {
            parent.children.push(id);
        }
        id
    }

    /// One route. Only a tree makes ids, and no route is removed.
    pub fn get(&self, id: RouteId) -> &Route {
        &self.0[id.0]
    }

    /// From the root down.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    /// Where an alert goes: at least one route.
    pub fn matching(&self, labels: &Labels) -> Vec<RouteId> {
        let mut found = Vec::new();
        self.collect(Self::ROOT, labels, &mut found);
        found
    }

    /// Adds what matches at `id` and below; says whether anything did.
    fn collect(&self, id: RouteId, labels: &Labels, found: &mut Vec<RouteId>) -> bool {
        let route = self.get(id);
        if !route.matchers.matches(labels) {
            return false;
        }
        let before = found.len();
        for &child in &route.children {
            let matched = self.collect(child, labels, found);
            if matched && !self.get(child).goes_on {
                break;
            }
        }
        if found.len() == before {
            found.push(id);
        }
        true
    }
}

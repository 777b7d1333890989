//! How much was received, by protocol, and what became of it.
//!
//! Guarantees: counters only grow; their number is bounded by the protocols and the reasons, which are words of
//! this program. Never holds its lock for longer than it takes to add.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::delivery::Refused;

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Remote write 1.0.
    RemoteWrite1,
    /// Remote write 2.0.
    RemoteWrite2,
    /// OTLP over HTTP.
    Otlp,
}

impl Way {
    /// Its label.
    pub fn word(self) -> &'static str {
        match self {
            Self::RemoteWrite1 => "remote-write-1",
            Self::RemoteWrite2 => "remote-write-2",
            Self::Otlp => "otlp",
        }
    }
}

/// Counters, shared.
#[derive(Clone, Debug, Default)]
pub struct Received(Arc<Mutex<BTreeMap<(Way, &'static str), u64>>>);

/// The outcome of what was written.
const WRITTEN: &str = "written";

impl Received {
    /// One delivery has been dealt with.
    pub(crate) fn count(&self, way: Way, written: u64, refused: &Refused) {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (outcome, count) in refused.by_reason().chain([(WRITTEN, written)]) {
            *counters.entry((way, outcome)).or_default() += count;
        }
    }

    /// Each way and outcome with its count, in a fixed order.
    pub fn listed(&self) -> Vec<(&'static str, &'static str, u64)> {
        let counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = counters.iter();
        listed
            .map(|((way, outcome), count)| (way.word(), *outcome, *count))
            .collect()
    }
}

//! Appends in one line, and a projection that counts.

use mainstay_core::{Actor, Append, Entry, Expected, NewEntry, StreamId, Time};
use mainstay_store::{Options, Projection, Store};
use std::sync::Arc;

pub(crate) fn expected(stream: &str, version: u64) -> Expected {
    Expected {
        stream: StreamId::new(stream),
        version,
    }
}

pub(crate) fn new_entry(stream: &str, kind: &str, body: &str) -> NewEntry {
    NewEntry {
        stream: StreamId::new(stream),
        kind: kind.to_owned(),
        schema: 1,
        body: body.to_owned(),
    }
}

pub(crate) fn appending(expected: Vec<Expected>, entries: Vec<NewEntry>) -> Append {
    Append {
        actor: Actor::verified("ana"),
        at: Time::from_millis(1_000),
        expected,
        entries,
    }
}

/// One entry on `stream`, which is believed to have `version` entries.
pub(crate) fn one(stream: &str, version: u64) -> Append {
    appending(
        vec![expected(stream, version)],
        vec![new_entry(stream, "test.happened", "{\"n\":1}")],
    )
}

/// Counts the entries of each stream; an entry of kind `test.forgotten` deletes the row.
pub(crate) struct Counts;

impl Projection for Counts {
    fn name(&self) -> &'static str {
        "counts"
    }
    fn keys(&self, entry: &Entry) -> Vec<String> {
        vec![entry.stream.to_string()]
    }
    fn fold(&self, _key: &str, current: Option<&str>, entry: &Entry) -> Option<String> {
        let count: u64 = current.map_or(0, |count| count.parse().unwrap());
        (entry.kind != "test.forgotten").then(|| (count + 1).to_string())
    }
}

pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.projections.push(Arc::new(Counts));
    options
}

pub(crate) async fn keys(store: &Store, prefix: &str, after: Option<&str>) -> Vec<String> {
    let rows = store.list("counts", prefix, after, 2).await.unwrap();
    rows.into_iter().map(|row| row.key).collect()
}

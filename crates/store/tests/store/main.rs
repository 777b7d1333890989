//! The store as its users see it, on each engine.
#![expect(
    clippy::unwrap_used,
    reason = "the checks are plain functions that tests of each engine call"
)]

mod conformance;
mod killed;
mod ledger;
mod pg;
mod postgres;
mod records;
mod sqlite;
mod support;

//! The router against real upstreams on loopback.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its world must fail there"
)]

mod health;
mod limit;
mod limits;
mod metrics;
mod probes;
mod protocol;
mod routing;
mod world;

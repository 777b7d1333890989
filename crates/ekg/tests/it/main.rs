//! Monitoring against real sockets, and its answers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod histograms;
mod kept;
mod message;
mod remote;
mod scraping;
mod secured;
mod signals;
mod world;

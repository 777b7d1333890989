//! The machines in the world: HTTP in, messages out, records on disk.
//!
//! Guarantees: an alert or a silence that was answered with 200 is on disk; a message that got there is noted on disk
//! right after. A start gives back alerts, silences and what was told. A wrong configuration changes nothing. Never
//! lets a channel that hangs keep another waiting.

mod api;
mod channel;
mod client;
mod email;
pub mod incidents;
mod journal;
mod metrics;
mod service;

pub use client::ClientError;
pub use journal::JournalError;
pub use service::{Options, Service, StartError};

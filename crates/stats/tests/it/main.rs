//! What the crate promises: against other programs, by simulation, and as properties.

#![expect(
    clippy::unwrap_used,
    reason = "a case that cannot be built fails its test"
)]

mod dice;
mod oracle;
mod properties;
mod sequential;
mod simulated;

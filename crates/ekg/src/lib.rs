//! Monitoring: scraping, signals and exact counts.
//!
//! Guarantees: what a target says is taken whole or refused with its place; what is refused is counted. It
//! never invents a sample.

pub mod text;

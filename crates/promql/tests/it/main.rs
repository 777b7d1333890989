//! Tests of the crate from outside.

mod parse_differential;
mod promqltest;
mod script;

//! Tests of the crate from outside.

mod limits;
mod parse_differential;
mod promqltest;

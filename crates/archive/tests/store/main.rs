//! Copies of a real engine in a folder, and days of it in Parquet.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

mod days;
mod engine;
mod parts;

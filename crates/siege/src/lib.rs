//! A running server, besieged from outside: who sends to it, kills it and measures it knows nothing of its inside.
//!
//! Guarantees: what is sent is known in advance, so that an answer is right or wrong; everything random is drawn
//! from a seed. Never part of what operators run: tests, `cargo xtask crash` and the benchmarks use it. It knows no
//! other room, because it plays the same against peers.
//!
//! ```
//! use mainstay_siege::WriteRequest;
//! let mut request = WriteRequest::default();
//! request.series(&[("__name__", "up"), ("job", "shop")], &[(1_700_000_000_000, 1.0)]);
//! assert!(request.packed().is_ok());
//! ```

pub mod crash;
mod disk;
mod http;
mod process;
mod sink;
mod write;

pub use disk::SmallDisk;
pub use http::{Answer, Connection};
pub use process::{Server, Usage, free_address, usage};
pub use sink::Sink;
pub use write::{WRITE_HEADERS, WriteRequest};

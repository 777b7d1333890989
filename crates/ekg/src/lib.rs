//! Monitoring: scraping, signals and exact counts.
//!
//! Guarantees: what a target says is taken whole or refused with its place; a series that is gone is marked
//! as gone; what is refused is counted. Counts add up samples that exist. It never invents a sample, never
//! reads a clock of its own, and never calls a value measured to which no sample contributed.
//!
//! ```
//! use mainstay_core::Time;
//! use mainstay_ekg::Ekg;
//! use mainstay_tsdb::{Head, HeadLimits};
//! let head = Head::new(HeadLimits::default());
//! let ekg = Ekg::over(head.tsdb());
//! let answer = ekg.query("1 + 1", Time::from_millis(5_000)).json();
//! assert_eq!(answer["data"]["result"], serde_json::json!([5, "2"]));
//! assert!(ekg.eval("1 + 1", Time::from_millis(5_000)).is_none());
//! ```

pub mod adapter;
mod age;
mod answer;
pub mod backend;
pub mod blocks;
mod cardinality;
mod delivery;
pub mod exemplars;
mod federate;
mod gzip;
mod handle;
pub mod import;
pub mod job;
pub mod metadata;
mod monitors;
mod native;
mod nhcb;
pub mod otlp;
mod parcel;
mod past;
mod plan;
pub mod prometheus;
pub mod protobuf;
pub mod read;
pub mod rehearsal;
pub mod relabel;
pub mod remote;
mod rules;
mod shown;
mod storage;
mod summaries;
pub mod text;
mod tree;
mod window;
mod wire;
pub mod write;

pub use handle::{Ekg, QUERY_WITHIN, QueryError, Refusals, Stats, Terms};
pub use past::Past;
pub use rules::{GroupSeen, RuleFilter, RuleKind};
pub use shown::Shown;
pub use window::{Coverage, WindowCount};
pub use wire::{WireError, WireErrorKind};

//! PromQL: a parser with spans and a step-vectorised evaluator over columnar storage.
//!
//! Guarantees: an answer is Prometheus' answer, with its warnings and infos ([`Note`]), or there is a typed
//! [`Error`] with its place in the query. It never writes, never reads a clock, stays under
//! [`EngineOptions`]' limits, and stops soon after whoever asked says so.
//!
//! ```
//! use mainstay_promql::{ErrorKind, Query};
//! let error = Query::parse("sum(rate(errors_total[5m]) by (job)").unwrap_err();
//! assert_eq!(error.position.to_string(), "1:28");
//! assert!(matches!(error.kind, ErrorKind::Syntax { .. }));
//! ```

pub mod ast;
mod column;
mod engine;
mod error;
mod eval;
mod functions;
mod histogram;
mod lexer;
mod meter;
mod note;
mod number;
mod parser;
pub mod pieces;
mod plan;
mod print;
mod result;
pub mod script;
mod span;
mod storage;
mod summaries;
mod trace;

pub use engine::{Ask, Engine, EngineOptions, Query, When};
pub use error::{Error, ErrorKind};
pub use functions::Function;
pub use histogram::{CUSTOM_SCHEMA, Histogram, PopulatedBucket, ResetHint, Slot};
pub use meter::{Pool, Usage};
pub use note::{MAX_NOTES, Note, Notes, Severity};
pub use parser::{MAX_QUERY_BYTES, ParserOptions, parse, parse_with};
pub use plan::Plan;
pub use print::pretty;
pub use result::{Answer, HistogramSample, InstantSeries, QueryResult, RangeSeries, Sample};
pub use span::{Position, Span};
pub use storage::{Extent, Labels, METRIC_NAME, MatchOp, Matcher, Series, Storage, StorageError};
pub use summaries::SUMMARY_LABEL;
pub use trace::{NodeUsage, Selection};

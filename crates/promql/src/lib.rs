//! PromQL: a parser with spans and a step-vectorised evaluator over columnar storage.
//!
//! Guarantees: an answer is Prometheus' answer, or there is a typed [`Error`] with its place in the query;
//! what Prometheus has and this engine lacks (native histograms, duration expressions, `anchored`, `smoothed`,
//! `fill`, `info`, `limitk`, `sort_by_label`) is [`ErrorKind::Unsupported`]. It never writes, never reads a
//! clock, and stays under [`EngineOptions`]' limits. Warnings and infos of Prometheus are not produced.
//!
//! ```
//! use mainstay_promql::{ErrorKind, Query};
//! let error = Query::parse("sum(rate(errors_total[5m]) by (job)").unwrap_err();
//! assert_eq!(error.position.to_string(), "1:28");
//! assert!(matches!(error.kind, ErrorKind::Syntax { .. }));
//! ```

pub mod ast;
mod engine;
mod error;
mod eval;
mod functions;
mod lexer;
mod parser;
mod result;
mod span;
mod storage;

pub use engine::{Engine, EngineOptions, Query};
pub use error::{Error, ErrorKind};
pub use functions::Function;
pub use parser::{MAX_QUERY_BYTES, parse};
pub use result::{InstantSeries, QueryResult, RangeSeries, Sample};
pub use span::{Position, Span};
pub use storage::{Labels, METRIC_NAME, MatchOp, Matcher, Series, Storage, StorageError};

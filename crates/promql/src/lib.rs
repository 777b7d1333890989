//! PromQL: a parser with spans and a step-vectorised evaluator over columnar storage.

#![expect(dead_code, reason = "the evaluator that uses the rest comes next")]

pub mod ast;
mod error;
mod eval;
mod functions;
mod lexer;
mod parser;
mod span;
mod storage;

pub use error::{Error, ErrorKind};
pub use functions::Function;
pub use parser::{MAX_QUERY_BYTES, parse};
pub use span::{Position, Span};
pub use storage::{Labels, METRIC_NAME, MatchOp, Matcher, Series, Storage, StorageError};

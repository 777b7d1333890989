//! What can go wrong with a query, and where in it.
//!
//! Guarantees: each error about the text carries its span. A construct that Prometheus knows and this engine
//! does not is [`ErrorKind::Unsupported`], never a wrong answer.

use crate::{Position, Span, StorageError};

/// An error with its place in the query.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{position}: {kind}")]
pub struct Error {
    /// What happened.
    pub kind: ErrorKind,
    /// Where, in bytes.
    pub span: Span,
    /// Where, for people.
    pub position: Position,
}

/// The kinds of errors.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ErrorKind {
    /// The text is not PromQL.
    #[error("expected {expected}, found {found}")]
    Syntax {
        /// What would have been accepted.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// The text is well formed, but means nothing.
    #[error("{0}")]
    Invalid(String),
    /// Prometheus knows it, this engine does not.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The data does not fit the operation.
    #[error("{0}")]
    Execution(String),
    /// More than a limit allows.
    #[error("{what}: {value} is over the limit of {limit}: ask for less at once")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// How much the query wants (a lower bound if it was stopped on the way).
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// All queries together hold more than a limit allows.
    #[error(
        "all queries together hold {held} samples, the limit is {limit}: ask again when others are answered"
    )]
    Crowded {
        /// What they would hold.
        held: u64,
        /// The limit.
        limit: u64,
    },
    /// Whoever asked no longer waits: a timeout, or the connection is gone.
    #[error("the query was interrupted")]
    Interrupted,
    /// The storage refused.
    #[error("storage: {0}")]
    Storage(#[source] StorageError),
}

/// An error that still has to learn its position.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) span: Span,
}

impl Fault {
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "every outcome carries the box, so that it stays one word"
    )]
    pub(crate) fn new(kind: ErrorKind, span: Span) -> Box<Self> {
        Box::new(Self { kind, span })
    }

    pub(crate) fn invalid<T>(span: Span, message: impl Into<String>) -> Result<T, Box<Self>> {
        Err(Self::new(ErrorKind::Invalid(message.into()), span))
    }

    pub(crate) fn unsupported<T>(span: Span, what: impl Into<String>) -> Result<T, Box<Self>> {
        Err(Self::new(ErrorKind::Unsupported(what.into()), span))
    }

    pub(crate) fn execution<T>(span: Span, message: impl Into<String>) -> Result<T, Box<Self>> {
        Err(Self::new(ErrorKind::Execution(message.into()), span))
    }

    pub(crate) fn placed(&self, text: &str) -> Error {
        Error {
            position: self.span.position(text),
            kind: self.kind.clone(),
            span: self.span,
        }
    }
}

pub(crate) type Outcome<T> = Result<T, Box<Fault>>;

//! Where something stands in a query.
//!
//! Guarantees: byte offsets into the query's text; it never refers to characters. Positions for people count
//! lines and characters from one.
//!
//! ```
//! use mainstay_promql::{Position, Span};
//! let at = Span { start: 6, end: 7 }.position("a +\n  b");
//! assert_eq!(at, Position { line: 2, column: 3 });
//! ```

use std::fmt;

/// A byte range of the query, end excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    pub(crate) fn to(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    /// Line and column of the first byte in `text`.
    pub fn position(self, text: &str) -> Position {
        let mut position = Position { line: 1, column: 1 };
        for (at, c) in text.char_indices() {
            if at >= self.start {
                break;
            }
            if c == '\n' {
                position.line += 1;
                position.column = 1;
            } else {
                position.column += 1;
            }
        }
        position
    }
}

/// Line and column, both from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Position {
    /// Line, from one.
    pub line: usize,
    /// Character in the line, from one.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

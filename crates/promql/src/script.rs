//! Test scripts in the format of Prometheus's `promqltest`: load series, evaluate, compare.
//!
//! Guarantees: each instant evaluation is repeated with `@` on every selector and subquery at other times, and
//! as the middle step of a range query, as the reference does; what fails names its line, what was wanted and
//! what was found. A script that cannot be read is a [`ScriptError`] with its line, never a panic.
//!
//! ```
//! let report = mainstay_promql::script::run(
//!     "load 1m\n  up{job=\"a\"} 1 0 1\n\neval instant at 2m sum(up)\n  {} 1\n",
//! ).unwrap();
//! assert_eq!((report.passed, report.failures.len()), (1, 0));
//! ```

use std::fmt;

mod command;
mod histogram;
mod judge;
mod pinned;
mod points;
mod runner;
mod store;

pub use judge::is_alike;
pub use runner::run;
pub use store::{Grid, Memory};

use crate::{Histogram, Labels};

/// Labels as scripts write them: `up{job="a"}`, `{}`, or nothing.
pub fn read_labels(text: &str) -> Result<Labels, String> {
    points::labels(text.trim())
}

/// A native histogram as scripts write it: `{{schema:1 count:3 sum:4 buckets:[1 2]}}`.
pub fn read_histogram(text: &str) -> Result<Histogram, String> {
    histogram::read(text.trim()).map(|(histogram, _)| histogram)
}

/// Samples one query of a script may hold, as in the reference's engine.
const MAX_SAMPLES: u64 = 10_000;

/// Points that one word of a script may stand for.
const MAX_REPEATS: usize = 1_000_000;

/// What a script gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Evaluations that came out as wanted.
    pub passed: usize,
    /// Those that did not, in the order of the script.
    pub failures: Vec<Failure>,
}

/// An evaluation that came out otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its line in the script, from one.
    pub line: usize,
    /// The query.
    pub query: String,
    /// In which of the repetitions it failed; empty for the evaluation as written.
    pub variant: String,
    /// What the script wants.
    pub wanted: String,
    /// What came out.
    pub found: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "line {}: {}", self.line, self.query)?;
        if !self.variant.is_empty() {
            writeln!(f, "  {}", self.variant)?;
        }
        writeln!(f, "  wanted: {}", self.wanted.replace('\n', "\n    "))?;
        write!(f, "  found:  {}", self.found.replace('\n', "\n    "))
    }
}

/// A script that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ScriptError {
    /// The line, from one.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

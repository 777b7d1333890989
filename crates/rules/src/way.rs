//! The three ways in which a rule is kept up to date, and why it takes the one it takes.

use std::fmt;

use mainstay_core::Span;
use mainstay_promql::Query;

use crate::{
    Kind, Rule, Watched,
    stream::{Stream, Uncompiled},
};

/// How a rule is kept up to date.
#[derive(Debug, Clone)]
pub enum Way {
    /// Each sample moves what it leads to.
    Streamed(Box<Stream>),
    /// It is evaluated as a whole when samples arrive that it selects.
    Whole {
        /// Why it has no incremental form.
        why: Uncompiled,
        /// What it selects.
        watched: Watched,
    },
    /// It is evaluated at its group's interval.
    Ticked {
        /// Why it has no incremental form.
        why: Uncompiled,
        /// Why arrivals do not move it.
        still: Still,
    },
}

/// Why what arrives does not have a rule evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Still {
    /// What it makes is written at intervals anyway.
    Records,
    /// It looks at no sample of now.
    LooksElsewhere,
}

impl fmt::Display for Still {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Records => "what it records is written at intervals anyway",
            Self::LooksElsewhere => "no selector of it looks at samples of now",
        })
    }
}

impl Way {
    /// The way of `rule`, whose samples count as current for `lookback`.
    pub fn of(rule: &Rule, lookback: Span) -> Self {
        let lookback_ms = i64::try_from(lookback.millis()).unwrap_or(i64::MAX);
        match Stream::compile(&rule.query, lookback_ms, 0) {
            Ok(stream) => Self::Streamed(Box::new(stream)),
            Err(why) => not_streamed(&rule.kind, &rule.query, why),
        }
    }
}

fn not_streamed(kind: &Kind, query: &Query, why: Uncompiled) -> Way {
    match kind {
        Kind::Record(_) => Way::Ticked {
            why,
            still: Still::Records,
        },
        Kind::Alert { .. } => {
            let watched = Watched::of(query);
            if watched.is_empty() {
                let still = Still::LooksElsewhere;
                return Way::Ticked { why, still };
            }
            Way::Whole { why, watched }
        }
    }
}

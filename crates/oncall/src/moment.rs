//! Arithmetic of instants and spans.
//!
//! Guarantees: never wraps: beyond what a calendar holds it stays at the last instant.

use jiff::{SignedDuration, Timestamp};
use mainstay_core::Span;

/// `span` after `at`.
pub fn after(at: Timestamp, span: Span) -> Timestamp {
    let millis = i64::try_from(span.millis()).unwrap_or(i64::MAX);
    let later = at.saturating_add(SignedDuration::from_millis(millis));
    later.unwrap_or(Timestamp::MAX)
}

/// `span` before `at`.
pub fn before(at: Timestamp, span: Span) -> Timestamp {
    let millis = i64::try_from(span.millis()).unwrap_or(i64::MAX);
    let earlier = at.saturating_sub(SignedDuration::from_millis(millis));
    earlier.unwrap_or(Timestamp::MIN)
}

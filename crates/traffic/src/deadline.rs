//! How long a request may still take.
//!
//! **Guarantees.** A child's budget is never more than its parent's remaining one, nor than the
//! service's own timeout. **Never** trusts a header to lengthen anything.
//!
//! ```
//! use mainstay_core::Span;
//! use mainstay_traffic::budget;
//! assert_eq!(budget(Span::from_secs(2), Some("150")), Span::from_millis(150));
//! assert_eq!(budget(Span::from_secs(2), Some("9000")), Span::from_secs(2));
//! ```

use mainstay_core::Span;

/// Carries the remaining budget in whole milliseconds.
pub const DEADLINE_HEADER: &str = "x-mainstay-deadline-ms";

/// The budget of a request: the service's timeout, or what its parent has left if that is less. A
/// header that is no number is as if it were not there.
pub fn budget(timeout: Span, header: Option<&str>) -> Span {
    header
        .and_then(|text| text.trim().parse().ok())
        .map_or(timeout, |ms| timeout.min(Span::from_millis(ms)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_header_lengthens_a_budget(text in "\\PC{0,24}", timeout in 0_u64..100_000) {
            let timeout = Span::from_millis(timeout);
            prop_assert!(budget(timeout, Some(&text)) <= timeout);
        }
    }

    #[test]
    fn a_header_that_is_no_number_changes_nothing() {
        assert_eq!(budget(Span::from_secs(1), Some("-5")), Span::from_secs(1));
        assert_eq!(budget(Span::from_secs(1), None), Span::from_secs(1));
        assert_eq!(budget(Span::from_secs(1), Some("0")), Span::ZERO);
    }
}

//! A computation that may die without taking its caller along.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `compute` gives; the words of its panic where it died. What it had in hand is not to be used again.
pub(crate) fn guarded<T>(compute: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(compute)).map_err(|died| {
        let text = died.downcast_ref::<&str>().map(|it| (*it).to_owned());
        let text = text.or_else(|| died.downcast_ref::<String>().cloned());
        text.unwrap_or_else(|| "it gave no reason".to_owned())
    })
}

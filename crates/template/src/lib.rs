//! Texts in Go's template language, as far as those of rules and those of notifications share it.
//!
//! Guarantees: pure; a function that gets what it cannot take says which argument. Never runs a query, never reads a
//! clock.
//!
//! ```
//! let known = |name: &str| name == "toUpper";
//! assert_eq!(mainstay_template::unknown("{{ toUpper .Name }}", known)?, None);
//! let unknown = mainstay_template::unknown("{{ shout .Name }}", known)?;
//! assert_eq!(unknown.as_deref(), Some("shout"));
//! # Ok::<(), gotmpl::TemplateError>(())
//! ```

mod functions;
mod names;

use std::{collections::BTreeMap, sync::Arc};

use gotmpl::Value;

pub use functions::{
    Function, Outcome, SHARED, humanize, number, regex, significant, string, wrong,
};
pub use names::unknown;

/// A text.
pub fn text(text: &str) -> Value {
    Value::String(text.into())
}

/// Values by name.
pub fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let entries = entries.into_iter().map(|(name, it)| (name.into(), it));
    Value::Map(Arc::new(entries.collect::<BTreeMap<_, _>>()))
}

/// Texts by name.
pub fn texts<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    map(entries.into_iter().map(|(name, it)| (name, text(it))))
}

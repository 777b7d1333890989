//! An answer to a query, as it is sent.
//!
//! Guarantees: however many numbers a result has, they stand in no tree: each series of a matrix is written once, as
//! the text that is sent. The envelope around them stays a tree, which others may add to.

use serde_json::Value;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Prometheus's envelope, whole but for what `series` has.
    pub envelope: Value,
    /// What `/data/result` is, one JSON text an entry; where `None`, it is in the envelope.
    pub series: Option<Vec<String>>,
}

impl From<Value> for Shown {
    fn from(envelope: Value) -> Self {
        Self {
            envelope,
            series: None,
        }
    }
}

impl Shown {
    /// All of it as one tree, for who wants to look inside.
    pub fn json(self) -> Value {
        let mut answer = self.envelope;
        if let Some(series) = self.series {
            let parsed = |text: &String| serde_json::from_str::<Value>(text).unwrap_or_default();
            answer["data"]["result"] = series.iter().map(parsed).collect();
        }
        answer
    }
}

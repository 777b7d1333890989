//! Answers to queries: an envelope, and the series of a large result as texts beside it.
//!
//! Guarantees: what is sent is the envelope with the series in their place, whoever computed them.

use serde_json::{Value, json};

/// How an empty place for a result is written: what it is in no text, since a text would have its quotes escaped.
const PLACE: &str = "\"result\":null";
/// What is said of a result that was cut.
const CUT: &str = "results truncated due to limit";

/// An answer in Prometheus's envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The envelope, whole but for what `series` has.
    pub envelope: Value,
    /// What `/data/result` is, one JSON text an entry; where `None`, it is in the envelope.
    pub series: Option<Vec<String>>,
}

impl From<Value> for Answer {
    fn from(envelope: Value) -> Self {
        Self {
            envelope,
            series: None,
        }
    }
}

impl Answer {
    /// Cuts the result to so many series, and says so in the answer.
    pub(super) fn limit(&mut self, limit: Option<usize>) {
        match (&mut self.series, limit) {
            (Some(series), Some(limit)) if series.len() > limit => {
                series.truncate(limit);
                warn(&mut self.envelope);
            }
            (Some(_), _) => {}
            (None, _) => limit_to(&mut self.envelope, "/data/result", limit),
        }
    }

    /// As it is sent.
    pub(super) fn text(mut self) -> String {
        let Some(series) = self.series else {
            return self.envelope.to_string();
        };
        self.envelope["data"]["result"] = Value::Null;
        let around = self.envelope.to_string();
        // The type of a result is all that stands before it.
        let (before, after) = around.split_once(PLACE).unwrap_or((&around, ""));
        let bytes: usize = series.iter().map(|it| it.len() + 1).sum();
        let mut text = String::with_capacity(around.len() + bytes + PLACE.len());
        text.push_str(before);
        text.push_str("\"result\":");
        let mut open = '[';
        for one in &series {
            text.push(open);
            text.push_str(one);
            open = ',';
        }
        text.push_str(if series.is_empty() { "[]" } else { "]" });
        text.push_str(after);
        text
    }
}

/// Cuts the list at `place` to `limit` entries, and says so in the answer.
pub(super) fn limit_to(answer: &mut Value, place: &str, limit: Option<usize>) {
    // A scalar and a string are a time and a value, which is no list of series.
    let one = matches!(
        answer.pointer("/data/resultType").and_then(Value::as_str),
        Some("scalar" | "string")
    );
    let (Some(limit), false) = (limit, one) else {
        return;
    };
    let Some(list) = answer.pointer_mut(place).and_then(Value::as_array_mut) else {
        return;
    };
    if list.len() > limit {
        list.truncate(limit);
        warn(answer);
    }
}

fn warn(answer: &mut Value) {
    match answer["warnings"].as_array_mut() {
        Some(warnings) => warnings.push(CUT.into()),
        None => answer["warnings"] = json!([CUT]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(series: &[&str]) -> Answer {
        let envelope = json!({
            "status": "success",
            "data": { "resultType": "matrix", "result": [], "stats": { "note": "\"result\":null" } },
        });
        Answer {
            envelope,
            series: Some(series.iter().map(|it| (*it).to_owned()).collect()),
        }
    }

    #[test]
    fn series_stand_where_the_result_is() {
        for series in [&[][..], &["{\"a\":1}"][..], &["{\"a\":1}", "{\"b\":2}"][..]] {
            let sent: Value = serde_json::from_str(&answer(series).text()).unwrap();
            let wanted: Value = serde_json::from_str(&format!("[{}]", series.join(","))).unwrap();
            assert_eq!(sent["data"]["result"], wanted);
            assert_eq!(sent["data"]["stats"]["note"], "\"result\":null");
            assert_eq!(sent["status"], "success");
        }
    }

    #[test]
    fn a_cut_result_says_so() {
        let mut cut = answer(&["1", "2", "3"]);
        cut.limit(Some(2));
        let sent: Value = serde_json::from_str(&cut.text()).unwrap();
        assert_eq!(sent["data"]["result"], json!([1, 2]));
        assert_eq!(sent["warnings"], json!([CUT]));
        let mut whole = answer(&["1", "2"]);
        whole.limit(Some(2));
        assert_eq!(whole, answer(&["1", "2"]));
    }
}

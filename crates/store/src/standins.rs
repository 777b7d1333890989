//! Who was entered as standing in on call, in rows that are found by schedule and end.
//!
//! Guarantees: a row's key is `row/SCHEDULE/END/CHANGE.PLACE`, its end in milliseconds with twenty digits, so that what
//! is over need not be read; what was withdrawn keeps its row and says when. Beside them stands `head/SCHEDULE`, the last
//! entry about it: its position only grows. Never judges an entry.

use mainstay_core::{
    Entry,
    oncall::{STOOD_IN, WITHDRAWN},
};
use serde_json::{Value, json};

use crate::projection::Projection;

/// Keeps who stands in under the name `standins`.
#[derive(Debug, Clone, Copy, Default)]
pub struct StandInProjection;

impl Projection for StandInProjection {
    fn name(&self) -> &'static str {
        "standins"
    }

    fn keys(&self, entry: &Entry) -> Vec<String> {
        let by = match entry.kind.as_str() {
            STOOD_IN => "/change",
            WITHDRAWN => "/enteredBy",
            _ => return Vec::new(),
        };
        let Ok(body) = serde_json::from_str::<Value>(&entry.body) else {
            return Vec::new();
        };
        let text = |pointer: &str| body.pointer(pointer)?.as_str().map(str::to_owned);
        let number = |pointer: &str| body.pointer(pointer)?.as_u64();
        let found = text("/schedule")
            .zip(text(by))
            .zip(number("/until").zip(number("/place")));
        let Some(((schedule, change), (until, place))) = found else {
            return Vec::new();
        };
        vec![
            format!("row/{schedule}/{until:020}/{change}.{place}"),
            format!("head/{schedule}"),
        ]
    }

    fn fold(&self, key: &str, current: Option<&str>, entry: &Entry) -> Option<String> {
        if key.starts_with("head/") {
            return Some(json!({ "seq": entry.seq, "at": entry.at }).to_string());
        }
        if entry.kind == STOOD_IN {
            let body: Value = serde_json::from_str(&entry.body).ok()?;
            let row = json!({ "entered": body, "seq": entry.seq, "actor": entry.actor });
            return Some(row.to_string());
        }
        let mut row: Value = serde_json::from_str(current?).ok()?;
        row["withdrawnAt"] = json!(entry.at);
        Some(row.to_string())
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::{Actor, Hash, StreamId, Time};

    use super::*;

    fn entry(seq: u64, kind: &str, body: &Value) -> Entry {
        Entry {
            seq,
            stream: StreamId::new("change/chg-b"),
            version: seq,
            at: Time::from_millis(5),
            actor: Actor::verified("alice"),
            kind: kind.to_owned(),
            schema: 1,
            body: body.to_string(),
            prev: Hash::GENESIS,
            hash: Hash::GENESIS,
        }
    }

    #[test]
    fn what_is_withdrawn_keeps_the_row_it_was_entered_in_and_moves_the_head() {
        let entered =
            json!({"schedule": "feed", "change": "chg-a", "place": 0, "from": 1, "until": 7});
        let withdrawn = json!({"schedule": "feed", "enteredBy": "chg-a", "place": 0, "until": 7});
        let (first, second) = (
            entry(1, STOOD_IN, &entered),
            entry(2, WITHDRAWN, &withdrawn),
        );
        let keys = StandInProjection.keys(&first);
        assert_eq!(keys, ["row/feed/00000000000000000007/chg-a.0", "head/feed"]);
        assert_eq!(StandInProjection.keys(&second), keys);
        let row = StandInProjection.fold(&keys[0], None, &first).unwrap();
        let row = StandInProjection
            .fold(&keys[0], Some(&row), &second)
            .unwrap();
        let row: Value = serde_json::from_str(&row).unwrap();
        assert_eq!((&row["withdrawnAt"], &row["seq"]), (&json!(5), &json!(1)));
        let head = StandInProjection.fold(&keys[1], None, &second).unwrap();
        assert_eq!(head, r#"{"seq":2,"at":5}"#);
    }

    #[test]
    fn an_entry_that_cannot_be_read_touches_nothing() {
        for body in [
            json!(1),
            json!({"schedule": "feed"}),
            json!({"schedule": 1, "change": "a", "place": 0, "until": 0}),
        ] {
            assert!(
                StandInProjection
                    .keys(&entry(1, STOOD_IN, &body))
                    .is_empty()
            );
        }
    }
}

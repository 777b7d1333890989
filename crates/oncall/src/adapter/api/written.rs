//! How the API writes and reads what others know: times, alerts, questions.

use jiff::{Timestamp, tz::TimeZone};
use regex::Regex;
use reqwest::Url;
use serde_json::{Value, json};

use crate::{alert::Alert, labels::Labels, machine::Machine, matcher::Matchers};

/// RFC 3339 in UTC, with milliseconds.
pub(super) fn time(at: Timestamp) -> String {
    let utc = at.to_zoned(TimeZone::UTC);
    utc.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// A time that is said; Go's time that is none is none.
pub(super) fn read_time(text: Option<&str>) -> Result<Option<Timestamp>, String> {
    match text {
        None | Some("") => Ok(None),
        Some(text) if text.starts_with("0001-01-01T00:00:00") => Ok(None),
        Some(text) => {
            let read = text.parse::<Timestamp>().map(Some);
            read.map_err(|_| format!("`{text}` is no time; write it as 2026-11-05T18:00:00Z"))
        }
    }
}

/// What keeps an alert from being told now.
pub(super) struct Kept {
    pub(super) silenced: Vec<String>,
    pub(super) inhibited: Vec<String>,
}

impl Kept {
    pub(super) fn of(machine: &Machine, labels: &Labels, now: Timestamp) -> Self {
        let inhibiting = machine.inhibiting(labels, now);
        Self {
            silenced: machine.silences().silencing(labels, now),
            inhibited: inhibiting.iter().map(ToString::to_string).collect(),
        }
    }
}

/// An alert with its state.
pub(super) fn alert(alert: &Alert, kept: &Kept, muted: &[String], receivers: &[&str]) -> Value {
    let is_kept = !(kept.silenced.is_empty() && kept.inhibited.is_empty() && muted.is_empty());
    let receivers: Vec<_> = receivers.iter().map(|name| json!({"name": name})).collect();
    let mut written = json!({
        "annotations": alert.annotations,
        "endsAt": time(alert.ends_at),
        "fingerprint": alert.fingerprint().to_string(),
        "receivers": receivers,
        "startsAt": time(alert.starts_at),
        "status": {
            "inhibitedBy": kept.inhibited,
            "mutedBy": muted,
            "silencedBy": kept.silenced,
            "state": if is_kept { "suppressed" } else { "active" },
        },
        "updatedAt": time(alert.updated_at),
        "labels": alert.labels,
    });
    if !alert.generator_url.is_empty() {
        written["generatorURL"] = alert.generator_url.as_str().into();
    }
    written
}

/// Which alerts are asked for.
pub(super) struct Question {
    pub(super) filter: Matchers,
    receiver: Option<Regex>,
    active: bool,
    silenced: bool,
    inhibited: bool,
    muted: bool,
}

impl Question {
    /// Reads a query; what it says nothing of is asked for.
    pub(super) fn read(query: Option<&str>) -> Result<Self, String> {
        let mut question = Self {
            filter: Matchers::default(),
            receiver: None,
            active: true,
            silenced: true,
            inhibited: true,
            muted: true,
        };
        for (name, value) in pairs(query) {
            let flag = || match value.as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                other => Err(format!("{name}: `{other}` is neither true nor false")),
            };
            match name.as_str() {
                "filter" => question.filter.extend(filter(&value)?),
                "receiver" => {
                    let regex = Regex::new(&format!("^(?:{value})$"));
                    question.receiver = Some(
                        regex
                            .map_err(|error| format!("failed to parse receiver param: {error}"))?,
                    );
                }
                "active" => question.active = flag()?,
                "silenced" => question.silenced = flag()?,
                "inhibited" => question.inhibited = flag()?,
                "muted" => question.muted = flag()?,
                // Nothing is unprocessed here: an alert is taken and processed at once.
                _ => {}
            }
        }
        Ok(question)
    }

    pub(super) fn wants_receiver(&self, name: &str) -> bool {
        self.receiver.as_ref().is_none_or(|it| it.is_match(name))
    }

    pub(super) fn wants(&self, alert: &Alert, kept: &Kept, muted: bool, now: Timestamp) -> bool {
        let (silenced, inhibited) = (!kept.silenced.is_empty(), !kept.inhibited.is_empty());
        let is_active = !(silenced || inhibited || muted);
        !alert.is_resolved(now)
            && (self.active || !is_active)
            && (self.silenced || !silenced)
            && (self.inhibited || !inhibited)
            && (self.muted || !muted)
            && self.filter.matches(&alert.labels)
    }
}

/// The matchers of `filter`.
pub(super) fn filter(text: &str) -> Result<Matchers, String> {
    let read = text.parse::<Matchers>();
    read.map_err(|error| format!("bad matcher format: {text}: {error}"))
}

/// Names and values of a query, in order; a name may be there several times.
pub(super) fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    let url = Url::parse(&format!("http://query/?{}", query.unwrap_or_default()));
    let pairs = url.iter().flat_map(Url::query_pairs);
    pairs
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

//! Version 4 of the original's webhook.

use jiff::Timestamp;
use serde::Serialize;

use crate::{labels::Labels, template::Group};

/// The end of what is not over, as Go writes a time that is none.
const NEVER: &str = "0001-01-01T00:00:00Z";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    receiver: String,
    status: &'static str,
    alerts: Vec<One<'a>>,
    group_labels: &'a Labels,
    common_labels: Labels,
    common_annotations: Labels,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'static str,
    group_key: &'a str,
    truncated_alerts: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    status: &'static str,
    labels: &'a Labels,
    annotations: &'a Labels,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
}

/// The body; of more than `most` alerts the first, and how many are left out. 0 is all.
pub fn webhook(
    group: &Group<'_>,
    group_key: &str,
    most: usize,
) -> Result<Vec<u8>, serde_json::Error> {
    let most = if most == 0 { usize::MAX } else { most };
    let shown = Group {
        alerts: group.alerts.get(..most).unwrap_or(group.alerts),
        ..*group
    };
    let alerts = shown.alerts.iter().map(|alert| {
        let is_over = alert.is_resolved(group.at);
        One {
            status: if is_over { "resolved" } else { "firing" },
            labels: &alert.labels,
            annotations: &alert.annotations,
            starts_at: written(alert.starts_at),
            ends_at: if is_over {
                written(alert.ends_at)
            } else {
                NEVER.to_owned()
            },
            generator_url: &alert.generator_url,
            fingerprint: alert.fingerprint().to_string(),
        }
    });
    let body = Body {
        receiver: shown.quoted_receiver(),
        status: shown.status(),
        alerts: alerts.collect(),
        group_labels: group.labels,
        common_labels: shown.common(|it| &it.labels),
        common_annotations: shown.common(|it| &it.annotations),
        external_url: group.external_url,
        version: "4",
        group_key,
        truncated_alerts: group.alerts.len() - shown.alerts.len(),
    };
    let text = serde_json::to_string(&body)?;
    Ok((escaped(&text) + "\n").into_bytes())
}

/// Go writes these so, for whoever puts JSON into a page. They stand in texts only.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out
}

/// RFC 3339 with as many digits as there are.
fn written(at: Timestamp) -> String {
    at.to_string()
}

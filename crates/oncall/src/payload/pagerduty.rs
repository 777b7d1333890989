//! An event for PagerDuty's Events API v2.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{Filler, at_most};
use crate::{config::channels::PagerDuty, template::TemplateError};

/// Letters of a summary, as the API has it.
const SUMMARY_MAX: usize = 1024;

/// The body: `key` says which integration, `fires` whether it is an incident or its end.
pub fn pagerduty(
    config: &PagerDuty,
    fill: &Filler<'_>,
    key: &str,
    group_key: &str,
    fires: bool,
) -> Result<Value, TemplateError> {
    let digest = Sha256::digest(group_key.as_bytes());
    let dedup = mainstay_core::hex(&digest);
    let action = if fires { "trigger" } else { "resolve" };
    let severity = fill.text(&config.severity)?;
    let severity = if severity.is_empty() {
        "error".to_owned()
    } else {
        severity
    };
    let mut details = Map::new();
    for (name, text) in &config.details {
        details.insert(name.clone(), fill.text(text)?.into());
    }
    let mut payload = json!({
        "summary": at_most(fill.text(&config.description)?, SUMMARY_MAX),
        "source": fill.text(&config.source)?,
        "severity": severity,
    });
    for (name, text) in [
        ("class", &config.class),
        ("component", &config.component),
        ("group", &config.group),
    ] {
        let text = fill.text(text)?;
        if !text.is_empty() {
            payload[name] = text.into();
        }
    }
    payload["custom_details"] = details.into();
    let mut event = json!({
        "routing_key": fill.text(key)?,
        "dedup_key": dedup,
        "event_action": action,
        "payload": payload,
    });
    for (name, text) in [
        ("client", &config.client),
        ("client_url", &config.client_url),
    ] {
        let text = fill.text(text)?;
        if !text.is_empty() {
            event[name] = text.into();
        }
    }
    let mut images = Vec::new();
    for image in &config.images {
        let src = fill.text(&image.src)?;
        if !src.is_empty() {
            images.push(
                json!({"src": src, "alt": fill.text(&image.alt)?, "href": fill.text(&image.href)?}),
            );
        }
    }
    let mut links = Vec::new();
    for link in &config.links {
        let href = fill.text(&link.href)?;
        if !href.is_empty() {
            links.push(json!({"href": href, "text": fill.text(&link.text)?}));
        }
    }
    for (name, list) in [("images", images), ("links", links)] {
        if !list.is_empty() {
            event[name] = list.into();
        }
    }
    Ok(event)
}

//! The file as others may read it: without what is secret in it.
//!
//! Guarantees: what is written under the name of a secret does not appear; an address keeps its scheme and host, so
//! that tools which read the file again still take it. Never shows what it cannot read.

use serde_json::Value;

/// In place of a secret.
const SECRET: &str = "<secret>";
/// Fields that are secrets whatever they hold.
const NAMES: [&str; 11] = [
    "auth_password",
    "auth_secret",
    "smtp_auth_password",
    "smtp_auth_secret",
    "password",
    "bearer_token",
    "credentials",
    "service_key",
    "routing_key",
    "app_token",
    "slack_app_token",
];
/// Ends of names of fields that are secrets in channels that are not served here.
const ENDS: [&str; 5] = ["_token", "_secret", "_api_key", "api_key", "secret_key"];
/// Addresses that open a door by themselves.
const ADDRESSES: [&str; 5] = [
    "url",
    "api_url",
    "slack_api_url",
    "webhook_url",
    "proxy_url",
];

pub(super) fn without_secrets(text: &str) -> String {
    let Ok(mut value) = serde_saphyr::from_str::<Value>(text) else {
        return String::new();
    };
    hide(&mut value);
    serde_saphyr::to_string(&value).unwrap_or_default()
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_secret = NAMES.contains(&name.as_str())
                    || ENDS.iter().any(|end| name.ends_with(end))
                    || name == "secrets"
                    || (name == "key" && value.is_string());
                match value {
                    Value::String(text) if ADDRESSES.contains(&name.as_str()) => {
                        *text = address(text);
                    }
                    Value::String(text) if is_secret => SECRET.clone_into(text),
                    Value::Array(list) if is_secret => list.fill(SECRET.into()),
                    value => hide(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Scheme, host and port: path, query and user may be secrets.
fn address(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return SECRET.to_owned();
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}/{SECRET}")
}

//! The configuration as others may see it: as the file says it, in YAML, without what is secret.
//!
//! Guarantees: passwords, tokens, headers, and addresses that carry their own secret are not in it. What is new in a
//! configuration is shown, so whatever is secret there has to be named here.

use reqwest::Url;
use serde_json::Value;

/// Fields whose values nobody may see, wherever they stand.
const SECRET: [&str; 9] = [
    "password",
    "credentials",
    "bearer_token",
    "secret",
    "secrets",
    "token",
    "headers",
    "webhooks",
    "channels",
];
/// What stands in their place, as Prometheus writes it.
const HIDDEN: &str = "<secret>";

/// A TOML text in YAML; nothing if it is none.
pub(super) fn shown(text: &str) -> String {
    let Ok(mut config) = toml::from_str::<Value>(text) else {
        return String::new();
    };
    hide(&mut config);
    serde_saphyr::to_string(&config).unwrap_or_default()
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if SECRET.contains(&name.as_str()) {
                    veil(value);
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::String(text) => {
            if let Some(hidden) = without_password(text) {
                *text = hidden;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Hides every text below; what is set is still seen.
fn veil(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(veil),
        Value::Array(values) => values.iter_mut().for_each(veil),
        other => *other = HIDDEN.into(),
    }
}

/// An address without its password, if it has one.
fn without_password(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let password = url.password()?;
    Some(text.replacen(&format!(":{password}@"), &format!(":{HIDDEN}@"), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_not_shown_and_everything_else_is() {
        let text = r#"
            [server]
            require_token = true
            [store]
            url = "postgres://ops:hunter2@db/ledger"
            [notify]
            webhooks = ["https://hooks.example/T0/hunter2"]
            [[scrape]]
            job_name = "shop"
            basic_auth = { username = "ops", password = "hunter2" }
            authorization = { credentials = "hunter2" }
            static_configs = [{ targets = ["a:1"] }]
        "#;
        let shown = shown(text);
        assert!(!shown.contains("hunter2"), "{shown}");
        for said in [
            "require_token: true",
            "job_name: shop",
            "username: ops",
            "a:1",
            "ops:<secret>@db",
        ] {
            assert!(shown.contains(said), "{said} in {shown}");
        }
        let back: Value = serde_saphyr::from_str(&shown).unwrap();
        assert_eq!(back["scrape"][0]["authorization"]["credentials"], HIDDEN);
    }
}

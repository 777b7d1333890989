//! The document, and what it says of an answer.

use serde_json::{Map, Value, json};

use crate::{cases::Case, site::Answer};

/// docs/openapi.yaml.
pub(crate) struct Document(Value);

impl Document {
    pub(crate) fn read() -> Self {
        Self(serde_saphyr::from_str(mainstay_server::OPENAPI).unwrap())
    }

    pub(crate) fn value(&self) -> &Value {
        &self.0
    }

    /// Path, method and scope of each operation.
    pub(crate) fn operations(&self) -> Vec<(String, String, String)> {
        let mut all = Vec::new();
        for (path, methods) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let scope = operation["x-scope"].as_str().unwrap_or("(no x-scope)");
                all.push((path.clone(), method.to_uppercase(), scope.to_owned()));
            }
        }
        all
    }

    /// Whether an answer is one of those that the operation may give.
    pub(crate) fn check(&self, case: &Case, answer: &Answer) -> Result<(), String> {
        let operation = &self.0["paths"][case.path][case.method.to_lowercase()];
        let status = answer.status.to_string();
        let response = self.resolved(&operation["responses"][&status])?;
        let content = response.get("content").and_then(Value::as_object);
        let Some(content) = content else {
            return match answer.body.as_str() {
                "" => Ok(()),
                body => Err(format!("has a body where none is documented: {body}")),
            };
        };
        let kind = answer.content_type.split(';').next().unwrap_or_default();
        let Some(media) = content.get(kind) else {
            return Err(format!("is `{kind}`, which is not documented for {status}"));
        };
        if !kind.ends_with("json") {
            return Ok(());
        }
        let body: Value = serde_json::from_str(&answer.body)
            .map_err(|error| format!("is no JSON: {error}: {}", answer.body))?;
        self.holds(&media["schema"], &body)
    }

    fn resolved<'a>(&'a self, response: &'a Value) -> Result<&'a Value, String> {
        if response.is_null() {
            return Err("has a status that is not documented".to_owned());
        }
        let Some(place) = response["$ref"].as_str() else {
            return Ok(response);
        };
        let place = place.trim_start_matches('#');
        self.0
            .pointer(place)
            .ok_or_else(|| format!("{place} is nowhere in the document"))
    }

    fn holds(&self, schema: &Value, body: &Value) -> Result<(), String> {
        let validator = self.validator(schema)?;
        let wrongs: Vec<String> = validator
            .iter_errors(body)
            .map(|error| format!("at `{}`: {error}", error.instance_path()))
            .collect();
        if wrongs.is_empty() {
            return Ok(());
        }
        Err(format!("{} in {body}", wrongs.join("; ")))
    }

    fn validator(&self, schema: &Value) -> Result<jsonschema::Validator, String> {
        let mut whole: Map<String, Value> = schema.as_object().cloned().unwrap_or_default();
        let draft = json!("https://json-schema.org/draft/2020-12/schema");
        whole.insert("$schema".to_owned(), draft);
        whole.insert("components".to_owned(), self.0["components"].clone());
        jsonschema::validator_for(&Value::Object(whole))
            .map_err(|error| format!("the document's schema is none: {error}"))
    }

    /// Every schema and every reference of the document can be used.
    pub(crate) fn resolve_all(&self) {
        let mut waiting = vec![&self.0];
        let mut references = 0;
        while let Some(value) = waiting.pop() {
            match value {
                Value::Object(fields) => {
                    if let Some(place) = fields.get("$ref").and_then(Value::as_str) {
                        let found = self.0.pointer(place.trim_start_matches('#'));
                        assert!(found.is_some(), "{place} is nowhere in the document");
                        references += 1;
                    }
                    if let Some(schema) = fields.get("schema") {
                        self.validator(schema).unwrap();
                    }
                    waiting.extend(fields.values());
                }
                Value::Array(values) => waiting.extend(values),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        assert!(references > 0);
    }
}

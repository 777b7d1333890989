//! What people send to open an incident or to act on one, as JSON.
//!
//! Guarantees: a field that is not known is refused, and so is a verb; the answer names what there is.

use mainstay_core::{
    Actor, ChangeId, Name,
    escalation::Severity,
    ports::{Declined, No},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Desk, Listed, Page};
use crate::incident::{Input, NoteKind, Role, Status, summary};

/// What can be done with an incident.
pub const VERBS: [&str; 10] = [
    "acknowledge",
    "escalate",
    "resolve",
    "reopen",
    "severity",
    "role",
    "task",
    "finish",
    "note",
    "relate",
];

/// Opens an incident.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    title: String,
    policy: Name,
    #[serde(default)]
    severity: Severity,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Reason {
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Acknowledgement {
    via: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HowBad {
    severity: Severity,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    role: Role,
    person: String,
    #[serde(default)]
    note: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToDo {
    text: String,
    #[serde(default)]
    assignee: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Finished {
    task: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {
    text: String,
    #[serde(default)]
    kind: NoteKind,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Other {
    incident: ChangeId,
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T, Declined> {
    let body = match body {
        Value::Null => Value::Object(serde_json::Map::new()),
        body => body,
    };
    serde_json::from_value(body).map_err(|error| {
        let remedy = "docs/api.md lists the fields of each";
        Declined::new(No::Invalid, "bad-incident", error.to_string(), remedy)
    })
}

impl Desk {
    /// Opens an incident as JSON says.
    pub async fn open_as(&self, actor: Actor, body: Value) -> Result<Value, Declined> {
        let Opening {
            title,
            policy,
            severity,
            reason,
        } = read(body)?;
        let page = Page {
            title,
            severity,
            policy,
            reason,
        };
        self.page(actor, page).await
    }

    /// Does with an incident what a verb and its JSON say; how it stands then.
    pub async fn act_as(
        &self,
        actor: Actor,
        id: &ChangeId,
        verb: &str,
        body: Value,
    ) -> Result<Value, Declined> {
        let by = actor.id.clone();
        let input = input(verb, body, by)?;
        if let Input::Relate { to, .. } = &input {
            self.find(to).await?;
        }
        let after = self.act(actor, id, vec![input]).await?;
        Ok(summary(&after))
    }

    /// Those that words ask for.
    pub async fn list_as(
        &self,
        status: Option<&str>,
        severity: Option<Severity>,
        limit: usize,
    ) -> Result<Vec<Value>, Declined> {
        let all = [
            Status::Triggered,
            Status::Acknowledged,
            Status::Resolved,
            Status::Closed,
        ];
        let status = match status {
            None | Some("open") => None,
            Some(text) => {
                let known = all.into_iter().find(|it| it.as_str() == text);
                Some(known.ok_or_else(|| {
                    let what = format!("`{text}` is no state of an incident");
                    let remedy = "write open, triggered, acknowledged, resolved or closed";
                    Declined::new(No::Invalid, "bad-incident", what, remedy)
                })?)
            }
        };
        let listed = Listed {
            status,
            severity,
            limit,
        };
        self.list(&listed).await
    }
}

fn input(verb: &str, body: Value, by: String) -> Result<Input, Declined> {
    Ok(match verb {
        "acknowledge" => {
            let Acknowledgement { via } = read(body)?;
            let via = if via.is_empty() {
                "api".to_owned()
            } else {
                via
            };
            Input::Acknowledge { by, via }
        }
        "escalate" => {
            let Reason { reason: because } = read(body)?;
            Input::Escalate { by, because }
        }
        "resolve" => {
            let Reason { reason: because } = read(body)?;
            Input::Resolve { by, because }
        }
        "reopen" => {
            let Reason { reason: because } = read(body)?;
            Input::Reopen { by, because }
        }
        "severity" => {
            let HowBad {
                severity: to,
                reason: because,
            } = read(body)?;
            Input::Severity { by, to, because }
        }
        "role" => {
            let Part { role, person, note } = read(body)?;
            Input::Role {
                role,
                person,
                by,
                note,
            }
        }
        "task" => {
            let ToDo { text, assignee } = read(body)?;
            Input::Task { text, assignee, by }
        }
        "finish" => {
            let Finished { task: id } = read(body)?;
            Input::Finish { id, by }
        }
        "note" => {
            let Noted { text, kind } = read(body)?;
            Input::Note { by, kind, text }
        }
        "relate" => {
            let Other { incident: to } = read(body)?;
            Input::Relate { to, by }
        }
        _ => {
            let what = format!("nobody can `{verb}` an incident");
            let remedy = format!("write one of {}", VERBS.join(", "));
            return Err(Declined::new(No::Unknown, "unknown-verb", what, &remedy));
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_verb_is_read_and_a_field_or_verb_that_is_not_known_is_refused() {
        let bodies = [
            json!(null),
            json!({"reason": "more eyes"}),
            json!({}),
            json!({}),
            json!({"severity": "P0"}),
            json!({"role": "scribe", "person": "bob"}),
            json!({"text": "raise the limit"}),
            json!({"task": 1}),
            json!({"text": "p99 is 3 s", "kind": "measurement"}),
            json!({"incident": "inc-2"}),
        ];
        for (verb, body) in VERBS.into_iter().zip(bodies) {
            assert!(input(verb, body, "alice".to_owned()).is_ok(), "{verb}");
            let wrong = input(verb, json!({"colour": 1}), "alice".to_owned());
            assert_eq!(wrong.unwrap_err().no, No::Invalid, "{verb}");
        }
        let unknown = input("dance", json!({}), "alice".to_owned()).unwrap_err();
        assert!(unknown.remedy.contains("acknowledge"), "{unknown:?}");
    }
}

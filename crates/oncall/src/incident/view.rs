//! An incident as others read it.

use mainstay_core::Time;
use serde_json::{Value, json};

use super::{
    Folded, Status, Which,
    page::{AT_P0, Page},
    state::State,
};

/// In a row.
pub fn summary(folded: &Folded) -> Value {
    let state = &folded.state;
    json!({
        "id": folded.change.id,
        "title": state.plan.title,
        "severity": state.severity,
        "status": state.status(),
        "policy": state.plan.policy.name,
        "openedAt": state.opened_at,
        "openedBy": folded.change.actor.id,
        "acknowledgedAt": state.acknowledged_at,
        "acknowledgedBy": state.acknowledged_by.keys().collect::<Vec<_>>(),
        "resolvedAt": state.resolved_at,
        "updatedAt": state.updated_at(),
        "breaches": state.breaches,
        "alerts": state.alerts.len(),
        "firing": state.alerts.values().filter(|(_, fires)| *fires).count(),
    })
}

/// In full, as of `now`.
pub fn view(folded: &Folded, now: Time) -> Value {
    let state = &folded.state;
    let mut view = summary(folded);
    let alerts = state.alerts.values().map(|(alert, fires)| {
        json!({"id": alert.id, "name": alert.name, "text": alert.text, "fires": fires})
    });
    view["labels"] = json!(state.plan.labels);
    view["deadlines"] = deadlines(state, now);
    view["next"] = next(state);
    view["roles"] = json!(state.roles);
    view["tasks"] = json!(state.tasks);
    view["related"] = json!(state.related);
    view["alertList"] = alerts.collect();
    view["hasMoreAlerts"] = json!(state.is_crowded);
    view["pages"] = state
        .pages
        .iter()
        .map(|(key, page)| of_page(key, page))
        .collect();
    view["version"] = json!(folded.version);
    view
}

/// What counts now, and what is left of it.
fn deadlines(state: &State, now: Time) -> Value {
    let of = |which: Which| {
        let due = state.deadline(which);
        json!({
            "due": due,
            "left": due.map(|at| at.since(now)),
            "breached": state.breached.contains(&which),
        })
    };
    json!({"acknowledge": of(Which::Acknowledge), "resolve": of(Which::Resolve)})
}

fn next(state: &State) -> Value {
    if state.status() == Status::Closed {
        return Value::Null;
    }
    state.escalation.as_ref().map_or(Value::Null, |next| {
        let who = state.plan.policy.step(next.step).map(|it| &it.who);
        json!({"cycle": next.cycle, "step": next.step + 1, "at": next.at, "who": who})
    })
}

fn of_page(key: &str, page: &Page) -> Value {
    let step = match page.step {
        AT_P0 => Value::from("at-p0"),
        step => Value::from(step + 1),
    };
    json!({
        "key": key,
        "cycle": page.cycle,
        "step": step,
        "person": page.person,
        "channel": page.channel,
        "attempt": page.attempt,
        "status": page.status.as_str(),
        "since": page.since,
        "why": page.why,
    })
}

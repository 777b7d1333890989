//! What keeps a responder from being reached, and a schedule from ever holding.

use std::collections::BTreeSet;

use mainstay_core::{
    flaw::SpecFlaw,
    oncall::{Contact, ContactKind, Hours, LayerSpec, ResponderSpec, ScheduleSpec},
};

use super::civil::{UnknownZone, ZONE_REMEDY, Zone};

/// Ways to reach one responder: more would not be tried within an incident.
const CONTACTS_MAX: usize = 16;
/// Rules of one responder.
const RULES_MAX: usize = 32;
/// Longest address or URL, in bytes.
const TO_BYTES_MAX: usize = 2_048;
/// Layers of one schedule.
const LAYERS_MAX: usize = 32;
/// People who take turns in one layer.
const PEOPLE_MAX: usize = 100;
/// Hours of one layer, rule or cover.
const HOURS_MAX: usize = 32;
/// Overrides that are declared; those that are entered are counted apart.
const OVERRIDES_MAX: usize = 200;
/// Milliseconds of an hour, the shortest turn and the grid of all.
const HOUR: u64 = 3_600_000;
/// Milliseconds of the longest turn: a leap year.
const TURN_MAX: u64 = 366 * 24 * HOUR;

fn flaw(field: impl Into<String>, what: String, remedy: &str) -> SpecFlaw {
    SpecFlaw {
        field: field.into(),
        what,
        remedy: remedy.to_owned(),
    }
}

/// The zone of that name; a flaw where there is none.
pub(super) fn zone_of(flaws: &mut Vec<SpecFlaw>, field: &str, name: &str) -> Option<Zone> {
    let wrong = |unknown: UnknownZone| flaw(field, unknown.to_string(), ZONE_REMEDY);
    let zone = Zone::named(name);
    zone.map_err(|unknown| flaws.push(wrong(unknown))).ok()
}

/// What keeps anybody from reaching a responder, each with its field below `spec`.
pub fn of_responder(spec: &ResponderSpec) -> Vec<SpecFlaw> {
    let mut flaws = Vec::new();
    zone_of(&mut flaws, "zone", &spec.zone);
    if spec.contacts.is_empty() {
        let what = "nobody could reach them: there is no contact".to_owned();
        let remedy = "add one, such as `{name: mail, kind: email, to: alice@example.com}`";
        flaws.push(flaw("contacts", what, remedy));
    }
    too_many(&mut flaws, "contacts", spec.contacts.len(), CONTACTS_MAX);
    too_many(&mut flaws, "rules", spec.rules.len(), RULES_MAX);
    let mut names = BTreeSet::new();
    for (at, contact) in spec.contacts.iter().enumerate() {
        if !names.insert(&contact.name) {
            let what = format!("`{}` is there twice", contact.name);
            let remedy = "give each contact a name of its own";
            flaws.push(flaw(format!("contacts[{at}].name"), what, remedy));
        }
        let wrong = unreachable(contact);
        flaws
            .extend(wrong.map(|(field, what, remedy)| {
                flaw(format!("contacts[{at}].{field}"), what, remedy)
            }));
    }
    for (at, rule) in spec.rules.iter().enumerate() {
        check_hours(&mut flaws, &format!("rules[{at}].hours"), &rule.hours);
        if rule.contacts.is_empty() {
            let what = "a rule without a contact would silence them".to_owned();
            let remedy = "name the contacts that it is for";
            flaws.push(flaw(format!("rules[{at}].contacts"), what, remedy));
        }
        let unknown = rule.contacts.iter().enumerate();
        for (place, name) in unknown.filter(|(_, name)| !names.contains(name)) {
            let field = format!("rules[{at}].contacts[{place}]");
            let what = format!("there is no contact `{name}`");
            flaws.push(flaw(field, what, "name one of `contacts`"));
        }
    }
    flaws
}

/// What is wrong with where a contact leads to: the field, what, and the remedy.
fn unreachable(contact: &Contact) -> Option<(&'static str, String, &'static str)> {
    let Contact { kind, to, keys, .. } = contact;
    let is_url = |text: &str| text.starts_with("https://") || text.starts_with("http://");
    let remedy = match kind {
        ContactKind::Email
            if to
                .split_once('@')
                .is_none_or(|(name, host)| name.is_empty() || host.is_empty()) =>
        {
            "write an address, such as `alice@example.com`"
        }
        ContactKind::Phone if !is_phone(to) => "write it with its country, such as `+4930123456`",
        ContactKind::Slack | ContactKind::Webhook if !is_url(to) => "write a URL, with `https://`",
        ContactKind::WebPush if !is_url(to) => "write the subscription's endpoint, with `https://`",
        ContactKind::WebPush if keys.is_none() => {
            let what = "a subscription without its keys cannot be sent to".to_owned();
            return Some((
                "keys",
                what,
                "write `keys: {p256dh: …, auth: …}` as the browser gave them",
            ));
        }
        _ if to.len() > TO_BYTES_MAX || to.chars().any(char::is_control) => {
            "write at most 2,048 bytes on one line"
        }
        _ => return None,
    };
    let shown: String = to.chars().take(64).collect();
    Some(("to", format!("`{shown}` leads nowhere"), remedy))
}

fn is_phone(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// What keeps a schedule from ever holding, but for zones and calendars: whoever builds it says that.
pub(super) fn of_schedule(spec: &ScheduleSpec) -> Vec<SpecFlaw> {
    let mut flaws = Vec::new();
    if spec.layers.is_empty() {
        let what = "nobody would ever be on call".to_owned();
        let remedy = "add a layer, such as `{name: week, people: [alice, bob], from: 2026-01-05}`";
        flaws.push(flaw("layers", what, remedy));
    }
    too_many(&mut flaws, "layers", spec.layers.len(), LAYERS_MAX);
    too_many(&mut flaws, "overrides", spec.overrides.len(), OVERRIDES_MAX);
    check_hours(&mut flaws, "covers", &spec.covers);
    let mut names = BTreeSet::new();
    for (at, layer) in spec.layers.iter().enumerate() {
        let field = format!("layers[{at}]");
        if !names.insert(&layer.name) {
            let what = format!("`{}` is there twice", layer.name);
            let remedy = "give each layer a name of its own";
            flaws.push(flaw(format!("{field}.name"), what, remedy));
        }
        check_layer(&mut flaws, &field, layer);
    }
    for (at, it) in spec.overrides.iter().enumerate() {
        if it.until <= it.from {
            let what = format!("it would end before it begins, at {}", it.from);
            let remedy = "write an end after the beginning";
            flaws.push(flaw(format!("overrides[{at}].until"), what, remedy));
        }
    }
    flaws
}

fn check_layer(flaws: &mut Vec<SpecFlaw>, field: &str, layer: &LayerSpec) {
    let mut add = |part: &str, what: String, remedy: &str| {
        flaws.push(flaw(format!("{field}.{part}"), what, remedy));
    };
    match (layer.people.len(), &layer.calendar) {
        (0, None) => add(
            "people",
            "nobody takes a turn".to_owned(),
            "name responders, or give a `calendar`",
        ),
        (1.., Some(_)) => add(
            "calendar",
            "the calendar says whose turn it is, and so do `people`".to_owned(),
            "leave one of them out",
        ),
        _ => {}
    }
    let every = layer.every.millis();
    if every == 0 || !every.is_multiple_of(HOUR) || every > TURN_MAX {
        let what = format!(
            "a turn of {} has no whole hours, from one to 366 days",
            layer.every
        );
        add("every", what, "write for example `12h`, `1d` or `1w`");
    }
    if layer.handoff.minutes() >= 24 * 60 {
        add(
            "handoff",
            "no turn begins at 24:00".to_owned(),
            "write `00:00`, of the day after",
        );
    }
    if layer.until.is_some_and(|until| until <= layer.from) {
        add(
            "until",
            format!("it would end before it begins, on {}", layer.from),
            "write a later day",
        );
    }
    too_many(
        flaws,
        &format!("{field}.people"),
        layer.people.len(),
        PEOPLE_MAX,
    );
    check_hours(flaws, &format!("{field}.hours"), &layer.hours);
}

fn check_hours(flaws: &mut Vec<SpecFlaw>, field: &str, hours: &[Hours]) {
    too_many(flaws, field, hours.len(), HOURS_MAX);
    for (at, it) in hours.iter().enumerate() {
        if it.from.minutes() >= 24 * 60 {
            let remedy = "write `00:00`, of the day after";
            let what = "no hours begin at 24:00".to_owned();
            flaws.push(flaw(format!("{field}[{at}].from"), what, remedy));
        }
    }
}

fn too_many(flaws: &mut Vec<SpecFlaw>, field: &str, count: usize, most: usize) {
    if count > most {
        let what = format!("{count} of them; at most {most}");
        flaws.push(flaw(field, what, "divide it"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(flaws: Vec<SpecFlaw>) -> Vec<String> {
        flaws.into_iter().map(|flaw| flaw.field).collect()
    }

    #[test]
    fn a_responder_whom_nobody_could_reach_is_told_by_the_field_that_keeps_them_from_it() {
        let of = |spec| fields(of_responder(&serde_json::from_value(spec).unwrap()));
        let mail = json!({"name": "mail", "kind": "email", "to": "alice@example.com"});
        assert!(of(json!({"contacts": [mail]})).is_empty());
        assert_eq!(of(json!({})), ["contacts"]);
        let wrong = json!({"contacts": [
            {"name": "a", "kind": "email", "to": "alice"},
            {"name": "a", "kind": "phone", "to": "030 12345"},
            {"name": "c", "kind": "slack", "to": "#oncall"},
            {"name": "d", "kind": "web-push", "to": "https://push.example.com/1"},
        ], "rules": [{"contacts": ["mail"]}, {"contacts": []}]});
        let told = [
            "contacts[0].to",
            "contacts[1].name",
            "contacts[1].to",
            "contacts[2].to",
            "contacts[3].keys",
            "rules[0].contacts[0]",
            "rules[1].contacts",
        ];
        assert_eq!(of(wrong), told);
    }

    #[test]
    fn a_schedule_that_can_never_hold_is_told_by_each_field() {
        let of = |spec| fields(of_schedule(&serde_json::from_value(spec).unwrap()));
        let layer = json!({"name": "week", "people": ["alice"], "from": "2026-01-05"});
        assert!(of(json!({"zone": "UTC", "layers": [layer]})).is_empty());
        assert_eq!(of(json!({"zone": "UTC", "layers": []})), ["layers"]);
        let wrong = json!({"zone": "UTC", "layers": [
            {"name": "a", "from": "2026-01-05", "until": "2026-01-05", "every": "90m"},
            {"name": "a", "from": "2026-01-05", "people": ["bob"], "calendar": "", "handoff": "24:00"},
        ], "overrides": [{"person": "bob", "from": 5, "until": 5}]});
        let told = [
            "layers[0].people",
            "layers[0].every",
            "layers[0].until",
            "layers[1].name",
            "layers[1].calendar",
            "layers[1].handoff",
            "overrides[0].until",
        ];
        assert_eq!(of(wrong), told);
    }
}

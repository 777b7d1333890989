//! Schedules, held against a clock of their own making.

mod calendars;
mod clocks;
mod laws;
mod oracle;
mod zones;

use jiff::Timestamp;
use mainstay_core::{
    Name,
    oncall::{Role, ScheduleSpec},
};
use serde_json::{Value, json};

use super::{Schedule, Shift};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn spec(value: Value) -> ScheduleSpec {
    serde_json::from_value(value).unwrap()
}

fn built(value: Value) -> Schedule {
    Schedule::build(name("feed"), &spec(value)).unwrap()
}

/// One layer of `people` in `zone`, with more of it.
fn layer(zone: &str, people: &[&str], from: &str, more: Value) -> Schedule {
    let mut layer = json!({"name": "base", "people": people, "from": from});
    for (field, value) in more.as_object().unwrap() {
        layer[field] = value.clone();
    }
    built(json!({"zone": zone, "layers": [layer]}))
}

/// `alice 2026-03-23T08:00:00Z 2026-03-30T07:00:00Z`.
fn told(shifts: &[Shift]) -> Vec<String> {
    let one = |it: &Shift| format!("{} {} {}", it.person, it.from, it.until);
    shifts.iter().map(one).collect()
}

fn primary(schedule: &Schedule, from: &str, until: &str) -> Vec<Shift> {
    schedule.shifts_of(Role::Primary, at(from), at(until))
}

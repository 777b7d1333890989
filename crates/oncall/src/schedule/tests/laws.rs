//! Standing in: what holds of overrides and swaps whatever the schedule.

use mainstay_core::oncall::ResponderSpec;
use proptest::prelude::*;

use super::*;
use crate::schedule::{NotTaken, Source, StandIn, What, Why, reach::contacts};

fn three() -> Schedule {
    built(json!({"zone": "Europe/Berlin", "layers": [
        {"name": "day", "people": ["alice", "bob", "carol"], "every": "1d", "from": "2026-01-01"},
        {"name": "second", "role": "secondary", "people": ["bob", "carol", "alice"], "every": "1d", "from": "2026-01-01"},
        {"name": "late", "people": ["dave"], "from": "2026-01-01", "hours": [{"days": ["fri"], "from": "20:00", "until": "23:00"}]},
    ]}))
}

const BEGIN: i64 = 1_772_323_200; // 2026-03-01T00:00:00Z
const HOURS: i64 = 24 * 60;

fn hour(number: i64) -> Timestamp {
    Timestamp::from_second(BEGIN + number * 3_600).unwrap()
}

fn window() -> impl Strategy<Value = (Timestamp, Timestamp)> {
    (0..HOURS, 1..200_i64).prop_map(|(from, length)| (hour(from), hour(from + length)))
}

fn person() -> impl Strategy<Value = Name> {
    prop::sample::select(vec!["alice", "bob", "carol", "dave", "erin"]).prop_map(name)
}

fn stand_in(by: &str, (from, until): (Timestamp, Timestamp), what: What) -> StandIn {
    let by = Source::Change(by.to_owned());
    StandIn {
        by,
        from,
        until,
        what,
    }
}

/// Who is on call in each hour.
fn by_hour(schedule: &Schedule, role: Role) -> Vec<Option<Name>> {
    let shifts = schedule.shifts_of(role, hour(0), hour(HOURS));
    let one = |number| {
        shifts
            .iter()
            .find(|it| it.holds(hour(number)))
            .map(|it| it.person.clone())
    };
    (0..HOURS).map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn swapping_twice_is_not_swapping(when in window(), one in person(), other in person()) {
        let swap = || What::Swap { role: None, person: one.clone(), with: other.clone() };
        let twice = three().with([stand_in("a", when, swap()), stand_in("b", when, swap())]);
        for role in [Role::Primary, Role::Secondary] {
            prop_assert_eq!(by_hour(&twice, role), by_hour(&three(), role));
        }
        prop_assert!(twice.shifts(hour(0), hour(HOURS)).iter().all(|it| it.instead_of.is_none()));
    }

    #[test]
    fn a_swap_changes_two_people_within_its_time_and_nothing_else(when in window(), one in person(), other in person()) {
        let what = What::Swap { role: Some(Role::Primary), person: one.clone(), with: other.clone() };
        let swapped = three().with([stand_in("a", when, what)]);
        prop_assert_eq!(by_hour(&swapped, Role::Secondary), by_hour(&three(), Role::Secondary));
        let pairs = by_hour(&three(), Role::Primary).into_iter().zip(by_hour(&swapped, Role::Primary));
        for (number, (before, after)) in pairs.enumerate() {
            let at = hour(i64::try_from(number).unwrap());
            let is_within = when.0 <= at && at < when.1;
            let expected = match before {
                Some(it) if is_within && it == one => Some(other.clone()),
                Some(it) if is_within && it == other => Some(one.clone()),
                unmoved => unmoved,
            };
            prop_assert_eq!(after, expected);
        }
    }

    #[test]
    fn who_stands_in_last_holds_the_role_for_that_time_and_nobody_else_is_moved(first in window(), second in window(), one in person(), other in person()) {
        let holds = |person: &Name| What::Holds { role: Role::Primary, person: person.clone() };
        let both = three().with([stand_in("a", first, holds(&one)), stand_in("b", second, holds(&other))]);
        let within = |(from, until): (Timestamp, Timestamp), at| from <= at && at < until;
        for (number, (before, after)) in by_hour(&three(), Role::Primary).into_iter().zip(by_hour(&both, Role::Primary)).enumerate() {
            let at = hour(i64::try_from(number).unwrap());
            let expected = if within(second, at) { Some(other.clone()) } else if within(first, at) { Some(one.clone()) } else { before };
            prop_assert_eq!(after, expected);
        }
    }

    #[test]
    fn a_shift_is_the_same_whatever_time_it_is_asked_within(when in window(), narrow in window(), one in person()) {
        let what = What::Holds { role: Role::Primary, person: one };
        let schedule = three().with([stand_in("a", when, what)]);
        let all = schedule.shifts(hour(-400), hour(HOURS + 800));
        for shift in schedule.shifts(narrow.0, narrow.1) {
            prop_assert!(all.contains(&shift), "{shift:?}");
        }
    }
}

#[test]
fn whoever_takes_a_shift_has_it_to_its_end_and_from_then_on_only() {
    let schedule = three();
    let now = at("2026-03-03T12:00:00Z");
    let mine = schedule.on_call(Role::Primary, now).unwrap();
    let (taken, what) = schedule.take(Role::Primary, now, &name("erin")).unwrap();
    assert_eq!((taken.from, taken.until), (now, mine.until));
    let after = three().with([stand_in("a", (taken.from, taken.until), what)]);
    let shifts = after.shifts_of(Role::Primary, mine.from, mine.until);
    let who: Vec<&str> = shifts.iter().map(|it| it.person.as_str()).collect();
    assert_eq!(who, [mine.person.as_str(), "erin"]);
    assert_eq!(shifts[1].by, Source::Change("a".to_owned()));
    let already = after.take(Role::Primary, now, &name("erin"));
    assert_eq!(
        already.unwrap_err(),
        NotTaken::Already(name("erin"), Role::Primary)
    );
    let nobody = schedule.take(Role::Manager, now, &name("erin"));
    assert_eq!(nobody.unwrap_err(), NotTaken::Nobody(Role::Manager));
}

#[test]
fn whom_nobody_knows_or_could_reach_is_told_beside_the_gaps_and_a_shadow_leaves_none() {
    let schedule = built(json!({"zone": "UTC", "layers": [
        {"name": "a", "people": ["alice", "bob"], "every": "1d", "handoff": "00:00", "from": "2026-01-01", "until": "2026-01-03"},
        {"name": "b", "role": "shadow", "people": ["bob"], "handoff": "00:00", "from": "2026-01-02", "until": "2026-01-03"},
    ]}));
    let alice: ResponderSpec = serde_json::from_value(json!({})).unwrap();
    let troubles = schedule.troubles(
        &[(name("alice"), alice)].into(),
        at("2026-01-01T12:00:00Z"),
        at("2026-01-04T00:00:00Z"),
    );
    let told: Vec<String> = troubles
        .iter()
        .map(|it| format!("{} {} {:?}", it.role, it.from, it.why))
        .collect();
    assert_eq!(
        told,
        [
            format!(
                "primary 2026-01-01T12:00:00Z {:?}",
                Why::NoContact {
                    person: name("alice")
                }
            ),
            format!(
                "primary 2026-01-02T00:00:00Z {:?}",
                Why::Unknown {
                    person: name("bob")
                }
            ),
            format!(
                "shadow 2026-01-02T00:00:00Z {:?}",
                Why::Unknown {
                    person: name("bob")
                }
            ),
            "primary 2026-01-03T00:00:00Z Gap".to_owned(),
        ]
    );
}

#[test]
fn where_a_schedule_covers_some_hours_only_nobody_else_is_missed() {
    let schedule = built(
        json!({"zone": "Europe/Berlin", "covers": [{"days": ["mon", "tue"], "from": "09:00", "until": "17:00"}],
        "layers": [{"name": "a", "people": ["alice"], "handoff": "00:00", "from": "2026-01-01", "hours": [{"days": ["mon"]}]}]}),
    );
    let gaps = schedule.gaps(at("2026-01-05T00:00:00Z"), at("2026-01-12T00:00:00Z"));
    let told: Vec<String> = gaps
        .iter()
        .map(|it| format!("{} {}", it.from, it.until))
        .collect();
    assert_eq!(told, ["2026-01-06T08:00:00Z 2026-01-06T16:00:00Z"]);
}

#[test]
fn the_first_rule_that_fits_says_how_somebody_is_reached_and_without_one_every_contact_does() {
    let spec: ResponderSpec = serde_json::from_value(json!({"zone": "Europe/Berlin", "contacts": [
        {"name": "mail", "kind": "email", "to": "alice@example.com"},
        {"name": "mobile", "kind": "phone", "to": "+4930123456"},
    ], "rules": [
        {"severities": ["p0"], "contacts": ["mobile", "mail"]},
        {"hours": [{"from": "22:00", "until": "07:00"}], "contacts": ["mail"]},
    ]}))
    .unwrap();
    let reached = |severity: Option<&str>, time: &str| -> Vec<String> {
        let severity = severity.map(name);
        contacts(&spec, severity.as_ref(), at(time))
            .iter()
            .map(|it| it.name.to_string())
            .collect()
    };
    assert_eq!(
        reached(Some("p0"), "2026-01-05T02:00:00Z"),
        ["mobile", "mail"]
    );
    assert_eq!(reached(Some("p2"), "2026-01-05T05:59:00Z"), ["mail"]);
    assert_eq!(
        reached(Some("p2"), "2026-01-05T06:00:00Z"),
        ["mail", "mobile"]
    );
    assert_eq!(reached(None, "2026-01-05T12:00:00Z"), ["mail", "mobile"]);
}

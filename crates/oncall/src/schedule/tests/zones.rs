//! Every zone there is, over ten years: exactly one person a role or a gap, and the one that the oracle names.

use std::collections::BTreeMap;

use jiff::{SignedDuration, tz::TimeZone};
use mainstay_core::oncall::LayerSpec;

use super::{oracle::turn, *};

/// Seeds of shapes; each zone is tried with this many.
const SHAPES: u64 = 3;
/// Hours of a turn.
const EVERY: [&str; 8] = ["1h", "8h", "12h", "31h", "1d", "3d", "1w", "2w"];
const HANDOFF: [&str; 7] = [
    "00:00", "00:30", "02:00", "02:15", "03:00", "09:00", "23:30",
];
const HOURS: [(&str, &str); 6] = [
    ("00:00", "24:00"),
    ("09:00", "17:00"),
    ("22:00", "06:00"),
    ("02:00", "03:00"),
    ("01:30", "02:30"),
    ("12:00", "12:00"),
];

/// A generator of which no more is asked than that it is fair and always the same.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % count as u64).unwrap()
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

fn shape(zone: &str, others: &[String], seeded: &mut Seeded) -> ScheduleSpec {
    let layers: Vec<Value> = (0..=seeded.below(2))
        .map(|number| {
            let zone = if number == 0 { zone } else { &others[seeded.below(others.len())] };
            let hours: Vec<Value> = (0..seeded.below(3))
                .map(|_| {
                    let (from, until) = seeded.of(&HOURS);
                    let days = seeded.of(&[&[][..], &["mon", "tue", "fri"][..], &["sun", "sat"][..]]);
                    json!({"days": days, "from": from, "until": until})
                })
                .collect();
            json!({"name": format!("layer-{number}"), "zone": zone, "people": ["alice", "bob", "carol"],
                "every": seeded.of(&EVERY), "handoff": seeded.of(&HANDOFF), "from": "2019-12-20",
                "until": seeded.of(&[Value::Null, json!("2029-06-01")]), "hours": hours})
        })
        .collect();
    spec(json!({"zone": zone, "layers": layers}))
}

/// Checks one stretch of time of a schedule.
fn check(
    spec: &ScheduleSpec,
    zones: &BTreeMap<String, TimeZone>,
    (from, until): (Timestamp, Timestamp),
    more: &[Timestamp],
) {
    let schedule = Schedule::build(name("feed"), spec).unwrap();
    let shifts = schedule.shifts_of(Role::Primary, from, until);
    let gaps = schedule.gaps(from, until);
    let of_shifts = shifts
        .iter()
        .map(|it| (it.from.max(from), it.until.min(until)));
    let mut all: Vec<_> = of_shifts
        .chain(gaps.iter().map(|it| (it.from, it.until)))
        .collect();
    all.sort();
    // One after another, none empty, from the beginning to the end.
    let mut end = from;
    for (begin, until) in all {
        assert_eq!(
            begin, end,
            "one and only one holds at each instant: {spec:?}"
        );
        assert!(begin < until, "nothing is empty: {spec:?}");
        end = until;
    }
    assert_eq!(end, until, "{spec:?}");
    let second = SignedDuration::from_secs(1);
    let edges = shifts
        .iter()
        .flat_map(|it| [it.from, it.from - second, it.until, it.until - second]);
    let instants = edges
        .chain(more.iter().copied())
        .filter(|at| from <= *at && *at < until);
    let expected = |at: Timestamp| {
        let turn_of =
            |layer: &LayerSpec| turn(layer, &zones[layer.zone.as_ref().unwrap()], at).cloned();
        spec.layers.iter().rev().find_map(turn_of)
    };
    for at in instants {
        let place = shifts.partition_point(|it| it.until <= at);
        let held = shifts
            .get(place)
            .filter(|it| it.holds(at))
            .map(|it| it.person.clone());
        assert_eq!(held, expected(at), "at {at}: {spec:?}");
    }
    let at = more
        .first()
        .copied()
        .filter(|at| from <= *at && *at < until);
    if let Some(at) = at {
        let alone = schedule.on_call(Role::Primary, at).map(|it| it.person);
        assert_eq!(alone, expected(at), "asked alone, at {at}: {spec:?}");
    }
}

#[test]
fn in_every_zone_and_at_every_change_of_clocks_of_ten_years_a_role_has_one_person_or_is_a_gap() {
    let names: Vec<String> = jiff::tz::db()
        .available()
        .map(|it| it.to_string())
        .collect();
    let zones: BTreeMap<String, TimeZone> = names
        .into_iter()
        .filter_map(|name| {
            let zone = TimeZone::get(&name).ok()?;
            Some((name, zone))
        })
        .collect();
    assert!(zones.len() > 400, "only {} zones are known", zones.len());
    let names: Vec<String> = zones.keys().cloned().collect();
    let (begin, end) = (at("2020-01-01T00:00:00Z"), at("2030-01-01T00:00:00Z"));
    let around = SignedDuration::from_hours(40);
    let mut changes_seen = 0;
    for (number, (zone, rules)) in zones.iter().enumerate() {
        for seed in 0..SHAPES {
            let mut seeded = Seeded(number as u64 * SHAPES + seed);
            let spec = shape(zone, &names, &mut seeded);
            let second = SignedDuration::from_secs(1);
            let changes = rules.following(begin).map(|it| it.timestamp());
            for change in changes.take_while(|it| *it < end) {
                changes_seen += 1;
                let near = [
                    change,
                    change - second,
                    change + second,
                    change + SignedDuration::from_mins(45),
                ];
                check(&spec, &zones, (change - around, change + around), &near);
            }
            // Somewhere between, where nothing changes.
            let quiet = begin + SignedDuration::from_hours(24 * seeded.below(3_600) as i64);
            check(&spec, &zones, (quiet, quiet + around), &[quiet]);
        }
    }
    assert!(
        changes_seen > 5_000,
        "only {changes_seen} changes of clocks were met"
    );
}

#[test]
fn ten_years_of_weeks_have_no_hole_in_any_zone() {
    let (begin, end) = (at("2020-01-06T12:00:00Z"), at("2030-01-01T00:00:00Z"));
    for zone in jiff::tz::db().available() {
        let Ok(found) = Schedule::build(
            name("feed"),
            &spec(json!({"zone": zone.to_string(), "layers": [
            {"name": "week", "people": ["alice", "bob"], "from": "2020-01-01", "handoff": "02:30"}]})),
        ) else {
            continue;
        };
        let shifts = found.shifts_of(Role::Primary, begin, end);
        assert!(
            shifts.windows(2).all(|pair| pair[0].until == pair[1].from),
            "{zone}"
        );
        assert!(
            shifts[0].from <= begin && shifts[shifts.len() - 1].until >= end,
            "{zone}"
        );
    }
}

//! Changes of clocks, picked by hand: each instant was reckoned from the zone's published offsets.

use jiff::civil::date;

use super::*;
use crate::schedule::civil::Zone;

#[test]
fn a_time_that_is_skipped_is_the_moment_of_the_change_and_one_that_comes_twice_is_its_first() {
    let table = [
        // Berlin: 02:00 to 03:00 on 29 March, 03:00 to 02:00 on 25 October.
        (
            "Europe/Berlin",
            date(2026, 3, 29).at(1, 59, 0, 0),
            "2026-03-29T00:59:00Z",
        ),
        (
            "Europe/Berlin",
            date(2026, 3, 29).at(2, 0, 0, 0),
            "2026-03-29T01:00:00Z",
        ),
        (
            "Europe/Berlin",
            date(2026, 3, 29).at(2, 30, 0, 0),
            "2026-03-29T01:00:00Z",
        ),
        (
            "Europe/Berlin",
            date(2026, 3, 29).at(3, 0, 0, 0),
            "2026-03-29T01:00:00Z",
        ),
        (
            "Europe/Berlin",
            date(2026, 10, 25).at(2, 30, 0, 0),
            "2026-10-25T00:30:00Z",
        ),
        (
            "Europe/Berlin",
            date(2026, 10, 25).at(3, 0, 0, 0),
            "2026-10-25T02:00:00Z",
        ),
        // New York: 02:00 to 03:00 on 8 March, 02:00 to 01:00 on 1 November.
        (
            "America/New_York",
            date(2026, 3, 8).at(2, 30, 0, 0),
            "2026-03-08T07:00:00Z",
        ),
        (
            "America/New_York",
            date(2026, 11, 1).at(1, 30, 0, 0),
            "2026-11-01T05:30:00Z",
        ),
        (
            "America/New_York",
            date(2026, 11, 1).at(2, 0, 0, 0),
            "2026-11-01T07:00:00Z",
        ),
        // Lord Howe: half an hour, 02:00 to 02:30 on 4 October, 02:00 to 01:30 on 5 April.
        (
            "Australia/Lord_Howe",
            date(2026, 10, 4).at(2, 15, 0, 0),
            "2026-10-03T15:30:00Z",
        ),
        (
            "Australia/Lord_Howe",
            date(2026, 10, 4).at(2, 30, 0, 0),
            "2026-10-03T15:30:00Z",
        ),
        (
            "Australia/Lord_Howe",
            date(2026, 4, 5).at(1, 45, 0, 0),
            "2026-04-04T14:45:00Z",
        ),
        (
            "Australia/Lord_Howe",
            date(2026, 4, 5).at(2, 0, 0, 0),
            "2026-04-04T15:30:00Z",
        ),
        // Sao Paulo, when it still had summer time: midnight was skipped, and 23:00 came twice.
        (
            "America/Sao_Paulo",
            date(2018, 11, 4).at(0, 0, 0, 0),
            "2018-11-04T03:00:00Z",
        ),
        (
            "America/Sao_Paulo",
            date(2018, 11, 4).at(0, 30, 0, 0),
            "2018-11-04T03:00:00Z",
        ),
        (
            "America/Sao_Paulo",
            date(2018, 2, 17).at(23, 30, 0, 0),
            "2018-02-18T01:30:00Z",
        ),
        (
            "America/Sao_Paulo",
            date(2018, 2, 18).at(0, 0, 0, 0),
            "2018-02-18T03:00:00Z",
        ),
        // Apia crossed the date line: there was no 30 December 2011.
        (
            "Pacific/Apia",
            date(2011, 12, 29).at(23, 59, 0, 0),
            "2011-12-30T09:59:00Z",
        ),
        (
            "Pacific/Apia",
            date(2011, 12, 30).at(9, 0, 0, 0),
            "2011-12-30T10:00:00Z",
        ),
        (
            "Pacific/Apia",
            date(2011, 12, 31).at(0, 0, 0, 0),
            "2011-12-30T10:00:00Z",
        ),
        (
            "Pacific/Apia",
            date(2011, 12, 31).at(9, 0, 0, 0),
            "2011-12-30T19:00:00Z",
        ),
        // Casablanca puts its clocks back for Ramadan, and forward after it.
        (
            "Africa/Casablanca",
            date(2026, 2, 15).at(2, 30, 0, 0),
            "2026-02-15T01:30:00Z",
        ),
        (
            "Africa/Casablanca",
            date(2026, 2, 15).at(3, 0, 0, 0),
            "2026-02-15T03:00:00Z",
        ),
        (
            "Africa/Casablanca",
            date(2026, 3, 22).at(2, 30, 0, 0),
            "2026-03-22T02:00:00Z",
        ),
    ];
    for (zone, civil, instant) in table {
        let found = Zone::named(zone).unwrap().instant(civil);
        assert_eq!(found, at(instant), "{zone} {civil}");
    }
}

#[test]
fn weeks_from_monday_nine_to_monday_nine_have_an_hour_less_in_march_and_one_more_in_october() {
    let schedule = layer(
        "Europe/Berlin",
        &["alice", "bob", "carol"],
        "2026-01-05",
        json!({}),
    );
    let march = primary(&schedule, "2026-03-22T00:00:00Z", "2026-04-06T00:00:00Z");
    assert_eq!(
        told(&march),
        [
            "bob 2026-03-16T08:00:00Z 2026-03-23T08:00:00Z",
            "carol 2026-03-23T08:00:00Z 2026-03-30T07:00:00Z",
            "alice 2026-03-30T07:00:00Z 2026-04-06T07:00:00Z",
        ]
    );
    let october = schedule
        .on_call(Role::Primary, at("2026-10-25T00:00:00Z"))
        .unwrap();
    assert_eq!(october.until.duration_since(october.from).as_hours(), 169);
}

#[test]
fn a_hand_off_at_a_time_that_is_skipped_happens_and_one_that_comes_twice_happens_once() {
    let every = json!({"every": "1d", "handoff": "02:30"});
    let schedule = layer("Europe/Berlin", &["alice", "bob"], "2026-03-27", every);
    let spring = primary(&schedule, "2026-03-28T12:00:00Z", "2026-03-30T00:00:00Z");
    assert_eq!(
        told(&spring),
        [
            "bob 2026-03-28T01:30:00Z 2026-03-29T01:00:00Z",
            "alice 2026-03-29T01:00:00Z 2026-03-30T00:30:00Z",
        ]
    );
    let autumn = primary(&schedule, "2026-10-25T00:00:00Z", "2026-10-25T03:00:00Z");
    let ends: Vec<_> = autumn
        .iter()
        .map(|it| it.from.max(at("2026-10-25T00:00:00Z")).to_string())
        .collect();
    assert_eq!(ends, ["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z"]);
}

#[test]
fn a_day_that_the_calendar_skipped_leaves_its_turn_what_is_left_of_it() {
    let schedule = layer(
        "Pacific/Apia",
        &["alice", "bob", "carol"],
        "2011-12-28",
        json!({"every": "1d"}),
    );
    let shifts = primary(&schedule, "2011-12-29T19:00:00Z", "2011-12-31T18:00:00Z");
    assert_eq!(
        told(&shifts),
        [
            "bob 2011-12-29T19:00:00Z 2011-12-30T10:00:00Z",
            "carol 2011-12-30T10:00:00Z 2011-12-30T19:00:00Z",
            "alice 2011-12-30T19:00:00Z 2011-12-31T19:00:00Z",
        ]
    );
}

#[test]
fn hours_of_a_layer_follow_its_own_clock_and_go_over_midnight() {
    let nights = json!({"every": "1d", "handoff": "00:00", "hours": [{"days": ["sat"], "from": "22:00", "until": "06:00"}]});
    let schedule = layer("Europe/Berlin", &["alice"], "2026-03-01", nights);
    let spring = primary(&schedule, "2026-03-28T00:00:00Z", "2026-03-30T00:00:00Z");
    // The night in which clocks are put forward has seven hours, cut at the hand-off at midnight.
    assert_eq!(
        told(&spring),
        [
            "alice 2026-03-28T21:00:00Z 2026-03-28T23:00:00Z",
            "alice 2026-03-28T23:00:00Z 2026-03-29T04:00:00Z",
        ]
    );
}

#[test]
fn following_the_sun_covers_a_day_with_three_zones_and_tells_the_hour_that_is_left() {
    let site = |name: &str, person: &str, zone: &str, from: &str, until: &str| {
        json!({"name": name, "people": [person], "zone": zone, "from": "2026-01-01", "handoff": "00:00",
            "hours": [{"from": from, "until": until}]})
    };
    let schedule = built(json!({"zone": "UTC", "layers": [
        site("asia", "alice", "Asia/Tokyo", "09:00", "17:00"),
        site("europe", "bob", "Europe/Berlin", "09:00", "17:00"),
        site("america", "carol", "America/New_York", "11:00", "19:00"),
    ]}));
    let gaps = |day: &str| -> Vec<String> {
        let from = at(&format!("{day}T00:00:00Z"));
        let gaps = schedule.gaps(from, from + jiff::SignedDuration::from_hours(24));
        gaps.iter()
            .map(|gap| format!("{} {}", gap.from, gap.until))
            .collect()
    };
    // In winter they meet; Berlin's summer begins an hour early, and New York's has begun before it.
    assert_eq!(gaps("2026-01-14"), Vec::<String>::new());
    assert_eq!(
        gaps("2026-03-16"),
        ["2026-03-16T23:00:00Z 2026-03-17T00:00:00Z"]
    );
    assert_eq!(
        gaps("2026-07-15"),
        ["2026-07-15T23:00:00Z 2026-07-16T00:00:00Z"]
    );
}

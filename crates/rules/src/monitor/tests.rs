use mainstay_core::{Span, Time, monitor::Unit};
use mainstay_promql::{Labels, QueryResult, Sample};
use serde_json::{Value, json};

use super::{run::in_unit, *};
use crate::AlertState;

fn at(secs: i64) -> Time {
    Time::from_millis(secs * 1_000)
}

fn monitor(name: &str, spec: Value) -> Monitor {
    let metadata = Metadata {
        name: Name::new(name).unwrap(),
        labels: BTreeMap::from([("severity".to_owned(), "page".to_owned())]),
    };
    Monitor::new(metadata, serde_json::from_value(spec).unwrap())
}

/// Each service has a backup younger than a day.
fn backup(every: Value) -> MonitorRun {
    MonitorRun::new(monitor(
        "backup",
        json!({"every": every, "expr": "age", "op": "<", "limit": 86_400, "for": "1m", "remedy": "run one"}),
    ))
}

fn services(names: &[&str]) -> Vec<Entity> {
    names
        .iter()
        .map(|name| Entity::new(EntityKind::Service, *name))
        .collect()
}

fn vector(values: &[(&str, &str, f64)]) -> QueryResult {
    let series = values.iter().map(|(label, name, value)| {
        let sample = Sample {
            timestamp_ms: 0,
            value: *value,
        };
        let labels = Labels::from_pairs([(*label, *name), ("shard", &format!("{value}"))]);
        InstantSeries::float(labels, sample)
    });
    QueryResult::Vector(series.collect())
}

impl MonitorRun {
    fn sees(&mut self, secs: i64, entities: &[Entity], ages: &[(&str, f64)]) {
        let ages: Vec<_> = ages
            .iter()
            .map(|(name, age)| ("service", *name, *age))
            .collect();
        self.observe(at(secs), entities, |_| Ok(vector(&ages)));
    }

    fn verdicts(&self) -> Vec<(&str, Verdict)> {
        let all = self.tracks.iter();
        all.map(|(name, it)| (name.as_str(), it.finding.verdict))
            .collect()
    }

    fn firing(&self) -> Vec<&str> {
        let active = self.alerts.active();
        active
            .filter(|it| it.state == AlertState::Firing)
            .filter_map(|it| it.labels.get("service"))
            .collect()
    }
}

#[test]
fn an_entity_is_red_beyond_the_limit_and_red_without_data_though_it_was_never_seen() {
    let all = services(&["audit", "orders", "users"]);
    let mut run = backup(json!({"kind": "service"}));
    run.sees(0, &all, &[("orders", 90_000.0), ("users", 60.0)]);
    let expected = [
        ("audit", Verdict::NoData),
        ("orders", Verdict::Fail),
        ("users", Verdict::Pass),
    ];
    assert_eq!(run.verdicts(), expected);
    assert_eq!(run.standing(), Standing::Fail);
    assert_eq!(run.tracks["audit"].seen_at, None);
    run.sees(15, &all, &[("orders", 60.0), ("users", 86_400.0)]);
    assert_eq!(run.standing(), Standing::Fail, "the limit itself is beyond");
    run.sees(30, &all, &[("orders", 60.0), ("users", 60.0)]);
    assert_eq!(run.standing(), Standing::NoData);
    run.sees(45, &all, &[("orders", 1.0), ("users", 1.0), ("audit", 1.0)]);
    assert_eq!(run.standing(), Standing::Pass);
}

#[test]
fn a_monitor_that_selects_nothing_is_not_green() {
    let mut run = backup(json!({"kind": "service", "labels": {"role": "database"}}));
    let ages = [("orders", 1.0), ("orders", 2.0), ("users", 3.0)];
    run.sees(0, &services(&["orders"]), &ages);
    assert_eq!(run.standing(), Standing::NoData);
    assert_eq!(run.strangers, 3);
}

#[test]
fn the_worst_of_several_series_decides_and_what_is_not_a_number_is_worse_than_any() {
    let all = services(&["a", "b", "c"]);
    let mut run = backup(json!({"kind": "service"}));
    let ages = [
        ("a", 1.0),
        ("a", 90_000.0),
        ("b", 1.0),
        ("b", 2.0),
        ("c", f64::NAN),
        ("c", 1.0),
    ];
    run.sees(0, &all, &ages);
    let expected = [
        ("a", Verdict::Fail),
        ("b", Verdict::Pass),
        ("c", Verdict::Fail),
    ];
    assert_eq!(run.verdicts(), expected);
    assert_eq!(run.tracks["b"].finding.value, Some(2.0));
    assert!(run.tracks["c"].finding.value.is_some_and(f64::is_nan));
    let spec = json!({"every": {"kind": "service"}, "expr": "free", "op": ">=", "limit": 5});
    let mut run = MonitorRun::new(monitor("free", spec));
    run.sees(0, &all, &[("a", 5.0), ("a", 9.0), ("b", 9.0), ("b", 4.0)]);
    assert_eq!(run.tracks["a"].finding.verdict, Verdict::Pass);
    assert_eq!(run.tracks["b"].finding.value, Some(4.0));
}

#[test]
fn entities_are_chosen_by_kind_name_label_service_and_fabric() {
    let mut web = Entity::new(EntityKind::Instance, "web-lax-1");
    web.service = Some("web".parse().unwrap());
    web.fabric = Some("lax".parse().unwrap());
    web.labels = BTreeMap::from([("tier".to_owned(), "edge".to_owned())]);
    let mut api = Entity::new(EntityKind::Instance, "api-iad-1");
    api.service = Some("api".parse().unwrap());
    api.fabric = Some("iad".parse().unwrap());
    let all = [web, api, Entity::new(EntityKind::Host, "web-lax-1")];
    for (every, chosen) in [
        (json!({"kind": "instance"}), &["web-lax-1", "api-iad-1"][..]),
        (
            json!({"kind": "instance", "services": ["api"]}),
            &["api-iad-1"],
        ),
        (
            json!({"kind": "instance", "fabrics": ["lax"]}),
            &["web-lax-1"],
        ),
        (
            json!({"kind": "instance", "labels": {"tier": "edge"}}),
            &["web-lax-1"],
        ),
        (json!({"kind": "instance", "labels": {"tier": "core"}}), &[]),
        (
            json!({"kind": "instance", "except": ["web-lax-1"]}),
            &["api-iad-1"],
        ),
        (
            json!({"kind": "host", "names": ["web-lax-1"]}),
            &["web-lax-1"],
        ),
    ] {
        let told = every.to_string();
        let run = backup(every);
        let found: Vec<&str> = all
            .iter()
            .filter(|it| run.monitor.watches(it))
            .map(|it| it.name.as_str())
            .collect();
        assert_eq!(found, chosen, "{told}");
    }
}

#[test]
fn an_entity_that_is_named_but_left_the_catalog_is_red() {
    let mut run = backup(json!({"kind": "service", "names": ["orders", "audit"]}));
    run.sees(0, &services(&["orders", "users"]), &[("orders", 1.0)]);
    let expected = [("audit", Verdict::NoData), ("orders", Verdict::Pass)];
    assert_eq!(run.verdicts(), expected);
    assert!(!run.tracks["audit"].finding.is_declared);
}

#[test]
fn an_alert_fires_for_each_red_entity_after_a_while_and_ends_with_it_or_with_its_monitor() {
    let all = services(&["audit", "orders"]);
    let mut run = backup(json!({"kind": "service"}));
    run.sees(0, &all, &[("orders", 90_000.0)]);
    assert_eq!(run.firing(), Vec::<&str>::new());
    run.sees(60, &all, &[("orders", 90_060.0)]);
    assert_eq!(run.firing(), ["audit", "orders"]);
    let told = run.alerts.to_tell(at(60), Span::from_secs(60));
    let (alert, is_news) = &told[1];
    assert!(is_news);
    let label = |name| alert.labels.get(name);
    assert_eq!(
        [label("alertname"), label("severity"), label("service")],
        [Some("backup"), Some("page"), Some("orders")]
    );
    assert_eq!(
        alert.annotations["summary"],
        "service orders is 90060, and should be < 86400"
    );
    assert_eq!(alert.annotations["remedy"], "run one");
    run.sees(75, &all, &[("orders", 5.0)]);
    assert_eq!(run.firing(), ["audit"]);
    run.end(at(90));
    assert_eq!(run.firing(), Vec::<&str>::new());
    assert_eq!(run.alerts.to_tell(at(90), Span::from_secs(60)).len(), 2);
}

#[test]
fn an_expression_that_fails_is_an_error_and_leaves_verdicts_and_alerts_as_they_were() {
    let all = services(&["orders"]);
    let mut run = backup(json!({"kind": "service"}));
    run.sees(0, &all, &[("orders", 90_000.0)]);
    run.sees(60, &all, &[("orders", 90_000.0)]);
    let wrong = Query::parse("rate(").unwrap_err();
    run.observe(at(75), &all, |_| Err(wrong));
    assert_eq!(run.standing(), Standing::Error);
    assert_eq!(run.firing(), ["orders"]);
    run.observe(at(90), &all, |_| Ok(QueryResult::String("x".to_owned())));
    assert_eq!(run.error, Some(MonitorError::NotAVector));
    run.sees(105, &all, &[("orders", 1.0)]);
    assert_eq!((run.standing(), run.firing()), (Standing::Pass, vec![]));
}

#[test]
fn an_entity_that_turns_red_and_back_flaps_until_it_was_calm_for_an_hour() {
    let all = services(&["broken", "calm", "orders"]);
    let mut run = backup(json!({"kind": "service"}));
    for round in 0..5 {
        let age = if round % 2 == 0 { 1.0 } else { 90_000.0 };
        let flaps = run.flapping(at(round * 60)).count();
        assert_eq!(flaps, 0, "too early in round {round}");
        let mut ages = vec![("orders", age), ("calm", 1.0)];
        if round % 2 == 0 {
            // Without data in the other rounds: red all the time.
            ages.push(("broken", 90_000.0));
        }
        run.sees(round * 60, &all, &ages);
    }
    let flapping = |run: &MonitorRun, secs| {
        let all = run.flapping(at(secs));
        all.map(|it| (it.finding.entity.name.clone(), it.turns(at(secs))))
            .collect::<Vec<_>>()
    };
    assert_eq!(flapping(&run, 240), [("orders".to_owned(), 4)]);
    assert_eq!(flapping(&run, 3_659).len(), 1);
    assert_eq!(flapping(&run, 3_660).len(), 0);
}

#[test]
fn a_monitor_most_of_whose_entities_are_red_for_a_day_is_noisy() {
    let (all, day) = (services(&["a", "b", "c", "d"]), 86_400);
    let mut run = backup(json!({"kind": "service"}));
    run.sees(0, &all, &[("a", 90_000.0), ("c", 1.0), ("d", 1.0)]);
    // Red in another way is red all the same.
    run.sees(
        60,
        &all,
        &[("a", 90_000.0), ("b", 90_000.0), ("c", 1.0), ("d", 1.0)],
    );
    assert!(!run.is_noisy(at(day - 1)));
    assert_eq!((run.red_long(at(day)), run.is_noisy(at(day))), (2, true));
    run.sees(
        day,
        &all,
        &[("a", 1.0), ("b", 90_000.0), ("c", 1.0), ("d", 1.0)],
    );
    assert_eq!((run.red_long(at(day)), run.is_noisy(at(day))), (1, false));
}

#[test]
fn another_expectation_begins_anew_and_one_that_stays_goes_on() {
    let all = services(&["orders"]);
    let mut run = backup(json!({"kind": "service"}));
    run.sees(0, &all, &[("orders", 90_000.0)]);
    let same = run.monitor.clone();
    run.adopt(same);
    assert_eq!(run.tracks["orders"].since, at(0));
    run.adopt(backup(json!({"kind": "service", "except": ["users"]})).monitor);
    run.sees(15, &all, &[("orders", 90_000.0)]);
    assert_eq!(run.tracks["orders"].since, at(15));
}

#[test]
fn coverage_counts_each_entity_once_and_names_those_nobody_watches() {
    let mut all = services(&["audit", "orders", "users"]);
    all.push(Entity::new(EntityKind::Host, "lax-1"));
    let one = backup(json!({"kind": "service", "names": ["orders"]})).monitor;
    let two = backup(json!({"kind": "service", "except": ["audit"]})).monitor;
    let covered = coverage(&all, &[&one, &two]);
    let of = |kind| covered.iter().find(|it| it.kind == kind).unwrap();
    let services = of(EntityKind::Service);
    assert_eq!(
        (services.watched, &services.unwatched[..]),
        (2, &["audit".to_owned()][..])
    );
    assert_eq!(of(EntityKind::Host).unwatched, ["lax-1"]);
    assert_eq!(
        of(EntityKind::Fabric),
        &Coverage {
            kind: EntityKind::Fabric,
            watched: 0,
            unwatched: Vec::new(),
        }
    );
}

#[test]
fn only_an_expression_with_a_value_of_each_series_is_one() {
    assert_eq!(check("max by (service) (age)"), Ok(()));
    assert!(
        check("max by (service (age)")
            .unwrap_err()
            .starts_with("1:")
    );
    for expr in ["1", "age[5m]", "'x'", "scalar(age)"] {
        assert!(check(expr).is_err(), "{expr}");
    }
}

#[test]
fn an_alert_says_values_in_their_unit() {
    for (value, unit, expected) in [
        (90_060.7, Some(Unit::Seconds), "1d1h1m"),
        (0.25, Some(Unit::Seconds), "0.25s"),
        (-5.0, Some(Unit::Seconds), "-5s"),
        (f64::INFINITY, Some(Unit::Seconds), "infs"),
        (0.071, Some(Unit::Ratio), "7.1 %"),
        (3.5, None, "3.5"),
    ] {
        assert_eq!(in_unit(value, unit), expected);
    }
}

use super::*;
use crate::{AlertState, RuleFile};
use mainstay_promql::{Error, Query, QueryResult};
use std::collections::BTreeMap;

/// Nobody may ask.
struct Nobody;

impl Source for Nobody {
    fn instant(&self, query: &Query, _: i64) -> Result<QueryResult, Error> {
        panic!("asked for {}", query.text())
    }
}

struct Stage {
    live: LiveGroup,
    slots: BTreeMap<Labels, Slots>,
    source: Arc<dyn Source>,
}

impl Stage {
    fn of(rules: &str) -> Self {
        let text = format!("groups:\n- name: g\n  rules:\n{rules}");
        let group = RuleFile::parse(&text).unwrap().groups.remove(0);
        let group = GroupRun::new("f.yml", group, Span::from_secs(60), Span::ZERO);
        Self {
            live: LiveGroup::of(&group, Span::from_secs(300), at(0)),
            slots: BTreeMap::new(),
            source: Arc::new(Nobody),
        }
    }

    fn take(&mut self, host: &str, at_ms: i64, value: f64) {
        let labels = Labels::from_pairs([("__name__", "load"), ("host", host)]);
        let slots = self.slots.entry(labels.clone());
        let slots = slots.or_insert_with(|| self.live.open(&labels));
        self.live.take(slots, at_ms, value);
    }

    fn turn(&mut self, at_ms: i64) -> Vec<(String, AlertState)> {
        let external = External::default();
        let around = Around {
            external: &external,
            source: &self.source,
        };
        self.live.turn(at(at_ms), around);
        self.states()
    }

    fn tick(&mut self, at_ms: i64) -> Evaluation {
        let external = External::default();
        let around = Around {
            external: &external,
            source: &self.source,
        };
        self.live.tick(0, at(at_ms), around)
    }

    fn states(&mut self) -> Vec<(String, AlertState)> {
        let run = self.live.run_mut(0).unwrap();
        let told = run.alerts.all();
        told.map(|it| (it.labels.get("host").unwrap_or("").to_owned(), it.state))
            .collect()
    }
}

fn at(ms: i64) -> Time {
    Time::from_millis(ms)
}

#[test]
fn an_alert_waits_fires_and_ends_between_two_evaluations_of_its_group() {
    let mut stage = Stage::of("  - {alert: Busy, expr: load > 5, for: 10s}\n");
    stage.tick(0);
    let a = |state| vec![("a".to_owned(), state)];
    stage.take("a", 1_000, 9.0);
    assert_eq!(stage.turn(1_003), a(AlertState::Pending));
    // Nothing comes any more: the wait runs out by itself, to the millisecond.
    let mut now = 1_003;
    while stage.states() == a(AlertState::Pending) {
        now = stage.live.wake_at().unwrap().millis();
        stage.turn(now);
    }
    assert_eq!((now, stage.states()), (11_003, a(AlertState::Firing)));
    stage.take("a", 12_000, 1.0);
    assert_eq!(stage.turn(12_001), a(AlertState::Resolved));
}

#[test]
fn a_series_that_comes_no_more_ends_its_alert_by_itself() {
    let mut stage = Stage::of("  - {alert: Busy, expr: load > 5, keep_firing_for: 1m}\n");
    stage.tick(0);
    stage.take("a", 1_000, 9.0);
    stage.turn(1_000);
    while let Some(wake) = stage.live.wake_at() {
        if stage.turn(wake.millis())[0].1 == AlertState::Resolved {
            assert_eq!(wake, at(1_000 + 300_000 + 60_000));
            return;
        }
    }
    panic!("nothing more to come: {:?}", stage.states());
}

#[test]
fn each_host_that_stops_reporting_has_its_own_alert_without_any_being_listed() {
    let mut stage = Stage::of(
        "  - {alert: Silent, expr: 'group by (host) (last_over_time(load[1h])) unless group by (host) (load)'}\n",
    );
    stage.tick(0);
    for (host, at_ms) in [("a", 1_000), ("b", 2_000)] {
        stage.take(host, at_ms, 1.0);
        assert_eq!(stage.turn(at_ms), []);
    }
    // `a` goes silent, `b` ends with a marker, `c` comes only now.
    stage.take("b", 200_000, f64::from_bits(0x7ff0_0000_0000_0002));
    let b = ("b".to_owned(), AlertState::Firing);
    assert_eq!(stage.turn(200_000), std::slice::from_ref(&b));
    stage.take("c", 250_000, 1.0);
    let mut now = 250_000;
    while stage.turn(now).len() == 1 {
        now = stage.live.wake_at().unwrap().millis();
    }
    let a = ("a".to_owned(), AlertState::Firing);
    assert_eq!((now, stage.states()), (301_000, vec![a.clone(), b]));
    stage.take("b", 302_000, 1.0);
    let b = ("b".to_owned(), AlertState::Resolved);
    assert_eq!(stage.turn(302_000), [a, b]);
}

#[test]
fn a_store_that_fills_is_not_taken_for_absence() {
    let mut stage = Stage::of("  - {alert: Few, expr: count(load) < 2}\n");
    stage.take("a", 1_000, 1.0);
    assert_eq!(stage.turn(1_000), []);
    stage.take("b", 1_001, 1.0);
    stage.tick(2_000);
    assert_eq!(stage.states(), []);
    stage.take("b", 3_000, f64::from_bits(0x7ff0_0000_0000_0002));
    assert_eq!(stage.turn(3_000), [(String::new(), AlertState::Firing)]);
}

#[test]
fn what_is_recorded_is_written_at_the_groups_rhythm_with_its_end() {
    let mut stage = Stage::of("  - {record: total, expr: sum(load)}\n");
    for (host, value) in [("a", 1.0), ("b", 2.5)] {
        stage.take(host, 1_000, value);
    }
    stage.turn(1_000);
    let samples = stage.tick(2_000).samples;
    assert_eq!(samples.len(), 1);
    assert_eq!((samples[0].at_ms, samples[0].value), (2_000, Some(3.5)));
    assert_eq!(stage.tick(400_000).samples[0].value, None);
}

#[test]
fn series_that_come_and_go_leave_room_and_are_counted_once() {
    let mut stage = Stage::of(
        "  - {alert: Many, expr: count(load) > 1}\n  - {alert: Any, expr: absent(load) == 1}\n",
    );
    stage.tick(0);
    for run in 0..2_000 {
        stage.take(&run.to_string(), 1_000 + run, 1.0);
    }
    stage.turn(3_000);
    assert!(!stage.live.renew());
    stage.take("stays", 400_000, 1.0);
    stage.turn(400_000);
    assert!(stage.live.renew());
    stage.slots.clear();
    stage.take("stays", 400_001, 1.0);
    let states = stage.turn(400_001);
    assert_eq!(states, [(String::new(), AlertState::Resolved)]);
    stage.take("comes", 400_002, 1.0);
    let states = stage.turn(400_002);
    assert_eq!(states, [(String::new(), AlertState::Firing)]);
}

/// Answers whatever is asked with a histogram.
struct Histograms;

impl Source for Histograms {
    fn instant(&self, _: &Query, at_ms: i64) -> Result<QueryResult, Error> {
        let sample = mainstay_promql::Sample {
            timestamp_ms: at_ms,
            value: f64::NAN,
        };
        Ok(QueryResult::Vector(vec![InstantSeries {
            labels: Labels::from_pairs([("host", "a")]),
            sample,
            histogram: Some(Arc::default()),
        }]))
    }
}

#[test]
fn a_rule_whose_series_becomes_a_histogram_is_answered_by_the_engine_from_then_on() {
    let mut stage = Stage::of("  - {record: total, expr: sum(load)}\n");
    stage.take("a", 1_000, 1.0);
    assert_eq!(stage.tick(2_000).samples[0].value, Some(1.0));
    let labels = Labels::from_pairs([("__name__", "load"), ("host", "a")]);
    stage.live.take_histogram(&stage.slots[&labels]);
    stage.take("a", 3_000, 2.0);
    assert_eq!(stage.turn(3_000), []);
    stage.source = Arc::new(Histograms);
    let samples = stage.tick(4_000).samples;
    assert_eq!(samples[0].histogram, Some(Arc::default()));
}

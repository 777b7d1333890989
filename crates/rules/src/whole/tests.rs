use std::sync::{Arc, Mutex, PoisonError};

use mainstay_promql::{Error, InstantSeries, Query, QueryResult, Sample};

use super::*;
use crate::{AlertState, External, RuleFile, Source};

/// Gives one series while `holds`, and counts who asks.
#[derive(Default)]
struct World(Mutex<State>);

#[derive(Default)]
struct State {
    holds: bool,
    fails: bool,
    asked_at_ms: Vec<i64>,
}

impl Source for World {
    fn instant(&self, _: &Query, at_ms: i64) -> Result<QueryResult, Error> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked_at_ms.push(at_ms);
        if state.fails {
            return Err(Query::parse("1 +").unwrap_err());
        }
        let sample = Sample {
            timestamp_ms: at_ms,
            value: 1.0,
        };
        let one = InstantSeries::float(Labels::from_pairs([("host", "a")]), sample);
        Ok(QueryResult::Vector(Vec::from_iter(
            state.holds.then_some(one),
        )))
    }
}

struct Stage {
    whole: WholeGroup,
    world: Arc<World>,
    source: Arc<dyn Source>,
}

impl Stage {
    /// One alert of a group that is evaluated each minute, and was at 0.
    fn of(rule: &str, group: &str) -> Self {
        let text = format!(
            "groups:\n- name: g\n{group}  rules:\n  - {{alert: Top, expr: 'topk(1, load) > 5'{rule}}}\n"
        );
        let group = RuleFile::parse(&text).unwrap().groups.remove(0);
        let group = GroupRun::new("f.yml", group, Span::from_secs(60), Span::ZERO);
        let world = Arc::new(World::default());
        let mut stage = Self {
            whole: WholeGroup::of(&group, Span::from_secs(300), at(0)),
            source: world.clone(),
            world,
        };
        stage.tick(0);
        stage.whole.rest(0, at(0), Span::ZERO);
        stage
    }

    fn holds(&self, holds: bool) {
        self.world.0.lock().unwrap().holds = holds;
    }

    fn tick(&mut self, at_ms: i64) -> Evaluation {
        let external = External::default();
        let around = Around {
            external: &external,
            source: &self.source,
        };
        self.whole.tick(0, at(at_ms), around)
    }

    fn arrives(&mut self, name: &str, at_ms: i64) {
        let concerned = self.whole.open(&Labels::from_pairs([("__name__", name)]));
        self.whole.take(&concerned, at_ms, at(at_ms));
    }

    /// Evaluates what is due until `until_ms`, each evaluation takes `took`; when it did.
    fn run(&mut self, until_ms: i64, took: Span) -> Vec<i64> {
        let mut turned = Vec::new();
        while let Some(wake) = self.whole.wake_at().filter(|it| it.millis() <= until_ms) {
            let place = self.whole.due(wake).unwrap();
            let external = External::default();
            let around = Around {
                external: &external,
                source: &self.source,
            };
            self.whole.turn(place, wake, around);
            self.whole.rest(place, wake + took, took);
            turned.push(wake.millis());
        }
        turned
    }

    fn states(&mut self) -> Vec<AlertState> {
        let run = self.whole.run_mut(0).unwrap();
        run.alerts.all().map(|it| it.state).collect()
    }
}

fn at(ms: i64) -> Time {
    Time::from_millis(ms)
}

#[test]
fn an_alert_is_evaluated_when_a_sample_arrives_that_it_selects_and_for_no_other() {
    let mut stage = Stage::of("", "");
    stage.holds(true);
    stage.arrives("other", 1_000);
    assert_eq!(stage.run(9_000, Span::ZERO), [0_i64; 0]);
    stage.arrives("load", 10_000);
    assert_eq!(stage.run(20_000, Span::ZERO), [10_000]);
    assert_eq!(stage.states(), [AlertState::Firing]);
    stage.holds(false);
    stage.arrives("load", 21_000);
    assert_eq!(stage.run(30_000, Span::ZERO), [21_000]);
    assert_eq!(stage.states(), [AlertState::Resolved]);
}

#[test]
fn many_arrivals_cost_a_fifth_of_a_processor_at_most_and_none_is_forgotten() {
    let mut stage = Stage::of("", "");
    let took = Span::from_millis(200);
    let mut turned = Vec::new();
    for at_ms in (1_000..6_000).step_by(10) {
        stage.arrives("load", at_ms);
        turned.extend(stage.run(at_ms, took));
    }
    assert_eq!(turned, [1_000, 2_000, 3_000, 4_000, 5_000]);
    assert_eq!(stage.run(60_000, took), [6_000]);
    assert_eq!(stage.run(600_000, took), [0_i64; 0]);
}

#[test]
fn what_takes_long_rests_no_longer_than_its_interval() {
    let mut stage = Stage::of("", "");
    let took = Span::from_secs(40);
    stage.arrives("load", 1_000);
    stage.run(1_000, took);
    stage.arrives("load", 2_000);
    assert_eq!(stage.run(200_000, took), [1_000 + 40_000 + 60_000]);
}

#[test]
fn a_wait_runs_out_though_nothing_arrives() {
    let mut stage = Stage::of(", for: 10s", "");
    stage.holds(true);
    stage.arrives("load", 1_000);
    assert_eq!(stage.run(60_000, Span::ZERO), [1_000, 11_000]);
    assert_eq!(stage.states(), [AlertState::Firing]);
}

#[test]
fn one_that_fails_keeps_its_alerts_and_is_asked_again_after_an_interval() {
    let mut stage = Stage::of(", for: 10s", "");
    stage.holds(true);
    stage.arrives("load", 1_000);
    stage.run(1_000, Span::ZERO);
    stage.world.0.lock().unwrap().fails = true;
    assert_eq!(stage.run(80_000, Span::ZERO), [11_000, 71_000]);
    let run = stage.whole.run_mut(0).unwrap();
    assert!(run.error.is_some());
    assert_eq!(stage.states(), [AlertState::Pending]);
}

#[test]
fn a_group_that_looks_behind_evaluates_when_the_sample_comes_into_its_sight() {
    let mut stage = Stage::of("", "  query_offset: 30s\n");
    stage.arrives("load", 1_000);
    stage.arrives("load", 2_010);
    assert_eq!(stage.run(60_000, Span::ZERO), [31_050, 32_050]);
    let asked = &stage.world.0.lock().unwrap().asked_at_ms;
    assert_eq!(asked[1..], [1_050, 2_050]);
}

#[test]
fn nothing_is_evaluated_before_the_groups_first_round() {
    let mut stage = Stage::of("", "");
    stage.whole.run_mut(0).unwrap().evaluated_at = None;
    stage.arrives("load", 1_000);
    stage.whole.take_all(at(1_000));
    assert_eq!(stage.whole.wake_at(), None);
}

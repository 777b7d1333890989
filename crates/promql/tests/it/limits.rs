//! A query over a limit is an error that names the limit.

use mainstay_promql::{
    Ask, Engine, EngineOptions, ErrorKind, Labels, Matcher, Pool, Query, Series, Storage,
    StorageError, When,
};

struct OneSeries;

impl Storage for OneSeries {
    fn select(&self, _: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, StorageError> {
        let labels = Labels::from_pairs([("__name__", "a")]);
        Ok(vec![Series::floats(
            labels,
            vec![0].into(),
            vec![1.0].into(),
        )])
    }
}

#[test]
fn too_many_steps_or_samples_name_their_limit() {
    let query = Query::parse("a + a").unwrap();
    let engine = Engine::new(EngineOptions::default());
    let error = engine.range(&OneSeries, &query, 0, 11_000, 1).unwrap_err();
    assert!(matches!(
        error.kind,
        ErrorKind::Limit {
            what: "steps",
            value: 11_001,
            ..
        }
    ));
    let small = Engine::new(EngineOptions {
        max_samples: 100,
        ..EngineOptions::default()
    });
    let error = small.range(&OneSeries, &query, 0, 999, 1).unwrap_err();
    assert!(matches!(
        error.kind,
        ErrorKind::Limit {
            what: "samples",
            ..
        }
    ));
}

#[test]
fn queries_together_hold_no_more_than_their_pool() {
    let query = Query::parse("a + a").unwrap();
    let engine = Engine::new(EngineOptions::default());
    let pool = Pool::new(1_500);
    let run = |end_ms: i64| {
        let when = When::Range {
            start_ms: 0,
            end_ms,
            step_ms: 1,
        };
        let ask = Ask {
            pool: Some(&pool),
            ..Ask::uninterrupted(when)
        };
        engine.ask(&OneSeries, &query, &ask)
    };
    let error = run(2_999).unwrap_err();
    let ErrorKind::Crowded { held, limit: 1_500 } = error.kind else {
        panic!("{error}");
    };
    assert!(held > 1_500);
    // What failed holds nothing, and neither does what was answered.
    assert_eq!(pool.held(), 0);
    assert!(run(99).is_ok());
    assert_eq!(pool.held(), 0);
}

#[test]
fn times_at_the_edge_of_the_integers_are_refused() {
    let query = Query::parse("a[5m:1s]").unwrap();
    let engine = Engine::new(EngineOptions::default());
    for at in [i64::MIN, i64::MAX] {
        let error = engine.instant(&OneSeries, &query, at).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Invalid(_)));
    }
}

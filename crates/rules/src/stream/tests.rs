use super::*;
use mainstay_promql::{Engine, EngineOptions, QueryResult, Series, Storage, StorageError};
use proptest::prelude::*;
use std::collections::BTreeMap;

const LOOKBACK_MS: i64 = 60_000;
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// What is kept up to date, and asked of the engine at every turn.
const EXPRESSIONS: [&str; 34] = [
    "m",
    "m{i=\"0\"}",
    "m > 2",
    "2 <= m",
    "m >= bool 2",
    "-m * 2 + 1",
    "abs(m - 3)",
    "m == 1 or n",
    "m and on (j) n > 1",
    "m unless on (i) n",
    "sum(m)",
    "sum by (j) (m) > 3",
    "avg without (i) (m)",
    "min by (j) (m) < max by (j) (m)",
    "count by (j) (m) == 2",
    "group(m)",
    "stddev by (j) (m)",
    "m / ignoring (x) n",
    "m / on (i, j) n > 0.5",
    "m / on (j) n",
    "sum by (j) (m) / sum by (j) (n)",
    REORDERED,
    "absent(m{i=\"0\"})",
    "absent_over_time(m{i=\"1\"}[30s])",
    "increase(m[45s])",
    "sum by (j) (rate(m[45s])) / count by (j) (m) > 0.01",
    "delta(m[30s]) and on (i, j) n",
    "sum_over_time(m[30s]) + max_over_time(m[30s])",
    "avg_over_time({i=\"0\"}[30s])",
    "changes(m[1m]) + resets(m[1m]) > 1",
    "quantile_over_time(0.7, m[40s])",
    "histogram_quantile(0.9, sum by (le, j) (increase(b[45s])))",
    "time() - timestamp(m) > 20",
    "last_over_time(m[20s]) or vector(time())",
];

#[derive(Debug, Clone)]
enum Step {
    /// Series, how old the sample is, its value.
    Sample(usize, i64, f64),
    Wait(i64),
    /// To where something happens by itself.
    Wake,
}

fn series() -> Vec<Labels> {
    let mut all = Vec::new();
    for name in ["m", "n"] {
        for (i, j) in [("0", "a"), ("1", "a"), ("2", "b")] {
            all.push(Labels::from_pairs([("__name__", name), ("i", i), ("j", j)]));
        }
    }
    for le in ["1", "2", "+Inf", "not a number"] {
        all.push(Labels::from_pairs([
            ("__name__", "b"),
            ("le", le),
            ("j", "a"),
        ]));
    }
    all
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = prop_oneof![
        12 => (0_u32..8).prop_map(f64::from),
        2 => -1e3..1e3_f64,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        2 => Just(STALE),
    ];
    // Some come late, some from ahead of the clock.
    let age = prop_oneof![6 => Just(0_i64), 2 => 0_i64..90_000, 1 => -20_000_i64..0];
    let step = prop_oneof![
        6 => (0_usize..10, age, value).prop_map(|(at, age, value)| Step::Sample(at, age, value)),
        3 => (1_i64..20_000).prop_map(Step::Wait),
        2 => Just(Step::Wake),
        1 => (30_000_i64..200_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..60)
}

/// Every sample that ever came.
#[derive(Default)]
struct Store(BTreeMap<Labels, BTreeMap<i64, f64>>);

impl Storage for Store {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, StorageError> {
        let wanted = self.0.iter().filter(|(labels, _)| {
            let value = |name: &str| labels.get(name).unwrap_or("");
            matchers.iter().all(|it| it.matches(value(&it.name)))
        });
        let found = wanted.map(|(labels, samples)| {
            let inside = samples.range(start_ms..=end_ms);
            let (times, values): (Vec<i64>, Vec<f64>) = inside.unzip();
            Series::floats(labels.clone(), times.into(), values.into())
        });
        Ok(found.collect())
    }
}

/// Sums over the groups of another aggregation, which are added up in another order.
const REORDERED: &str = "sum(max by (j) (m))";

fn is_alike(a: f64, b: f64, slack: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= slack * (a.abs() + b.abs())
}

fn is_same(expr: &str, stream: Option<&[InstantSeries]>, engine: Option<&[InstantSeries]>) -> bool {
    let slack = if expr == REORDERED { 1e-12 } else { 0.0 };
    let (Some(stream), Some(engine)) = (stream, engine) else {
        return stream.is_none() && engine.is_none();
    };
    let alike = |(a, b): (&InstantSeries, &InstantSeries)| {
        a.labels == b.labels && is_alike(a.sample.value, b.sample.value, slack)
    };
    stream.len() == engine.len() && stream.iter().zip(engine).all(alike)
}

struct Bench {
    query: Query,
    stream: Stream,
    slots: BTreeMap<Labels, Vec<Slot>>,
    store: Store,
    now_ms: i64,
}

impl Bench {
    fn of(expr: &str) -> Self {
        let query = Query::parse(expr).unwrap();
        let stream = Stream::compile(&query, LOOKBACK_MS, 1_000_000).unwrap();
        Self {
            query,
            stream,
            slots: BTreeMap::new(),
            store: Store::default(),
            now_ms: 1_000_000,
        }
    }

    fn take(&mut self, labels: &Labels, at_ms: i64, value: f64) {
        let stored = self.store.0.entry(labels.clone()).or_default();
        // The store refuses a second sample of one time, and so nobody hears of it.
        if stored.contains_key(&at_ms) {
            return;
        }
        stored.insert(at_ms, value);
        let slots = self.slots.entry(labels.clone());
        let slots = slots.or_insert_with(|| self.stream.open(labels));
        self.stream.take(slots, at_ms, value).unwrap();
    }

    fn expected(&self) -> Option<Vec<InstantSeries>> {
        let engine = Engine::new(EngineOptions {
            lookback_ms: LOOKBACK_MS,
            ..EngineOptions::default()
        });
        match engine.instant(&self.store, &self.query, self.now_ms) {
            Ok(QueryResult::Vector(series)) => Some(series),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    }

    fn play(&mut self, step: &Step, all: &[Labels]) {
        match step {
            Step::Sample(at, age, value) => self.take(&all[*at], self.now_ms - age, *value),
            Step::Wait(ms) => self.now_ms += ms,
            Step::Wake => self.now_ms = self.stream.wake_at().unwrap_or(self.now_ms + 1),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_answer_is_the_engines_at_every_arrival_and_expiry(steps in steps()) {
        let all = series();
        for expr in EXPRESSIONS {
            let mut bench = Bench::of(expr);
            for step in &steps {
                bench.play(step, &all);
                bench.stream.advance(bench.now_ms);
                let expected = bench.expected();
                if !bench.stream.drifts() {
                    let turned = bench.stream.current();
                    prop_assert!(
                        is_same(expr, turned.as_deref(), expected.as_deref()),
                        "{expr} at {}: {turned:?} is not {expected:?}", bench.now_ms
                    );
                }
                let answer = bench.stream.answer(bench.now_ms);
                prop_assert!(
                    is_same(expr, answer.as_deref(), expected.as_deref()),
                    "{expr} asked at {}: {answer:?} is not {expected:?}", bench.now_ms
                );
            }
            let renewed = bench.stream.renewed();
            prop_assert!(renewed.samples <= bench.stream.samples);
            prop_assert!(is_same(bench.query.text(), renewed.current().as_deref(), bench.expected().as_deref()));
        }
    }

    #[test]
    fn a_group_that_a_sample_came_to_is_exact_though_others_drift(steps in steps()) {
        let all = series();
        let mut bench = Bench::of("sum by (j) (rate(m[45s])) * 2");
        for step in &steps {
            bench.play(step, &all);
            bench.stream.advance(bench.now_ms);
            let Step::Sample(at, 0, value) = step else { continue };
            if all[*at].get("__name__") != Some("m") || pieces::is_stale(*value) {
                continue;
            }
            let of_group = |series: Option<Vec<InstantSeries>>| {
                let j = all[*at].get("j");
                let found = series.into_iter().flatten().find(|it| it.labels.get("j") == j);
                found.map(|it| it.sample.value.to_bits())
            };
            prop_assert_eq!(of_group(bench.stream.current()), of_group(bench.expected()));
        }
    }
}

#[test]
fn what_cannot_be_compiled_says_why_and_where() {
    for (expr, place, reason) in [
        (
            "m > scalar(n)",
            "scalar(n)",
            "a scalar that depends on series",
        ),
        ("topk(3, m)", "topk(3, m)", "`topk`"),
        ("rate(m[2h]) > 1", "m[2h]", "over 1h"),
        ("m - m offset 5m", "m offset 5m", "`offset`"),
        (
            "max_over_time(rate(m[1m])[5m:])",
            "rate(m[1m])[5m:]",
            "subquery",
        ),
        (
            "m * on (j) group_left n",
            "m * on (j) group_left n",
            "one-to-one",
        ),
        (
            "label_replace(m, \"a\", \"b\", \"c\", \"d\")",
            "label_replace(m, \"a\", \"b\", \"c\", \"d\")",
            "`label_replace`",
        ),
    ] {
        let query = Query::parse(expr).unwrap();
        let error = Stream::compile(&query, LOOKBACK_MS, 0).unwrap_err();
        assert_eq!(&expr[error.span.start..error.span.end], place);
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn series_that_are_gone_for_long_do_not_stay() {
    let mut bench = Bench::of("sum(m)");
    for run in 0..3_000 {
        let labels = Labels::from_pairs([("__name__", "m"), ("run", &run.to_string())]);
        bench.take(&labels, bench.now_ms, 1.0);
        bench.now_ms += 1_000;
        bench.stream.advance(bench.now_ms);
    }
    assert!(bench.stream.is_sparse());
    assert_eq!(bench.stream.samples, 59);
    let renewed = bench.stream.renewed();
    assert!(!renewed.is_sparse());
    assert!(is_same(
        bench.query.text(),
        renewed.current().as_deref(),
        bench.expected().as_deref()
    ));
}

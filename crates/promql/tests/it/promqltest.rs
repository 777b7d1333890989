//! Runs Prometheus' own test scripts, where they are present: no supported query may answer wrongly.
//!
//! Values are compared, warnings are not. Each instant query runs again as a range query around its time.

use crate::script::{Command, Eval, Expected, Loaded, When, read};
use mainstay_promql::{
    Engine, EngineOptions, Error, ErrorKind, Labels, Matcher, Query, QueryResult, Series, Storage,
    StorageError,
};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Evals of the reference's scripts that pass today; raise it when more do.
const PASSING_FLOOR: usize = 630;

#[derive(Default)]
struct Memory {
    series: BTreeMap<Labels, BTreeMap<i64, f64>>,
    unsupported: BTreeMap<Labels, &'static str>,
}

fn satisfies(labels: &Labels, matchers: &[Matcher]) -> bool {
    let value = |m: &Matcher| labels.get(&m.name).unwrap_or("").to_owned();
    matchers.iter().all(|m| m.matches(&value(m)))
}

impl Memory {
    fn load(&mut self, step_ms: i64, buckets_too: bool, lines: Vec<Loaded>) {
        for line in lines {
            if let Some(why) = line.unsupported {
                self.unsupported.insert(line.labels.clone(), why);
            }
            let name = line.labels.get("__name__").unwrap_or("");
            if buckets_too && let Some(base) = name.strip_suffix("_bucket") {
                let kept = line
                    .labels
                    .iter()
                    .filter(|(n, _)| *n != "le" && *n != "__name__");
                let histogram = Labels::from_pairs(kept.chain([("__name__", base)]));
                self.unsupported.insert(histogram, "native histograms");
            }
            let samples = self.series.entry(line.labels).or_default();
            for (i, value) in line.values.into_iter().enumerate() {
                if let Some(value) = value {
                    samples.insert(step_ms * i as i64, value);
                }
            }
        }
    }
}

impl Storage for Memory {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, StorageError> {
        for (labels, why) in &self.unsupported {
            if satisfies(labels, matchers) {
                return Err(StorageError((*why).into()));
            }
        }
        let mut found = Vec::new();
        for (labels, samples) in &self.series {
            if start_ms <= end_ms && satisfies(labels, matchers) {
                let (timestamps, values): (Vec<i64>, Vec<f64>) = samples
                    .range(start_ms..=end_ms)
                    .map(|(t, v)| (*t, *v))
                    .unzip();
                found.push(Series {
                    labels: labels.clone(),
                    timestamps: timestamps.into(),
                    values: values.into(),
                });
            }
        }
        Ok(found)
    }
}

fn almost(a: f64, b: f64) -> bool {
    if a.to_bits() == b.to_bits() || a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < 1e-6 * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < 1e-6
}

enum Verdict {
    Pass,
    Unsupported,
    Wrong(String),
}

fn run(memory: &Memory, eval: &Eval) -> Verdict {
    let engine = Engine::new(EngineOptions::default());
    let result = Query::parse(&eval.query).and_then(|query| match eval.when {
        When::Instant(at) => engine.instant(memory, &query, at),
        When::Range(start, end, step) => engine.range(memory, &query, start, end, step),
    });
    match (judge(eval, result), eval.when) {
        (Verdict::Pass, When::Instant(at)) => again_as_range(memory, eval, at),
        (verdict, _) => verdict,
    }
}

fn judge(eval: &Eval, result: Result<QueryResult, Error>) -> Verdict {
    let result = match result {
        Ok(result) => result,
        Err(error) => {
            return match (&error.kind, &eval.expected) {
                (ErrorKind::Unsupported(_) | ErrorKind::Storage(_), _) => Verdict::Unsupported,
                (_, Expected::Fail) => Verdict::Pass,
                _ => Verdict::Wrong(error.to_string()),
            };
        }
    };
    let same = match (&eval.expected, &result) {
        (Expected::Scalar(wanted), QueryResult::Scalar(found)) => almost(*wanted, found.value),
        (Expected::Text(wanted), QueryResult::String(found)) => wanted == found,
        (Expected::Series(wanted), QueryResult::Vector(found)) => {
            let mut wanted: Vec<_> = wanted
                .iter()
                .map(|(l, v)| (l, v[0].unwrap_or(0.0)))
                .collect();
            let mut found: Vec<_> = found.iter().map(|s| (&s.labels, s.sample.value)).collect();
            if !eval.ordered {
                wanted.sort_by(|a, b| a.0.cmp(b.0));
                found.sort_by(|a, b| a.0.cmp(b.0));
            }
            let pairs = || wanted.iter().zip(&found);
            wanted.len() == found.len() && pairs().all(|(w, f)| w.0 == f.0 && almost(w.1, f.1))
        }
        (Expected::Matrix(start, step, wanted), QueryResult::Matrix(found)) => {
            let mut wanted: Vec<(&Labels, Vec<(i64, f64)>)> = wanted
                .iter()
                .map(|(labels, values)| {
                    let at = |(i, v): (usize, &Option<f64>)| Some((start + step * i as i64, (*v)?));
                    (labels, values.iter().enumerate().filter_map(at).collect())
                })
                .collect();
            wanted.retain(|(_, samples)| !samples.is_empty());
            wanted.sort_by(|a, b| a.0.cmp(b.0));
            wanted.len() == found.len()
                && wanted.iter().zip(found).all(|((labels, samples), series)| {
                    **labels == series.labels
                        && samples.len() == series.samples.len()
                        && samples
                            .iter()
                            .zip(&series.samples)
                            .all(|((t, value), sample)| {
                                *t == sample.timestamp_ms && almost(*value, sample.value)
                            })
                })
        }
        _ => false,
    };
    if same {
        Verdict::Pass
    } else {
        Verdict::Wrong(format!("{result:?}"))
    }
}

/// An instant query's answer is the middle step of a range query around it.
fn again_as_range(memory: &Memory, eval: &Eval, at: i64) -> Verdict {
    let depends_on_range = ["start()", "end()", "range()", "step()"];
    if eval.ordered
        || depends_on_range
            .iter()
            .any(|call| eval.query.contains(call))
        || !matches!(eval.expected, Expected::Series(_) | Expected::Scalar(_))
    {
        return Verdict::Pass;
    }
    let engine = Engine::new(EngineOptions::default());
    let range = Query::parse(&eval.query)
        .and_then(|query| engine.range(memory, &query, at - 60_000, at + 60_000, 60_000));
    let series = match range {
        Ok(QueryResult::Matrix(series)) => series,
        other => return Verdict::Wrong(format!("as a range: {other:?}")),
    };
    let middle = series.into_iter().filter_map(|series| {
        let sample = series.samples.into_iter().find(|s| s.timestamp_ms == at)?;
        Some((series.labels, sample))
    });
    let middle = match eval.expected {
        Expected::Scalar(_) => middle.map(|(_, s)| QueryResult::Scalar(s)).next(),
        _ => Some(QueryResult::Vector(
            middle
                .map(|(labels, sample)| mainstay_promql::InstantSeries { labels, sample })
                .collect(),
        )),
    };
    match middle.map(|result| judge(eval, Ok(result))) {
        Some(Verdict::Wrong(why)) => Verdict::Wrong(format!("as a range: {why}")),
        Some(verdict) => verdict,
        None => Verdict::Wrong("as a range: no middle step".into()),
    }
}

#[test]
fn no_script_of_the_reference_gets_a_wrong_answer() {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/promqltest");
    let dir = std::env::var_os("MAINSTAY_PROMQLTEST_DIR").map_or(default, PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&dir) else {
        println!("skipped: no scripts at {}", dir.display());
        return;
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .collect();
    files.sort();
    if files.is_empty() {
        println!("skipped: {} holds no *.test file", dir.display());
        return;
    }
    let (mut all_passed, mut wrong) = (0, Vec::new());
    for file in files {
        let name = file
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let (mut memory, mut passed, mut unsupported) = (Memory::default(), 0, 0);
        let before = wrong.len();
        for command in read(&std::fs::read_to_string(&file).expect("readable")) {
            match command {
                Command::Clear => memory = Memory::default(),
                Command::Load {
                    step_ms,
                    buckets_too,
                    series,
                } => memory.load(step_ms, buckets_too, series),
                Command::Eval(eval) => match run(&memory, &eval) {
                    Verdict::Pass => passed += 1,
                    Verdict::Unsupported => unsupported += 1,
                    Verdict::Wrong(why) => {
                        wrong.push(format!("{name}:{}: {}\n    {why}", eval.line, eval.query));
                    }
                },
            }
        }
        let failed = wrong.len() - before;
        println!("{name}: {passed} passed, {unsupported} unsupported, {failed} wrong");
        all_passed += passed;
    }
    println!("{all_passed} passed");
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(all_passed >= PASSING_FLOOR, "only {all_passed} passed");
}

//! Runs the commands of a script one by one.

use super::command::{self, Command, Eval, Expected};
use super::judge::{self, Difference};
use super::pinned::{calls_any, has_duration_of_query, pinned};
use super::store::{Grid, Memory};
use super::{Failure, MAX_SAMPLES, Report, ScriptError};
use crate::engine::{Ask, Engine, EngineOptions, Query, When};
use crate::{Answer, Error, InstantSeries, QueryResult};

/// Half the range in whose middle an instant evaluation is repeated, and its step.
const AROUND_MS: i64 = 60_000;

/// Functions that see the range around the middle.
const SEE_THE_RANGE: [&str; 4] = ["end", "range", "start", "step"];

/// Runs a script.
pub fn run(text: &str) -> Result<Report, ScriptError> {
    let mut report = Report::default();
    let mut memory = Memory::default();
    let mut line = 0;
    for command in command::read(text)? {
        match command {
            Command::Clear => memory = Memory::default(),
            Command::Load {
                step_ms,
                with_custom,
                lines,
            } => memory
                .load(
                    Grid {
                        start_ms: 0,
                        step_ms,
                    },
                    with_custom,
                    &lines,
                )
                .map_err(|message| ScriptError { line, message })?,
            Command::Eval(eval) => {
                line = eval.line;
                match evaluated(&memory, &eval) {
                    Ok(()) => report.passed += 1,
                    Err(failed) => report.failures.push(Failure {
                        line: eval.line,
                        query: eval.query.clone(),
                        variant: failed.variant,
                        wanted: failed.difference.0,
                        found: failed.difference.1,
                    }),
                }
            }
        }
    }
    Ok(report)
}

struct Failed {
    variant: String,
    difference: Difference,
}

fn engine() -> Engine {
    Engine::new(EngineOptions {
        max_samples: MAX_SAMPLES,
        ..EngineOptions::default()
    })
}

fn ask(memory: &Memory, query: &Query, when: When) -> Result<Answer, Error> {
    engine().ask(memory, query, &Ask::uninterrupted(when))
}

fn evaluated(memory: &Memory, eval: &Eval) -> Result<(), Failed> {
    let as_written = |difference| Failed {
        variant: String::new(),
        difference,
    };
    let query = Query::parse(eval.query.as_str());
    let answer = query
        .clone()
        .and_then(|query| ask(memory, &query, eval.when));
    judged(eval, answer).map_err(as_written)?;
    let (Ok(query), When::Instant(at_ms)) = (query, eval.when) else {
        return Ok(());
    };
    pinned_elsewhere(memory, eval, &query, at_ms)?;
    in_the_middle(memory, eval, &query, at_ms)
}

fn judged(eval: &Eval, answer: Result<Answer, Error>) -> Result<(), Difference> {
    match (answer, &eval.expected) {
        (Err(error), Expected::Fail(texts)) => judge::failure(texts, &error),
        (Err(error), wanted) => Err((judge::shown_expected(wanted), format!("error: {error}"))),
        (Ok(_), Expected::Fail(texts)) => Err((judge::shown_failure(texts), "no error".into())),
        (Ok(answer), _) => {
            judge::notes(eval, &answer)?;
            judge::value(eval, &answer.result)
        }
    }
}

/// With `@` on all that selects, at other evaluation times.
fn pinned_elsewhere(memory: &Memory, eval: &Eval, query: &Query, at_ms: i64) -> Result<(), Failed> {
    let Some(expr) = pinned(query.expr(), at_ms) else {
        return Ok(());
    };
    let query = query.with_expr(expr);
    let times = match at_ms {
        0 => vec![-1_000, 0, 1_000],
        _ => vec![-10 * at_ms, 0, at_ms / 5, at_ms, 10 * at_ms],
    };
    for time in times {
        let answer = ask(memory, &query, When::Instant(time));
        judged(eval, answer).map_err(|difference| Failed {
            variant: format!("with @ {at_ms} ms everywhere, evaluated at {time} ms"),
            difference,
        })?;
    }
    Ok(())
}

/// An instant query's answer is the middle step of a range query around it.
fn in_the_middle(memory: &Memory, eval: &Eval, query: &Query, at_ms: i64) -> Result<(), Failed> {
    let compared = matches!(eval.expected, Expected::Vector(_) | Expected::Scalar(_));
    let sees = calls_any(query.expr(), &SEE_THE_RANGE) || has_duration_of_query(query.expr());
    if eval.ordered || !compared || sees {
        return Ok(());
    }
    let when = When::Range {
        start_ms: at_ms - AROUND_MS,
        end_ms: at_ms + AROUND_MS,
        step_ms: AROUND_MS,
    };
    let failed = |difference| Failed {
        variant: "in the middle of a range query".into(),
        difference,
    };
    let answer = ask(memory, query, when).map_err(|error| {
        failed((
            judge::shown_expected(&eval.expected),
            format!("error: {error}"),
        ))
    })?;
    let middle = middle(
        &answer.result,
        at_ms,
        matches!(eval.expected, Expected::Scalar(_)),
    );
    judge::value(eval, &middle).map_err(failed)
}

fn middle(result: &QueryResult, at_ms: i64, scalar: bool) -> QueryResult {
    let QueryResult::Matrix(series) = result else {
        return result.clone();
    };
    let points = series.iter().filter_map(|one| {
        let sample = one.samples.iter().find(|s| s.timestamp_ms == at_ms);
        let histogram = one.histograms.iter().find(|h| h.timestamp_ms == at_ms);
        let float = sample.map(|s| InstantSeries::float(one.labels.clone(), *s));
        float.or_else(|| {
            let histogram = histogram?;
            Some(InstantSeries {
                labels: one.labels.clone(),
                sample: crate::Sample {
                    timestamp_ms: at_ms,
                    value: f64::NAN,
                },
                histogram: Some(histogram.histogram.clone()),
            })
        })
    });
    let points: Vec<InstantSeries> = points.collect();
    match points.first() {
        Some(only) if scalar => QueryResult::Scalar(only.sample),
        _ => QueryResult::Vector(points),
    }
}

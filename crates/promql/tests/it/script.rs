//! Reads scripts of Prometheus' `promqltest` format.

use mainstay_promql::ast::ExprKind;
use mainstay_promql::{Labels, parse};

/// One command of a script.
pub(crate) enum Command {
    Clear,
    Load {
        step_ms: i64,
        buckets_too: bool,
        series: Vec<Loaded>,
    },
    Eval(Eval),
}

pub(crate) struct Loaded {
    pub labels: Labels,
    /// `None` is a gap.
    pub values: Vec<Option<f64>>,
    /// What makes the line's data more than floats.
    pub unsupported: Option<&'static str>,
}

pub(crate) struct Eval {
    pub line: usize,
    pub when: When,
    pub query: String,
    pub expected: Expected,
    pub ordered: bool,
}

#[derive(Clone, Copy)]
pub(crate) enum When {
    Instant(i64),
    Range(i64, i64, i64),
}

pub(crate) enum Expected {
    Fail,
    Scalar(f64),
    Text(String),
    /// Labels and values; for a matrix one value a step from `start` by `step`.
    Series(Vec<(Labels, Vec<Option<f64>>)>),
    Matrix(i64, i64, Vec<(Labels, Vec<Option<f64>>)>),
    Histograms,
}

pub(crate) fn stale() -> f64 {
    f64::from_bits(0x7ff0_0000_0000_0002)
}

/// Number of seconds or a duration, as milliseconds.
fn ms(text: &str) -> i64 {
    (number(text).unwrap_or_else(|| panic!("not a time: {text}")) * 1000.0).round() as i64
}

fn number(text: &str) -> Option<f64> {
    match parse(text).ok()?.kind {
        ExprKind::Number(number) => Some(number),
        _ => None,
    }
}

pub(crate) fn read(text: &str) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut lines = text
        .lines()
        .map(str::trim)
        .map(|line| if line.starts_with('#') { "" } else { line })
        .enumerate()
        .peekable();
    while let Some((at, line)) = lines.next() {
        let mut block = Vec::new();
        if line.starts_with("load") || line.starts_with("eval") {
            while let Some((_, next)) = lines.next_if(|(_, next)| !next.is_empty()) {
                block.push(next);
            }
        }
        if line == "clear" {
            commands.push(Command::Clear);
        } else if line.starts_with("load") {
            let step = line.split_whitespace().nth(1).expect("a step");
            commands.push(Command::Load {
                step_ms: ms(step),
                buckets_too: line.starts_with("load_with_nhcb"),
                series: block.into_iter().map(loaded).collect(),
            });
        } else if line.starts_with("eval") {
            commands.push(Command::Eval(eval(at + 1, line, &block)));
        } else {
            assert!(line.is_empty(), "line {}: {line}", at + 1);
        }
    }
    commands
}

fn eval(at: usize, line: &str, block: &[&str]) -> Eval {
    let word = |n: usize| line.split_whitespace().nth(n).expect("a word");
    let after = |n: usize| {
        let mut rest = line;
        for _ in 0..n {
            rest = rest.trim_start();
            rest = &rest[rest.find(char::is_whitespace).expect("more words")..];
        }
        rest.trim().to_owned()
    };
    let (when, query) = match word(1) {
        "instant" => (When::Instant(ms(word(3))), after(4)),
        _ => (When::Range(ms(word(3)), ms(word(5)), ms(word(7))), after(8)),
    };
    let mut ordered = word(0) == "eval_ordered";
    let mut fails = word(0) == "eval_fail";
    let mut matrix = None;
    let mut expected = None;
    let mut series = Vec::new();
    for entry in block {
        if entry.starts_with("expected_fail") {
            fails = true;
        } else if let Some(rest) = entry.strip_prefix("expect ") {
            let rest = rest.trim();
            if rest.starts_with("fail") {
                fails = true;
            } else if rest.starts_with("ordered") {
                ordered = true;
            } else if let Some(text) = rest.strip_prefix("string") {
                let ExprKind::String(text) = parse(text).expect("a string").kind else {
                    panic!("line {at}: not a string")
                };
                expected = Some(Expected::Text(text));
            } else if rest.starts_with("range vector") {
                let word = |n: usize| rest.split_whitespace().nth(n).expect("a word");
                matrix = Some((ms(word(3)), ms(word(7))));
            }
        } else if let Some(scalar) = number(entry) {
            expected = Some(Expected::Scalar(scalar));
        } else {
            let line = loaded(entry);
            if line.unsupported == Some(HISTOGRAMS) {
                expected = Some(Expected::Histograms);
            }
            series.push((line.labels, line.values));
        }
    }
    let expected = match (expected, matrix) {
        _ if fails => Expected::Fail,
        (Some(expected), _) => expected,
        (None, Some((start, step))) => Expected::Matrix(start, step, series),
        (None, None) => match when {
            When::Instant(_) => Expected::Series(series),
            When::Range(start, _, step) => Expected::Matrix(start, step, series),
        },
    };
    Eval {
        line: at,
        when,
        query,
        expected,
        ordered,
    }
}

const HISTOGRAMS: &str = "native histograms";

fn loaded(line: &str) -> Loaded {
    let name_end = line
        .find(|c: char| matches!(c, '{' | '@') || c.is_whitespace())
        .unwrap_or(line.len());
    let mut end = name_end;
    if line[name_end..].starts_with('{') {
        let mut quoted = None;
        let mut escaped = false;
        for (at, c) in line.char_indices().skip_while(|(at, _)| *at < name_end) {
            match quoted {
                Some(_) if escaped => escaped = false,
                Some(_) if c == '\\' => escaped = true,
                Some(quote) if c == quote => quoted = None,
                None if matches!(c, '"' | '\'' | '`') => quoted = Some(c),
                None if c == '}' => {
                    end = at + 1;
                    break;
                }
                _ => {}
            }
        }
    }
    let (labels, rest) = (labels(&line[..end]), line[end..].trim());
    let special = |name: &str| labels.get(name).is_some();
    let unsupported = if rest.contains("{{") {
        Some(HISTOGRAMS)
    } else if rest.starts_with("@st") {
        Some("start timestamps")
    } else if special("__type__") || special("__unit__") {
        Some("labels of type and unit")
    } else {
        None
    };
    let values = match unsupported {
        Some(HISTOGRAMS | "start timestamps") => Vec::new(),
        _ => rest.split_whitespace().flat_map(expand).collect(),
    };
    Loaded {
        labels,
        values,
        unsupported,
    }
}

fn labels(text: &str) -> Labels {
    if text.is_empty() || text.replace(' ', "") == "{}" {
        return Labels::default();
    }
    let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let ExprKind::Selector(selector) = expr.kind else {
        panic!("not a series: {text}")
    };
    let pairs = selector.matchers.into_iter();
    Labels::from_pairs(pairs.map(|m| (m.name, m.value)))
}

/// `a`, `axn`, `a+bxn`, `a-bxn`, `_`, `_xn`, `stale`.
fn expand(token: &str) -> Vec<Option<f64>> {
    if token == "stale" {
        return vec![Some(stale())];
    }
    // `0x59` is a zero and 59 more, not a hexadecimal number.
    let repeats = |(_, times): (&str, &str)| times.parse::<usize>().is_ok();
    if !token.rsplit_once('x').is_some_and(repeats)
        && let Some(value) = number(token)
    {
        return vec![Some(value)];
    }
    let (head, times) = match token.rsplit_once('x') {
        Some((head, times)) => (head, times.parse().expect("a count")),
        None => (token, 0_usize),
    };
    if head == "_" {
        return vec![None; times.max(1)];
    }
    let (first, step) = match number(head) {
        Some(first) => (first, 0.0),
        None => split_step(head),
    };
    let mut value = first;
    let mut values = Vec::new();
    for _ in 0..=times {
        values.push(Some(value));
        value += step;
    }
    values
}

fn split_step(head: &str) -> (f64, f64) {
    let signs = head.char_indices().skip(1);
    for (at, _) in signs.filter(|(_, c)| matches!(c, '+' | '-')) {
        if let (Some(first), Some(step)) = (number(&head[..at]), number(&head[at..])) {
            return (first, step);
        }
    }
    panic!("not a value: {head}")
}

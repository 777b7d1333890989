//! The commands of a script.

use super::ScriptError;
use super::points::{self, Line, Spot, number};
use crate::Labels;
use crate::ast::ExprKind;
use crate::engine::When;
use crate::parse;
use regex::Regex;

/// One command of a script.
pub(super) enum Command {
    Clear,
    Load {
        step_ms: i64,
        /// Classic histograms are loaded as custom-bucket ones too.
        with_custom: bool,
        lines: Vec<Line>,
    },
    Eval(Box<Eval>),
}

/// An evaluation and what it should give.
pub(super) struct Eval {
    pub(super) line: usize,
    pub(super) when: When,
    pub(super) query: String,
    pub(super) expected: Expected,
    pub(super) ordered: bool,
    pub(super) warnings: NoteRule,
    pub(super) infos: NoteRule,
}

/// What is said of the warnings, or of the infos.
#[derive(Default)]
pub(super) struct NoteRule {
    pub(super) none: bool,
    pub(super) wanted: Vec<Text>,
}

/// A text that is wanted.
pub(super) enum Text {
    Any,
    Exactly(String),
    Like(Regex),
}

impl Text {
    pub(super) fn fits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(wanted) => text == wanted,
            Self::Like(regex) => regex.is_match(text),
        }
    }
}

pub(super) enum Expected {
    Fail(Vec<Text>),
    Scalar(f64),
    Text(String),
    /// One point each.
    Vector(Vec<(Labels, Spot)>),
    /// Points from a time by a step.
    Matrix {
        start_ms: i64,
        step_ms: i64,
        series: Vec<(Labels, Vec<Spot>)>,
    },
}

pub(super) fn read(text: &str) -> Result<Vec<Command>, ScriptError> {
    let mut commands = Vec::new();
    let lines = text.lines().map(str::trim);
    let lines = lines.map(|line| if line.starts_with('#') { "" } else { line });
    let mut lines = lines
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .peekable();
    while let Some((at, line)) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let mut block = Vec::new();
        if line != "clear" {
            while let Some(next) = lines.next_if(|(_, next)| !next.is_empty()) {
                block.push(next);
            }
        }
        let command = command(at, line, &block);
        commands.push(command.map_err(|(line, message)| ScriptError { line, message })?);
    }
    Ok(commands)
}

type Fallible<T> = Result<T, (usize, String)>;

fn command(at: usize, line: &str, block: &[(usize, &str)]) -> Fallible<Command> {
    let here = |message: String| (at, message);
    match line.split_whitespace().next().unwrap_or("") {
        "clear" => Ok(Command::Clear),
        word @ ("load" | "load_with_nhcb") => {
            let step = line[word.len()..].trim();
            let lines = block
                .iter()
                .map(|(at, line)| points::read(line).map_err(|m| (*at, m)));
            Ok(Command::Load {
                step_ms: ms(step).map_err(here)?,
                with_custom: word == "load_with_nhcb",
                lines: lines.collect::<Fallible<Vec<Line>>>()?,
            })
        }
        word if word.starts_with("eval") => Ok(Command::Eval(Box::new(eval(at, line, block)?))),
        word => Err(here(format!("unknown command {word:?}"))),
    }
}

/// Number of seconds or a duration, as milliseconds.
fn ms(text: &str) -> Result<i64, String> {
    match number(text) {
        Some(seconds) => Ok((seconds * 1000.0).round() as i64),
        None => Err(format!("not a time: {text}")),
    }
}

/// Word by word, and the rest of a line.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn next(&mut self) -> &'a str {
        let text = self.0.trim_start();
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.0 = rest;
        word
    }

    fn want(&mut self, wanted: &str) -> Result<(), String> {
        let word = self.next();
        if word == wanted {
            return Ok(());
        }
        Err(format!("expected {wanted:?}, found {word:?}"))
    }

    fn rest(self) -> &'a str {
        self.0.trim()
    }
}

/// `instant at T QUERY` or `range from A to B step S QUERY`.
fn when(words: &mut Words<'_>) -> Result<When, String> {
    match words.next() {
        "instant" => {
            words.want("at")?;
            Ok(When::Instant(ms(words.next())?))
        }
        "range" => {
            words.want("from")?;
            let start_ms = ms(words.next())?;
            words.want("to")?;
            let end_ms = ms(words.next())?;
            words.want("step")?;
            Ok(When::Range {
                start_ms,
                end_ms,
                step_ms: ms(words.next())?,
            })
        }
        word => Err(format!("expected \"instant\" or \"range\", found {word:?}")),
    }
}

/// What the lines below an evaluation say.
#[derive(Default)]
struct Outcome {
    fails: Option<Vec<Text>>,
    ordered: bool,
    warnings: NoteRule,
    infos: NoteRule,
    scalar: Option<f64>,
    text: Option<String>,
    range: Option<(i64, i64)>,
    series: Vec<(Labels, Vec<Spot>)>,
}

fn eval(at: usize, line: &str, block: &[(usize, &str)]) -> Fallible<Eval> {
    let mut words = Words(line);
    let mut outcome = Outcome::default();
    match words.next() {
        "eval" => {}
        "eval_fail" => outcome.fails = Some(Vec::new()),
        "eval_warn" => outcome.warnings.wanted.push(Text::Any),
        "eval_info" => outcome.infos.wanted.push(Text::Any),
        "eval_ordered" => outcome.ordered = true,
        word => return Err((at, format!("unknown command {word:?}"))),
    }
    let when = when(&mut words).map_err(|message| (at, message))?;
    for (at, entry) in block {
        outcome.read(entry).map_err(|message| (*at, message))?;
    }
    Ok(Eval {
        line: at,
        when,
        query: words.rest().to_owned(),
        ordered: outcome.ordered,
        expected: expected(when, &mut outcome),
        warnings: outcome.warnings,
        infos: outcome.infos,
    })
}

fn expected(when: When, outcome: &mut Outcome) -> Expected {
    let series = std::mem::take(&mut outcome.series);
    if let Some(texts) = outcome.fails.take() {
        return Expected::Fail(texts);
    }
    if let Some(value) = outcome.scalar {
        return Expected::Scalar(value);
    }
    if let Some(text) = outcome.text.take() {
        return Expected::Text(text);
    }
    let (start_ms, step_ms) = match (outcome.range, when) {
        (Some(range), _) => range,
        (
            None,
            When::Range {
                start_ms, step_ms, ..
            },
        ) => (start_ms, step_ms),
        (None, When::Instant(_)) => {
            let first = |spots: Vec<Spot>| spots.into_iter().next().unwrap_or(Spot::Gap);
            let points = series
                .into_iter()
                .map(|(labels, spots)| (labels, first(spots)));
            return Expected::Vector(points.collect());
        }
    };
    Expected::Matrix {
        start_ms,
        step_ms,
        series,
    }
}

impl Outcome {
    fn read(&mut self, entry: &str) -> Result<(), String> {
        if let Some(rest) = entry.strip_prefix("expect ") {
            return self.expect(rest.trim());
        }
        if let Some(rest) = entry.strip_prefix("expected_fail_message") {
            self.fails
                .get_or_insert_default()
                .push(Text::Exactly(rest.trim().into()));
        } else if let Some(rest) = entry.strip_prefix("expected_fail_regexp") {
            self.fails.get_or_insert_default().push(like(rest)?);
        } else if let Some(value) = number(entry) {
            self.scalar = Some(value);
        } else {
            let line = points::read(entry)?;
            self.series.push((line.labels, line.spots));
        }
        Ok(())
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        let mut words = Words(text);
        match words.next() {
            "fail" => self
                .fails
                .get_or_insert_default()
                .push(wanted(words.rest())?),
            "warn" => self.warnings.wanted.push(wanted(words.rest())?),
            "info" => self.infos.wanted.push(wanted(words.rest())?),
            "no_warn" => self.warnings.none = true,
            "no_info" => self.infos.none = true,
            "ordered" => self.ordered = true,
            "string" => match parse(words.rest()).map(|expr| expr.kind) {
                Ok(ExprKind::String(text)) => self.text = Some(text),
                _ => return Err(format!("not a string: {text}")),
            },
            "range" => {
                words.want("vector")?;
                words.want("from")?;
                let start_ms = ms(words.next())?;
                words.want("to")?;
                words.next();
                words.want("step")?;
                self.range = Some((start_ms, ms(words.next())?));
            }
            word => return Err(format!("unknown expectation {word:?}")),
        }
        Ok(())
    }
}

fn wanted(text: &str) -> Result<Text, String> {
    if let Some(message) = text.strip_prefix("msg:") {
        return Ok(Text::Exactly(message.trim().into()));
    }
    match text.strip_prefix("regex:") {
        Some(regex) => like(regex),
        None => Ok(Text::Any),
    }
}

fn like(regex: &str) -> Result<Text, String> {
    let regex = Regex::new(regex.trim()).map_err(|error| error.to_string())?;
    Ok(Text::Like(regex))
}

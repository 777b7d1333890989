//! One line and a place in it.
//!
//! Guarantees: it never moves past the line's end nor into the middle of a character.

use std::borrow::Cow;

use super::{Sample, TextError, TextErrorKind};

/// Characters of a wrong word that an error repeats.
const SHOWN_CHARS: usize = 40;

/// The beginning of a word, for an error.
pub(super) fn short(word: &str) -> String {
    word.chars().take(SHOWN_CHARS).collect()
}

/// Names and values.
pub(super) type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

#[derive(Clone)]
pub(super) struct Line<'a> {
    number: usize,
    whole: &'a str,
    rest: &'a str,
}

impl<'a> Line<'a> {
    pub(super) fn new(number: usize, whole: &'a str) -> Self {
        Self {
            number,
            whole,
            rest: whole,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.whole.len()
    }

    pub(super) fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// An error at this place.
    pub(super) fn wrong(&self, kind: TextErrorKind) -> TextError {
        let read = self.whole.len() - self.rest.len();
        let read = self.whole.get(..read).unwrap_or(self.whole);
        TextError {
            line: self.number,
            column: read.chars().count() + 1,
            kind,
        }
    }

    pub(super) fn over(&self, what: &'static str, limit: usize) -> TextError {
        self.wrong(TextErrorKind::Limit { what, limit })
    }

    /// Moves on by so many bytes.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or("");
    }

    pub(super) fn take(&mut self, c: char) -> bool {
        let found = self.rest.strip_prefix(c);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// Spaces and tabs, if any.
    pub(super) fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Everything up to the next blank.
    pub(super) fn word(&mut self) -> &'a str {
        self.until(|b| b == b' ' || b == b'\t')
    }

    /// Everything before the first byte that `stops`, which only ever names ASCII bytes or, by stopping at
    /// every byte that is not ASCII, the first byte of a character.
    fn until(&mut self, stops: impl Fn(u8) -> bool) -> &'a str {
        let stop = self.rest.bytes().position(stops).unwrap_or(self.rest.len());
        let (found, rest) = self.rest.split_at(stop);
        self.rest = rest;
        found
    }

    pub(super) fn end(&mut self) -> Result<(), TextError> {
        self.blanks();
        if self.at_end() {
            Ok(())
        } else {
            Err(self.wrong(TextErrorKind::Expected("the end of the line")))
        }
    }

    fn name(&mut self, colons: bool, what: &'static str) -> Result<&'a str, TextError> {
        let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_' || (colons && b == b':');
        if !self.rest.bytes().next().is_some_and(letter) {
            return Err(self.wrong(TextErrorKind::Expected(what)));
        }
        Ok(self.until(|b| !letter(b) && !b.is_ascii_digit()))
    }

    pub(super) fn metric_name(&mut self) -> Result<&'a str, TextError> {
        self.name(true, "a metric's name")
    }

    /// A metric's name in a comment, and the blanks after it.
    pub(super) fn described_name(&mut self) -> Result<Cow<'a, str>, TextError> {
        let name = self.family_name()?;
        if !self.at_end() && !self.rest.starts_with([' ', '\t']) {
            return Err(self.wrong(TextErrorKind::Expected("a blank")));
        }
        self.blanks();
        Ok(name)
    }

    /// A metric's name, or any text in quotes.
    fn family_name(&mut self) -> Result<Cow<'a, str>, TextError> {
        if self.take('"') {
            return self.escaped(Some(b'"'));
        }
        self.metric_name().map(Cow::Borrowed)
    }

    /// The rest of the line, with `\\` and `\n` undone.
    pub(super) fn help(&mut self) -> Result<Cow<'a, str>, TextError> {
        let text = self.escaped(None)?;
        self.rest = "";
        Ok(text)
    }

    /// Text up to `quote` (taken too), or up to the end of the line.
    fn escaped(&mut self, quote: Option<u8>) -> Result<Cow<'a, str>, TextError> {
        let mut text = Cow::Borrowed("");
        loop {
            let plain = self.until(|b| b == b'\\' || Some(b) == quote);
            if text.is_empty() {
                text = Cow::Borrowed(plain);
            } else {
                text.to_mut().push_str(plain);
            }
            if !self.take('\\') {
                break;
            }
            let mut after = self.rest.chars();
            let c = match after.next() {
                Some('n') => '\n',
                Some('\\') => '\\',
                Some('"') => '"',
                Some(other) => return Err(self.wrong(TextErrorKind::Escape(other))),
                None => return Err(self.wrong(TextErrorKind::Expected("an escaped character"))),
            };
            text.to_mut().push(c);
            self.rest = after.as_str();
        }
        if quote.is_some() && !self.take('"') {
            return Err(self.wrong(TextErrorKind::Expected("a closing `\"`")));
        }
        Ok(text)
    }

    /// What stands in braces, up to the closing one: labels, and the metric's name where `named` is empty and a
    /// text in quotes stands alone.
    pub(super) fn labels(
        &mut self,
        named: &mut Cow<'a, str>,
        limit: usize,
    ) -> Result<Labels<'a>, TextError> {
        let mut labels: Labels<'a> = Vec::new();
        loop {
            self.blanks();
            if self.take('}') {
                return Ok(labels);
            }
            let start = self.clone();
            let quoted = self.rest.starts_with('"');
            let name = if quoted {
                self.family_name()?
            } else {
                Cow::Borrowed(self.name(false, "a label's name or `}`")?)
            };
            self.blanks();
            if quoted && named.is_empty() && labels.is_empty() && !self.rest.starts_with('=') {
                if name.is_empty() {
                    return Err(start.wrong(TextErrorKind::Expected("a metric's name")));
                }
                *named = name;
            } else {
                if labels.len() >= limit {
                    return Err(start.over("labels of one sample", limit));
                }
                if name == "__name__" || labels.iter().any(|(known, _)| *known == name) {
                    return Err(start.wrong(TextErrorKind::Label(short(&name))));
                }
                labels.push((name, self.label_value()?));
            }
            self.blanks();
            if !self.take(',') && !self.rest.starts_with('}') {
                return Err(self.wrong(TextErrorKind::Expected("`,` or `}`")));
            }
        }
    }

    fn label_value(&mut self) -> Result<Cow<'a, str>, TextError> {
        if !self.take('=') {
            return Err(self.wrong(TextErrorKind::Expected("`=`")));
        }
        self.blanks();
        if !self.take('"') {
            return Err(self.wrong(TextErrorKind::Expected("`\"`")));
        }
        self.escaped(Some(b'"'))
    }

    /// A sample up to its value.
    pub(super) fn series(
        &mut self,
        labels_limit: usize,
    ) -> Result<(Cow<'a, str>, Labels<'a>), TextError> {
        let start = self.clone();
        let mut name = Cow::Borrowed("");
        if !self.rest.starts_with('{') {
            name = Cow::Borrowed(self.metric_name()?);
        }
        let after_name = self.rest;
        self.blanks();
        let labels = if self.take('{') {
            self.labels(&mut name, labels_limit)?
        } else if self.rest.len() == after_name.len() {
            return Err(self.wrong(TextErrorKind::Expected("a blank or `{`")));
        } else {
            Vec::new()
        };
        if name.is_empty() {
            return Err(start.wrong(TextErrorKind::Expected("a metric's name")));
        }
        self.blanks();
        Ok((name, labels))
    }

    /// A number, with any NaN made an ordinary one.
    pub(super) fn value(&mut self) -> Result<f64, TextError> {
        let start = self.clone();
        let word = self.word();
        if word.is_empty() {
            return Err(start.wrong(TextErrorKind::Expected("a value")));
        }
        let value = word
            .parse::<f64>()
            .map_err(|_| start.wrong(TextErrorKind::Number(short(word))))?;
        Ok(if value.is_nan() { f64::NAN } else { value })
    }

    pub(super) fn sample(&mut self, labels_limit: usize) -> Result<Sample<'a>, TextError> {
        let (name, labels) = self.series(labels_limit)?;
        let value = self.value()?;
        self.blanks();
        let start = self.clone();
        let word = self.word();
        let timestamp_ms = if word.is_empty() {
            None
        } else {
            let wrong = |_| start.wrong(TextErrorKind::Timestamp(short(word)));
            Some(word.parse::<i64>().map_err(wrong)?)
        };
        self.end()?;
        Ok(Sample {
            name,
            labels,
            value,
            timestamp_ms,
            extra: None,
        })
    }
}

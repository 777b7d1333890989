//! Matchers of labels: what a route, a silence or an inhibition is about.
//!
//! Guarantees: a label that is not there counts as empty; an expression matches the whole value; both syntaxes of the
//! original are read, and an error says the column. Never matches by anything but labels.
//!
//! ```
//! use mainstay_oncall::{Labels, matcher::Matchers};
//! let matchers: Matchers = r#"severity=~"page|ticket", job!="test""#.parse()?;
//! assert!(matchers.matches(&Labels::from_iter([("severity", "page")])));
//! # Ok::<(), mainstay_oncall::matcher::MatcherError>(())
//! ```

mod classic;
mod utf8;

use std::{cmp::Ordering, fmt, str::FromStr};

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::labels::{Labels, quoted};

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    NotMatches,
}

impl Operator {
    /// Of its two properties.
    pub const fn of(is_regex: bool, is_equal: bool) -> Self {
        match (is_regex, is_equal) {
            (false, true) => Self::Equal,
            (false, false) => Self::NotEqual,
            (true, true) => Self::Matches,
            (true, false) => Self::NotMatches,
        }
    }

    /// Whether the value is an expression.
    pub const fn is_regex(self) -> bool {
        matches!(self, Self::Matches | Self::NotMatches)
    }

    /// Whether it holds where the value is met.
    pub const fn is_equal(self) -> bool {
        matches!(self, Self::Equal | Self::Matches)
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::NotMatches => "!~",
        }
    }
}

/// Why a text is no matcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// Its syntax.
    #[error("column {column}: {what}")]
    Syntax {
        /// Counted from 1.
        column: usize,
        /// What was met, and what was expected.
        what: String,
    },
    /// Its expression.
    #[error("`{value}` is no regular expression: {what}")]
    Regex {
        /// As given.
        value: String,
        /// Why.
        what: String,
    },
}

/// A matcher as the API writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// The label.
    pub name: String,
    /// What it is compared with.
    pub value: String,
    /// Whether the value is an expression.
    pub is_regex: bool,
    /// Whether it holds where the value is met.
    #[serde(default = "yes")]
    pub is_equal: bool,
}

fn yes() -> bool {
    true
}

impl From<Matcher> for Written {
    fn from(matcher: Matcher) -> Self {
        Self {
            name: matcher.name,
            value: matcher.value,
            is_regex: matcher.operator.is_regex(),
            is_equal: matcher.operator.is_equal(),
        }
    }
}

impl TryFrom<Written> for Matcher {
    type Error = MatcherError;

    fn try_from(it: Written) -> Result<Self, MatcherError> {
        Self::new(it.name, Operator::of(it.is_regex, it.is_equal), it.value)
    }
}

/// One condition on one label.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Matcher {
    name: String,
    operator: Operator,
    value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// A condition; an expression that is none is refused.
    pub fn new(
        name: impl Into<String>,
        operator: Operator,
        value: impl Into<String>,
    ) -> Result<Self, MatcherError> {
        let value = value.into();
        let regex = if operator.is_regex() {
            let compiled = Regex::new(&format!("^(?:{value})$"));
            Some(compiled.map_err(|error| MatcherError::Regex {
                value: value.clone(),
                what: error.to_string(),
            })?)
        } else {
            None
        };
        Ok(Self {
            name: name.into(),
            operator,
            value,
            regex,
        })
    }

    /// The label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is compared with.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// How it is compared.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// Whether a value meets it.
    pub fn meets(&self, value: &str) -> bool {
        let met = match &self.regex {
            Some(regex) => regex.is_match(value),
            None => self.value == value,
        };
        met == self.operator.is_equal()
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Matcher {}

impl PartialOrd for Matcher {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Matcher {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |it: &Self| (it.name.clone(), it.value.clone(), it.operator);
        key(self).cmp(&key(other))
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = self.value.replace('\\', "\\\\");
        let escaped = escaped.replace('\n', "\\n").replace('"', "\\\"");
        let sign = self.operator.sign();
        if self.name.chars().any(utf8::is_reserved) {
            write!(f, "{}{sign}\"{escaped}\"", quoted(&self.name))
        } else {
            write!(f, "{}{sign}\"{escaped}\"", self.name)
        }
    }
}

/// Conditions that all have to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Matchers(Vec<Matcher>);

impl<'a> IntoIterator for &'a Matchers {
    type Item = &'a Matcher;
    type IntoIter = std::slice::Iter<'a, Matcher>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Matchers {
    /// Whether all hold.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|it| it.meets(labels.get(it.name())))
    }

    /// One by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Matcher> {
        self.0.iter()
    }

    /// Whether there is none: then everything matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds those of another.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// In the order in which a route's key writes them.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.0.sort();
        self
    }
}

impl From<Vec<Matcher>> for Matchers {
    fn from(matchers: Vec<Matcher>) -> Self {
        Self(matchers)
    }
}

impl FromStr for Matchers {
    type Err = MatcherError;

    /// Reads the newer syntax; what only the classic one takes, or takes differently, is taken as it always was.
    fn from_str(text: &str) -> Result<Self, MatcherError> {
        match (utf8::parse(text), classic::parse(text)) {
            (Err(wrong), Err(_)) => Err(wrong),
            (Ok(newer), Err(_)) => Ok(Self(newer)),
            (Ok(_) | Err(_), Ok(classic)) => Ok(Self(classic)),
        }
    }
}

impl fmt::Display for Matchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(Matcher::to_string).collect();
        write!(f, "{{{}}}", all.join(","))
    }
}

#[cfg(test)]
mod tests;

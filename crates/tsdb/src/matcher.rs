//! Label matchers: `=`, `!=`, `=~`, `!~`.
//!
//! Guarantees: a regular expression must match the whole value, and `.` matches a newline too; a label that
//! is absent behaves like one with an empty value. It never compiles an expression beyond a size limit.
//!
//! ```
//! use mainstay_tsdb::{MatchOp, Matcher};
//! let matcher = Matcher::new("code", MatchOp::Regex, "5..")?;
//! assert!(matcher.matches("503") && !matcher.matches("1503"));
//! # Ok::<(), mainstay_tsdb::MatcherError>(())
//! ```

use regex::{Regex, RegexBuilder};

/// Compiled size a matcher's automaton may take: plenty for alternations of thousands of hosts.
const REGEX_SIZE_LIMIT_BYTES: usize = 4 << 20;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// Why a matcher was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("regular expression {pattern:?} for label {name:?} is not usable")]
pub struct MatcherError {
    /// The label.
    pub name: String,
    /// The expression as given.
    pub pattern: String,
    /// What the regular-expression engine said.
    pub source: regex::Error,
}

/// Compiles `pattern` alone first, so that a stray parenthesis cannot escape the anchors.
fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    let build = |p: &str| {
        RegexBuilder::new(p)
            .size_limit(REGEX_SIZE_LIMIT_BYTES)
            .build()
    };
    build(pattern)?;
    build(&format!("^(?s:{pattern})$"))
}

/// One condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// Builds a matcher, compiling the expression for `=~` and `!~`.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => match anchored(&value) {
                Ok(regex) => Some(regex),
                Err(source) => {
                    return Err(MatcherError {
                        name,
                        pattern: value,
                        source,
                    });
                }
            },
        };
        Ok(Self {
            name,
            op,
            value,
            regex,
        })
    }

    /// The label it looks at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or expression it compares with.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label value satisfies it; pass `""` for an absent label.
    pub fn matches(&self, value: &str) -> bool {
        let by_regex = || self.regex.as_ref().is_some_and(|r| r.is_match(value));
        match self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Regex => by_regex(),
            MatchOp::NotRegex => !by_regex(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternation_is_anchored_as_a_whole() {
        let matcher = Matcher::new("job", MatchOp::Regex, "a|b").unwrap();
        assert!(matcher.matches("a") && matcher.matches("b"));
        assert!(!matcher.matches("ab") && !matcher.matches("xb"));
    }

    #[test]
    fn a_dot_matches_a_newline() {
        let matcher = Matcher::new("job", MatchOp::Regex, "a.b").unwrap();
        assert!(matcher.matches("a\nb"));
    }

    #[test]
    fn a_stray_parenthesis_cannot_escape_the_anchors() {
        assert!(Matcher::new("job", MatchOp::Regex, "a)|(b").is_err());
    }

    #[test]
    fn a_broken_expression_names_the_label() {
        let refused = Matcher::new("job", MatchOp::NotRegex, "(").unwrap_err();
        assert_eq!(refused.name, "job");
    }
}

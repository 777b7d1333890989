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
use regex_syntax::hir::literal::Extractor;

/// Compiled size a matcher's automaton may take: plenty for alternations of thousands of hosts.
const REGEX_SIZE_LIMIT_BYTES: usize = 4 << 20;

/// Values that an expression is looked up by instead of being run against each.
const EXACT_MAX: usize = 4_096;

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

/// What an expression says about the values that can match it.
#[derive(Clone, Debug)]
enum Shape {
    /// These and no others, ascending.
    Exact(Vec<String>),
    /// Only values that begin so, and which of them the expression says.
    Prefix(String),
    /// Every value that is not empty.
    NotEmpty,
}

impl Shape {
    fn of(op: MatchOp, value: &str) -> Self {
        match op {
            MatchOp::Equal | MatchOp::NotEqual => Self::Exact(vec![value.to_owned()]),
            MatchOp::Regex | MatchOp::NotRegex if matches!(value, ".*" | ".+") => Self::NotEmpty,
            MatchOp::Regex | MatchOp::NotRegex => Self::of_regex(value),
        }
    }

    fn of_regex(pattern: &str) -> Self {
        let any = Self::Prefix(String::new());
        let Ok(hir) = regex_syntax::parse(pattern) else {
            return any;
        };
        // What is looked for inside a value says nothing about its beginning or end.
        if !hir.properties().look_set().is_empty() {
            return any;
        }
        let mut extractor = Extractor::new();
        extractor.limit_total(EXACT_MAX);
        let found = extractor.extract(&hir);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        if found.is_exact() {
            let literals = found.literals().unwrap_or_default();
            let values: Option<Vec<String>> =
                literals.iter().map(|it| text(it.as_bytes())).collect();
            if let Some(mut values) = values {
                values.sort_unstable();
                values.dedup();
                return Self::Exact(values);
            }
        }
        let prefix = found.longest_common_prefix().and_then(text);
        prefix.map_or(any, Self::Prefix)
    }
}

/// Values of a label that an index is asked for. Never the empty one: no series carries it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    matcher: &'a Matcher,
    /// Whether values are wanted that satisfy the comparison itself, not its negation.
    compared: bool,
}

impl<'a> Wanted<'a> {
    /// The values, if they are known.
    pub(crate) fn exact(&self) -> Option<impl Iterator<Item = &'a str>> {
        match &self.matcher.shape {
            Shape::Exact(values) if self.compared => Some(values.iter().map(String::as_str)),
            Shape::Exact(_) | Shape::Prefix(_) | Shape::NotEmpty => None,
        }
    }

    /// What all of them begin with.
    pub(crate) fn prefix(&self) -> &'a str {
        match &self.matcher.shape {
            Shape::Prefix(prefix) if self.compared => prefix,
            Shape::Exact(_) | Shape::Prefix(_) | Shape::NotEmpty => "",
        }
    }

    /// Whether a value is wanted.
    pub(crate) fn has(&self, value: &str) -> bool {
        match self.matcher.shape {
            Shape::NotEmpty => self.compared,
            Shape::Exact(_) | Shape::Prefix(_) => self.matcher.compares(value) == self.compared,
        }
    }
}

/// One condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    regex: Option<Regex>,
    shape: Shape,
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
            shape: Shape::of(op, &value),
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
        self.compares(value) != self.negates()
    }

    fn negates(&self) -> bool {
        matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }

    /// The comparison without its negation.
    fn compares(&self, value: &str) -> bool {
        match &self.regex {
            Some(regex) => regex.is_match(value),
            None => value == self.value,
        }
    }

    /// The values that satisfy it.
    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            matcher: self,
            compared: !self.negates(),
        }
    }

    /// The values that do not.
    pub(crate) fn unwanted(&self) -> Wanted<'_> {
        Wanted {
            matcher: self,
            compared: self.negates(),
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
    fn an_index_is_asked_for_alternatives_and_prefixes_and_not_for_every_value() {
        let matcher = |pattern| Matcher::new("job", MatchOp::Regex, pattern).unwrap();
        let exact = |pattern| {
            let matcher = matcher(pattern);
            let values = matcher
                .wanted()
                .exact()?
                .map(str::to_owned)
                .collect::<Vec<_>>();
            Some(values.join(" "))
        };
        assert_eq!(exact("b|a").as_deref(), Some("a b"));
        assert_eq!(exact("web-[12]").as_deref(), Some("web-1 web-2"));
        assert_eq!((exact("a.*"), exact("a$|b")), (None, None));
        assert_eq!(matcher("web-.*").wanted().prefix(), "web-");
        assert_eq!(matcher("(?i)web").wanted().prefix(), "");
        assert_eq!(matcher("web-.*").unwanted().prefix(), "");
    }

    #[test]
    fn a_broken_expression_names_the_label() {
        let refused = Matcher::new("job", MatchOp::NotRegex, "(").unwrap_err();
        assert_eq!(refused.name, "job");
    }
}

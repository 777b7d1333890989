//! What was removed, and where its bytes still lie.
//!
//! Guarantees: a grave names the parts that may hold what it removed, and covers nothing else: what is appended or
//! imported later is not touched. It goes when the last of them was written anew, merged or dropped. Graves stand in
//! the manifest, so that they are replaced together with the list of parts.
//!
//! A line of text: `deleted`, start, end, when it was ordered, the parts with commas between, the matchers, in which
//! everything but letters, digits and `_ . : / -` is written as `%` and two hexadecimal digits a byte.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::{MatchOp, Matcher};

/// The word that begins its line.
pub(crate) const WORD: &str = "deleted ";
/// Deletions that may wait for their bytes to go: each costs a little in every reading.
pub(crate) const GRAVES_MAX: usize = 1_000;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Grave {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) window: (i64, i64),
    /// When it was ordered, on the clock of those who append.
    pub(crate) at_ms: i64,
    pub(crate) parts: BTreeSet<u64>,
}

impl PartialEq for Grave {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Grave {}

impl Grave {
    /// Its line, without an end.
    pub(crate) fn text(&self) -> String {
        let (start_ms, end_ms) = self.window;
        let parts: Vec<String> = self.parts.iter().map(u64::to_string).collect();
        let mut text = format!(
            "{WORD}{start_ms} {end_ms} {} {}",
            self.at_ms,
            parts.join(",")
        );
        for matcher in &self.matchers {
            text.push(' ');
            escape(&mut text, matcher.name());
            text.push_str(match matcher.op() {
                MatchOp::Equal => "=",
                MatchOp::NotEqual => "!=",
                MatchOp::Regex => "=~",
                MatchOp::NotRegex => "!~",
            });
            escape(&mut text, matcher.value());
        }
        text
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(WORD)?.split(' ');
        let mut number = || words.next()?.parse().ok();
        let (window, at_ms) = ((number()?, number()?), number()?);
        let parts = words.next()?.split(',').map(str::parse);
        Some(Self {
            window,
            at_ms,
            parts: parts.collect::<Result<_, _>>().ok()?,
            matchers: words.map(matcher).collect::<Option<_>>()?,
        })
    }
}

fn matcher(word: &str) -> Option<Matcher> {
    let at = word.find(['=', '!'])?;
    let (name, rest) = word.split_at(at);
    let ops = [
        ("=~", MatchOp::Regex),
        ("!~", MatchOp::NotRegex),
        ("!=", MatchOp::NotEqual),
        ("=", MatchOp::Equal),
    ];
    let (op, value) = ops
        .into_iter()
        .find_map(|(text, op)| Some((op, rest.strip_prefix(text)?)))?;
    Matcher::new(unescaped(name)?, op, unescaped(value)?).ok()
}

fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b':' | b'/' | b'-' => {
                out.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            other => drop(write!(out, "%{other:02x}")),
        }
    }
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_grave_comes_back_from_its_line(
            window in any::<(i64, i64)>(), at_ms in any::<i64>(),
            parts in prop::collection::btree_set(any::<u64>(), 1..4),
            matchers in prop::collection::vec((".{1,8}", 0_usize..4, ".{0,8}"), 0..4),
        ) {
            let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
            let matchers = matchers.into_iter();
            let matchers = matchers.filter_map(|(name, op, value)| Matcher::new(name, ops[op], value).ok());
            let grave = Grave { matchers: matchers.collect(), window, at_ms, parts };
            let line = grave.text();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(Grave::parse(&line), Some(grave));
        }

        #[test]
        fn any_line_is_read_or_refused(line in ".{0,40}") {
            Grave::parse(&line);
            Grave::parse(&format!("{WORD}{line}"));
        }
    }
}

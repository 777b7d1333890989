//! Label sets, and the number by which one is known.
//!
//! Guarantees: sorted by name; an empty value is no label; the fingerprint is that of Prometheus, so that what others
//! keep of it stays true. Example: `{alertname="Down", job="shop"}`.

use std::{collections::BTreeMap, fmt, fmt::Write as _};

use serde::{Deserialize, Serialize};

/// FNV-1a's start and factor, for 64 bits.
const FNV_START: u64 = 14_695_981_039_346_656_037;
const FNV_FACTOR: u64 = 1_099_511_628_211;
/// Between names and values; no UTF-8 text holds it.
const SEPARATOR: u8 = 255;

/// Names and values, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

/// What a label set is known by; written as sixteen hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Labels {
    /// The value of a label; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The value of a label, if there is one.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// By name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that also `other` has, with the same value.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> Self {
        self.kept(|name, value| other.find(name) == Some(value))
    }

    /// Those that `keep` wants.
    #[must_use]
    pub fn kept(&self, mut keep: impl FnMut(&str, &str) -> bool) -> Self {
        let kept = self.0.iter().filter(|(name, value)| keep(name, value));
        Self(kept.map(|(n, v)| (n.clone(), v.clone())).collect())
    }

    /// Without those that say nothing.
    #[must_use]
    pub fn without_empty(mut self) -> Self {
        self.0.retain(|_, value| !value.is_empty());
        self
    }

    /// What they are known by.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = FNV_START;
        let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_FACTOR);
        for (name, value) in &self.0 {
            name.bytes().for_each(&mut add);
            add(SEPARATOR);
            value.bytes().for_each(&mut add);
            add(SEPARATOR);
        }
        Fingerprint(hash)
    }

    /// The order of alerts within a notification: fewer labels first, then by the first label that differs.
    pub fn before(&self, other: &Self) -> std::cmp::Ordering {
        let by_count = self.len().cmp(&other.len());
        by_count.then_with(|| {
            let mut names: Vec<&String> = self.0.keys().chain(other.0.keys()).collect();
            names.sort();
            for name in names {
                let order = match (self.0.get(name), other.0.get(name)) {
                    (Some(a), Some(b)) => a.cmp(b),
                    (None, Some(_)) => std::cmp::Ordering::Less,
                    (Some(_), None) => std::cmp::Ordering::Greater,
                    (None, None) => std::cmp::Ordering::Equal,
                };
                if order.is_ne() {
                    return order;
                }
            }
            std::cmp::Ordering::Equal
        })
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter().map(|(n, v)| (n.into(), v.into()));
        Self(pairs.collect())
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={}", quoted(value))?;
        }
        f.write_str("}")
    }
}

/// In quotes, as Go writes a text.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            other if other < ' ' || other == '\u{7f}' => {
                // Writing into a text cannot fail.
                let _ = write!(out, "\\x{:02x}", other as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_that_of_prometheus() {
        // As the original answers for it.
        let labels = Labels::from_iter([("alertname", "D"), ("team", "a")]);
        assert_eq!(labels.fingerprint().to_string(), "5dea222bb21a2660");
        assert_eq!(Labels::default().fingerprint().0, FNV_START);
    }

    #[test]
    fn labels_are_written_sorted_and_quoted() {
        let labels = Labels::from_iter([("b", "x\"y\n"), ("a", "1")]);
        assert_eq!(labels.to_string(), r#"{a="1", b="x\"y\n"}"#);
    }

    #[test]
    fn fewer_labels_come_first_then_the_first_difference_decides() {
        let of = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<Labels>();
        let sorted = [
            of(&[("z", "9")]),
            of(&[("a", "1"), ("b", "1")]),
            of(&[("a", "1"), ("b", "2")]),
            of(&[("a", "2"), ("b", "0")]),
        ];
        for pair in sorted.windows(2) {
            assert!(pair[0].before(&pair[1]).is_lt(), "{pair:?}");
            assert!(pair[1].before(&pair[0]).is_gt(), "{pair:?}");
        }
    }
}

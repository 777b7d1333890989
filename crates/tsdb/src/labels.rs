//! Label sets: sorted by name, unique names, no empty values, cheap to clone.
//!
//! Guarantees: two sets with the same meaning are equal byte for byte, and hash alike: a set is one string, its
//! canonical form. It never keeps an empty value, because a label with an empty value means the same as no label.
//!
//! ```
//! use mainstay_tsdb::Labels;
//! let a = Labels::from_pairs([("b", "2"), ("a", "1"), ("gone", "")])?;
//! let b = Labels::from_pairs([("a", "1"), ("b", "2")])?;
//! assert_eq!(a, b);
//! # Ok::<(), mainstay_tsdb::LabelError>(())
//! ```

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// The label that carries the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// Bytes of one name or value: two digits of seven bits hold its length.
pub const MAX_LABEL_PART_BYTES: usize = (1 << 14) - 1;

/// Why a label set was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A label had no name.
    #[error("label with an empty name (its value is {value:?})")]
    EmptyName {
        /// The value that had no name.
        value: String,
    },
    /// A name appeared twice.
    #[error("label {name:?} given twice")]
    Duplicate {
        /// The repeated name.
        name: String,
    },
    /// A name or value does not fit.
    #[error(
        "a name or value of label {name:?} has {bytes} bytes, the limit is {MAX_LABEL_PART_BYTES}"
    )]
    TooLong {
        /// The beginning of the name.
        name: String,
        /// How many bytes the longer of both has.
        bytes: usize,
    },
}

/// A canonical label set, including `__name__` if the series has a name: for each label the length of its name
/// in two 7-bit characters, the name, and the same for its value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<str>);

impl Default for Labels {
    fn default() -> Self {
        Self(Arc::from(""))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Pairs<'a>;

    fn into_iter(self) -> Pairs<'a> {
        self.iter()
    }
}

impl Labels {
    /// Builds the canonical form: sorts by name, drops empty values.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, LabelError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut key = String::new();
        write_key(&mut key, pairs)?;
        Ok(Self(key.into()))
    }

    /// The set whose canonical form this is; `None` if it is no set's.
    pub(crate) fn from_key(key: &str) -> Option<Self> {
        let mut before = "";
        let mut rest = key;
        while !rest.is_empty() {
            let ((name, value), after) = take_pair(rest)?;
            if name <= before || value.is_empty() {
                return None;
            }
            (before, rest) = (name, after);
        }
        Some(Self::from_known_key(key))
    }

    /// The set of a key that was written here.
    pub(crate) fn from_known_key(key: &str) -> Self {
        Self(Arc::from(key))
    }

    /// The canonical form.
    pub(crate) fn key(&self) -> &str {
        &self.0
    }

    /// The value of a label, if present.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value)
    }

    /// The metric's name, if the series has one.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// All labels, ascending by name.
    pub fn iter(&self) -> Pairs<'_> {
        Pairs { rest: &self.0 }
    }

    /// How many labels, `__name__` included.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// xxh3 over the canonical form.
    pub fn hash64(&self) -> u64 {
        xxh3_64(self.0.as_bytes())
    }

    /// Bytes of all names and values, which the head's limit is about.
    pub fn byte_len(&self) -> usize {
        self.0.len() - LENGTHS_BYTES * self.len()
    }
}

/// Labels of a set, ascending by name.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a str,
}

impl<'a> Pairs<'a> {
    /// Of a canonical form.
    pub(crate) fn of(key: &'a str) -> Self {
        Self { rest: key }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (pair, rest) = take_pair(self.rest)?;
        self.rest = rest;
        Some(pair)
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bytes that a label takes in the canonical form beside its name and value.
const LENGTHS_BYTES: usize = 4;

/// Adds the canonical form of a set to `key`; after an error `key` is as before.
pub(crate) fn write_key<N, V>(
    key: &mut String,
    pairs: impl IntoIterator<Item = (N, V)>,
) -> Result<(), LabelError>
where
    N: AsRef<str>,
    V: AsRef<str>,
{
    let begin = key.len();
    let written = write_pairs(key, pairs);
    if written.is_err() {
        key.truncate(begin);
    }
    written
}

fn write_pairs<N, V>(
    key: &mut String,
    pairs: impl IntoIterator<Item = (N, V)>,
) -> Result<(), LabelError>
where
    N: AsRef<str>,
    V: AsRef<str>,
{
    let begin = key.len();
    // Where the name before was written. Whoever sends series mostly sends their labels sorted.
    let mut before = begin..begin;
    let mut pairs = pairs.into_iter();
    while let Some((name, value)) = pairs.next() {
        let (name, value) = (name.as_ref(), value.as_ref());
        check(name, value)?;
        let follows = key.get(before.clone()).is_some_and(|before| before < name);
        if value.is_empty() || !follows {
            return write_sorted(key, begin, (name, value), pairs);
        }
        before = write_pair(key, name, value);
    }
    Ok(())
}

/// Goes on where the order ended, or a label without a value came.
fn write_sorted<N, V>(
    key: &mut String,
    begin: usize,
    (name, value): (&str, &str),
    rest: impl Iterator<Item = (N, V)>,
) -> Result<(), LabelError>
where
    N: AsRef<str>,
    V: AsRef<str>,
{
    let written = key.get(begin..).unwrap_or_default().to_owned();
    let mut sorted: Vec<(String, String)> = Pairs::of(&written)
        .chain([(name, value)])
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for (name, value) in rest {
        check(name.as_ref(), value.as_ref())?;
        sorted.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
    }
    sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let name = pair[0].0.clone();
        return Err(LabelError::Duplicate { name });
    }
    key.truncate(begin);
    for (name, value) in sorted.iter().filter(|(_, value)| !value.is_empty()) {
        write_pair(key, name, value);
    }
    Ok(())
}

fn check(name: &str, value: &str) -> Result<(), LabelError> {
    if name.is_empty() {
        return Err(LabelError::EmptyName {
            value: value.chars().take(80).collect(),
        });
    }
    let bytes = name.len().max(value.len());
    if bytes > MAX_LABEL_PART_BYTES {
        return Err(LabelError::TooLong {
            name: name.chars().take(80).collect(),
            bytes,
        });
    }
    Ok(())
}

/// Where the name now stands.
fn write_pair(key: &mut String, name: &str, value: &str) -> std::ops::Range<usize> {
    let digit = |bits: usize| char::from((bits & 0x7f) as u8);
    let mut put = |part: &str| {
        key.push(digit(part.len()));
        key.push(digit(part.len() >> 7));
        let at = key.len();
        key.push_str(part);
        at..key.len()
    };
    let named = put(name);
    put(value);
    named
}

fn take_pair(key: &str) -> Option<((&str, &str), &str)> {
    let (name, rest) = take_part(key)?;
    let (value, rest) = take_part(rest)?;
    Some(((name, value), rest))
}

fn take_part(key: &str) -> Option<(&str, &str)> {
    let [low, high] = *key.as_bytes().first_chunk::<2>()?;
    let length = usize::from(low) | usize::from(high) << 7;
    let rest = key.get(2..)?;
    Some((rest.get(..length)?, rest.get(length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_repeated_name_is_refused_even_if_a_value_is_empty() {
        let refused = Labels::from_pairs([("a", "1"), ("a", "")]).unwrap_err();
        assert_eq!(refused, LabelError::Duplicate { name: "a".into() });
    }

    #[test]
    fn moving_a_byte_between_name_and_value_changes_the_hash() {
        let left = Labels::from_pairs([("ab", "c")]).unwrap();
        let right = Labels::from_pairs([("a", "bc")]).unwrap();
        assert_ne!(left.hash64(), right.hash64());
    }

    #[test]
    fn only_what_is_written_here_is_read_as_a_set() {
        let set = Labels::from_pairs([("a", "1"), ("b", "é")]).unwrap();
        assert_eq!(Labels::from_key(set.key()), Some(set.clone()));
        for wrong in ["x", &set.key()[..5], &format!("{}{}", set.key(), set.key())] {
            assert_eq!(Labels::from_key(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_value_longer_than_its_length_can_say_is_refused_with_its_name() {
        let longest = "x".repeat(MAX_LABEL_PART_BYTES);
        let set = Labels::from_pairs([("a", &longest)]).unwrap();
        assert_eq!(set.get("a"), Some(&*longest));
        let refused = Labels::from_pairs([("a", longest + "x")]).unwrap_err();
        assert!(matches!(refused, LabelError::TooLong { bytes: 16_384, .. }));
    }

    proptest! {
        #[test]
        fn any_order_of_the_same_labels_is_the_same_set(
            pairs in prop::collection::btree_map("[a-zé_]{1,4}", "[a-zß]{0,4}", 0..8)
        ) {
            let forward = Labels::from_pairs(pairs.clone()).unwrap();
            let backward = Labels::from_pairs(pairs.clone().into_iter().rev()).unwrap();
            prop_assert_eq!(&forward, &backward);
            prop_assert_eq!(forward.hash64(), backward.hash64());
            for (name, value) in &pairs {
                prop_assert_eq!(forward.get(name), Some(value.as_str()).filter(|v| !v.is_empty()));
            }
        }
    }
}

//! Label sets: sorted by name, unique names, no empty values, cheap to clone.
//!
//! Guarantees: two sets with the same meaning are equal byte for byte, and hash alike. It never keeps an
//! empty value, because a label with an empty value means the same as no label.
//!
//! ```
//! use mainstay_tsdb::Labels;
//! let a = Labels::from_pairs([("b", "2"), ("a", "1"), ("gone", "")])?;
//! let b = Labels::from_pairs([("a", "1"), ("b", "2")])?;
//! assert_eq!(a, b);
//! # Ok::<(), mainstay_tsdb::LabelError>(())
//! ```

use std::fmt;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// The label that carries the metric's name.
pub const METRIC_NAME: &str = "__name__";

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
}

/// A canonical label set, including `__name__` if the series has a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(Arc<[(Box<str>, Box<str>)]>);

impl Labels {
    /// Builds the canonical form: sorts by name, drops empty values.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, LabelError>
    where
        N: Into<Box<str>>,
        V: Into<Box<str>>,
    {
        let mut sorted: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (name, value) in pairs {
            let (name, value) = (name.into(), value.into());
            if name.is_empty() {
                return Err(LabelError::EmptyName {
                    value: value.into(),
                });
            }
            sorted.push((name, value));
        }
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(LabelError::Duplicate {
                name: pair[0].0.to_string(),
            });
        }
        sorted.retain(|(_, value)| !value.is_empty());
        Ok(Self(sorted.into()))
    }

    /// The value of a label, if present.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| &**value)
    }

    /// The metric's name, if the series has one.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// All labels, ascending by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many labels, `__name__` included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// xxh3 over names and values, each ended by a byte that UTF-8 cannot contain.
    pub fn hash64(&self) -> u64 {
        let mut hasher = Xxh3::new();
        for (name, value) in self.iter() {
            hasher.update(name.as_bytes());
            hasher.update(&[0xff]);
            hasher.update(value.as_bytes());
            hasher.update(&[0xff]);
        }
        hasher.digest()
    }

    /// Bytes of all names and values, which the head's limit is about.
    pub fn byte_len(&self) -> usize {
        self.iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
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

    proptest! {
        #[test]
        fn any_order_of_the_same_labels_is_the_same_set(
            pairs in prop::collection::btree_map("[a-z]{1,4}", "[a-z]{0,4}", 0..8)
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

//! Many label sets in one text: what a delivery names, without an allocation for each series.
//!
//! Guarantees: what is read back is canonical, as [`Labels`] are; a set that is not sent so is left out and its
//! sender's caller is told, who sorts it. Text is checked once, as a whole: lengths between the parts are ASCII, so
//! the whole is UTF-8 exactly if each part is.
//!
//! ```
//! use mainstay_tsdb::{Head, HeadLimits, LabelKeys};
//! let mut keys = LabelKeys::default();
//! assert!(keys.label(b"__name__", b"up") && keys.label(b"job", b"shop"));
//! assert!(keys.end());
//! let keys = keys.checked().ok_or("not UTF-8")?;
//! let mut head = Head::new(HeadLimits::default());
//! for key in keys.sets() {
//!     head.append_keyed(key, None, (1_000, 1.0), false)?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::ops::Range;

use crate::{Labels, MAX_LABEL_PART_BYTES, METRIC_NAME};

/// Gathers sets.
#[derive(Clone, Debug, Default)]
pub struct LabelKeys {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// Where the name of the last label of the set under way stands.
    before: Range<usize>,
    /// Whether the set under way has a metric's name.
    is_named: bool,
}

impl LabelKeys {
    /// How many sets.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds a label to the set under way; `false` if it does not follow the one before or is none: the set is then
    /// to be [given up](Self::give_up).
    pub fn label(&mut self, name: &[u8], value: &[u8]) -> bool {
        let follows = self
            .bytes
            .get(self.before.clone())
            .is_some_and(|it| it < name);
        let fits = name.len() <= MAX_LABEL_PART_BYTES && value.len() <= MAX_LABEL_PART_BYTES;
        if !(follows && fits) || value.is_empty() {
            return false;
        }
        self.part(name);
        self.before = self.bytes.len() - name.len()..self.bytes.len();
        self.part(value);
        self.is_named |= name == METRIC_NAME.as_bytes();
        true
    }

    fn part(&mut self, part: &[u8]) {
        let bits = part.len();
        self.bytes
            .extend_from_slice(&[(bits & 0x7f) as u8, (bits >> 7 & 0x7f) as u8]);
        self.bytes.extend_from_slice(part);
    }

    /// Ends the set under way; `false` if it names no metric, and is then left out.
    pub fn end(&mut self) -> bool {
        let end = u32::try_from(self.bytes.len()).ok();
        let Some(end) = end.filter(|_| self.is_named) else {
            self.give_up();
            return false;
        };
        self.ends.push(end);
        self.begin();
        true
    }

    /// Leaves out the set under way.
    pub fn give_up(&mut self) {
        self.bytes.truncate(self.ended());
        self.begin();
    }

    /// Leaves out the set that was ended last.
    pub fn take_back(&mut self) {
        self.ends.pop();
        self.give_up();
    }

    fn ended(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }

    fn begin(&mut self) {
        let at = self.bytes.len();
        self.before = at..at;
        self.is_named = false;
    }

    /// Adds a set; `false` if it names no metric.
    pub fn push(&mut self, labels: &Labels) -> bool {
        self.give_up();
        self.bytes.extend_from_slice(labels.key().as_bytes());
        self.is_named = labels.metric_name().is_some();
        self.end()
    }

    /// The sets, if all of them are UTF-8.
    pub fn checked(self) -> Option<CheckedKeys> {
        let Self { bytes, ends, .. } = self;
        let text = String::from_utf8(bytes).ok()?;
        Some(CheckedKeys { text, ends })
    }
}

/// Sets that can be appended to.
#[derive(Clone, Debug, Default)]
pub struct CheckedKeys {
    text: String,
    ends: Vec<u32>,
}

impl CheckedKeys {
    /// The sets, in the order in which they were added.
    pub fn sets(&self) -> impl Iterator<Item = Key<'_>> {
        let mut begin = 0;
        self.ends.iter().map(move |end| {
            let end = *end as usize;
            let key = self.text.get(begin..end).unwrap_or_default();
            begin = end;
            Key(key)
        })
    }
}

/// A canonical label set, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a>(&'a str);

impl<'a> Key<'a> {
    pub(crate) fn text(self) -> &'a str {
        self.0
    }

    /// The set by itself.
    pub fn labels(self) -> Labels {
        Labels::from_known_key(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gathered(pairs: &[(Vec<u8>, Vec<u8>)]) -> Option<CheckedKeys> {
        let mut keys = LabelKeys::default();
        let sorted = pairs.iter().all(|(name, value)| keys.label(name, value));
        (sorted && keys.end()).then(|| keys.checked())?
    }

    #[test]
    fn a_set_that_is_given_up_leaves_no_trace() {
        let mut keys = LabelKeys::default();
        assert!(keys.label(b"__name__", b"up") && keys.end());
        assert!(keys.label(b"b", b"1") && !keys.label(b"a", b"1"));
        keys.give_up();
        assert!(keys.label(b"b", b"1") && !keys.end(), "it names no metric");
        assert!(keys.label(b"__name__", b"load") && keys.end());
        assert!(keys.label(b"__name__", b"other") && keys.end());
        keys.take_back();
        let keys = keys.checked().unwrap();
        let names: Vec<String> = keys.sets().map(|it| it.labels().to_string()).collect();
        assert_eq!(names, ["{__name__=\"up\"}", "{__name__=\"load\"}"]);
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_labels_make_of_it(
            mut pairs in prop::collection::vec(
                (prop::sample::select(vec!["", "a", "__name__", "é", "b"]), "[a-zé\u{0}]{0,3}"),
                0..5,
            ),
            sort in any::<bool>(),
            cut in any::<bool>(),
        ) {
            if sort {
                pairs.sort();
            }
            let mut bytes: Vec<(Vec<u8>, Vec<u8>)> =
                pairs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
            if cut && let Some((_, value)) = bytes.last_mut() {
                value.pop();
            }
            let text = |part: &[u8]| String::from_utf8(part.to_vec()).ok();
            let texts: Option<Vec<_>> =
                bytes.iter().map(|(n, v)| Some((text(n)?, text(v)?))).collect();
            if let Some(found) = gathered(&bytes) {
                let expected = Labels::from_pairs(texts.unwrap()).unwrap();
                prop_assert_eq!(found.sets().next().unwrap().labels(), expected);
            } else if let Some(texts) = texts {
                let canonical = texts.windows(2).all(|it| it[0].0 < it[1].0)
                    && texts.iter().all(|(n, v)| !n.is_empty() && !v.is_empty())
                    && texts.iter().any(|(n, _)| n == METRIC_NAME);
                prop_assert!(!canonical, "{:?} is left out", texts);
            }
        }
    }
}

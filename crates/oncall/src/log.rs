//! What was told to whom: so that nobody is told twice, and everybody again in time.
//!
//! Guarantees: an entry says which alerts of a group fired and which were over when they were last told to one
//! channel. Never decides by anything else.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use mainstay_core::Span;
use serde::{Deserialize, Serialize};

use crate::{labels::Fingerprint, moment};

/// What was told last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The group.
    pub group: String,
    /// The channel: receiver, kind and number.
    pub channel: String,
    /// What fired.
    pub firing: BTreeSet<Fingerprint>,
    /// What was over.
    pub resolved: BTreeSet<Fingerprint>,
    /// When.
    pub at: Timestamp,
    /// When it may be forgotten.
    pub expires: Timestamp,
}

/// Why something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// It was never told.
    First,
    /// Something fires that was not told.
    MoreFiring,
    /// Nothing fires any more.
    AllOver,
    /// Something is over, and that was not told.
    MoreOver,
    /// It is time to say it again.
    Repeat,
}

/// The entries, by group and channel.
#[derive(Debug, Clone, Default)]
pub struct Log(BTreeMap<(String, String), Entry>);

/// What there is to tell.
#[derive(Debug, Clone, Copy)]
pub struct News<'a> {
    /// What fires.
    pub firing: &'a BTreeSet<Fingerprint>,
    /// What is over.
    pub resolved: &'a BTreeSet<Fingerprint>,
    /// Whether the channel hears of what is over.
    pub send_resolved: bool,
    /// After how long it is said again.
    pub repeat: Span,
}

impl Log {
    /// Why `news` has to be told to a channel, if it has to.
    pub fn why(
        &self,
        group: &str,
        channel: &str,
        news: News<'_>,
        now: Timestamp,
    ) -> Option<Because> {
        let Some(last) = self.get(group, channel) else {
            return (!news.firing.is_empty()).then_some(Because::First);
        };
        if !news.firing.is_subset(&last.firing) {
            return Some(Because::MoreFiring);
        }
        // Also where the channel does not hear of it: what fired is then forgotten.
        if news.firing.is_empty() {
            return (!last.firing.is_empty()).then_some(Because::AllOver);
        }
        if news.send_resolved && !news.resolved.is_subset(&last.resolved) {
            return Some(Because::MoreOver);
        }
        (last.at < moment::before(now, news.repeat)).then_some(Because::Repeat)
    }

    /// Takes an entry.
    pub fn put(&mut self, entry: Entry) {
        let key = (entry.group.clone(), entry.channel.clone());
        self.0.insert(key, entry);
    }

    /// What was last told.
    pub fn get(&self, group: &str, channel: &str) -> Option<&Entry> {
        self.0.get(&(group.to_owned(), channel.to_owned()))
    }

    /// Forgets what may be forgotten.
    pub fn forget_expired(&mut self, now: Timestamp) {
        self.0.retain(|_, entry| entry.expires > now);
    }

    /// By group and channel.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prints(of: &[u64]) -> BTreeSet<Fingerprint> {
        of.iter().copied().map(Fingerprint).collect()
    }

    #[test]
    fn what_is_told_depends_on_what_was_told() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (none, one, two) = (&[][..], &[1][..], &[1, 2][..]);
        // (told: firing and over; news: firing and over; heard of what is over; seconds later; why)
        let cases = [
            (None, one, none, true, 0, Some(Because::First)),
            (None, none, one, true, 0, None),
            (
                Some((one, none)),
                two,
                none,
                true,
                1,
                Some(Because::MoreFiring),
            ),
            (Some((one, none)), one, none, true, 1, None),
            (Some((one, none)), one, none, true, 100, None),
            (
                Some((one, none)),
                one,
                none,
                true,
                101,
                Some(Because::Repeat),
            ),
            (
                Some((two, none)),
                one,
                &[2],
                true,
                1,
                Some(Because::MoreOver),
            ),
            (Some((two, none)), one, &[2], false, 1, None),
            (Some((one, &[2])), one, &[2], true, 1, None),
            (
                Some((one, none)),
                none,
                one,
                true,
                1,
                Some(Because::AllOver),
            ),
            (
                Some((one, none)),
                none,
                one,
                false,
                1,
                Some(Because::AllOver),
            ),
            (Some((none, one)), none, one, true, 500, None),
            (
                Some((none, one)),
                one,
                none,
                true,
                1,
                Some(Because::MoreFiring),
            ),
        ];
        for (case, (told, firing, resolved, send_resolved, later, expected)) in
            cases.into_iter().enumerate()
        {
            let mut log = Log::default();
            if let Some((firing, resolved)) = told {
                log.put(Entry {
                    group: "g".into(),
                    channel: "c".into(),
                    firing: prints(firing),
                    resolved: prints(resolved),
                    at: at(1000),
                    expires: at(9000),
                });
            }
            let news = News {
                firing: &prints(firing),
                resolved: &prints(resolved),
                send_resolved,
                repeat: Span::from_secs(100),
            };
            assert_eq!(
                log.why("g", "c", news, at(1000 + later)),
                expected,
                "case {case}"
            );
            assert_eq!(
                log.why("g", "other", news, at(1000 + later)).is_some(),
                !firing.is_empty()
            );
        }
    }
}

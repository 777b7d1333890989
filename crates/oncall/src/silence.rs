//! Silences: what nobody wants to hear of, until when, and who said so.
//!
//! Guarantees: a silence is never changed so that what it silenced is another than before: it is ended, and a new one
//! begins. What has ended stays to be read until its retention is over. Never reads a clock, never makes an id.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mainstay_core::Span;
use serde::{Deserialize, Serialize};

use crate::{labels::Labels, matcher::Matchers, moment};

/// Silences that may be kept together; more are refused.
pub const SILENCES_MAX: usize = 100_000;
/// Conditions of one silence.
pub const MATCHERS_MAX: usize = 64;

/// What is not heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Silence {
    /// What it is known by.
    pub id: String,
    /// What it silences: that for which all hold.
    pub matchers: Matchers,
    /// Since when.
    pub starts_at: Timestamp,
    /// Until when; over from then on.
    pub ends_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Who said so.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// Where a silence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SilenceState {
    /// In force.
    Active,
    /// Not yet.
    Pending,
    /// No more.
    Expired,
}

impl SilenceState {
    /// As the API writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Expired => "expired",
        }
    }
}

impl Silence {
    /// Where it stands.
    pub fn state(&self, now: Timestamp) -> SilenceState {
        if self.ends_at <= now {
            SilenceState::Expired
        } else if now < self.starts_at {
            SilenceState::Pending
        } else {
            SilenceState::Active
        }
    }

    /// Whether it may become `wanted` without another thing being silenced in the past.
    fn can_become(&self, wanted: &Self, now: Timestamp) -> bool {
        self.matchers == wanted.matchers
            && match self.state(now) {
                SilenceState::Active => {
                    wanted.starts_at.as_second() == self.starts_at.as_second()
                        && wanted.ends_at >= now
                }
                SilenceState::Pending => wanted.starts_at >= now,
                SilenceState::Expired => false,
            }
    }
}

/// Why a silence is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SilenceError {
    /// There is none of that id.
    #[error("silence {0} not found")]
    NotFound(String),
    /// It is over.
    #[error("silence {0} already expired")]
    Expired(String),
    /// It would end before it begins.
    #[error("start time must be before end time")]
    EndsBeforeStart,
    /// It would be over at once.
    #[error("end time can't be in the past")]
    EndsInThePast,
    /// It is about everything.
    #[error("at least one matcher must not match the empty string")]
    AboutEverything,
    /// It is about nothing.
    #[error("at least one matcher required")]
    NoMatcher,
    /// It has too many conditions.
    #[error("at most {MATCHERS_MAX} matchers")]
    TooManyMatchers,
    /// There are too many.
    #[error("there are {SILENCES_MAX} silences already; expire some")]
    TooMany,
    /// It would last too long.
    #[error("a silence lasts at most {0}; end it earlier, and renew it while it is needed")]
    TooLong(Span),
}

/// All silences.
#[derive(Debug, Clone, Default)]
pub struct Silences {
    all: BTreeMap<String, Silence>,
    longest: Option<Span>,
}

/// What became of a silence that was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The one in force now.
    pub id: String,
    /// All that differ from before.
    pub changed: Vec<Silence>,
}

impl Silences {
    /// With silences of at most that length.
    pub fn at_most(longest: Option<Span>) -> Self {
        Self {
            longest,
            ..Self::default()
        }
    }

    /// Takes one as it was kept.
    pub fn restore(&mut self, silence: Silence) {
        self.all.insert(silence.id.clone(), silence);
    }

    /// Makes a silence, or changes the one whose id `wanted` names; `new_id` is taken where a new one has to begin.
    pub fn set(
        &mut self,
        mut wanted: Silence,
        new_id: String,
        now: Timestamp,
    ) -> Result<Set, SilenceError> {
        self.check(&wanted, now)?;
        wanted.updated_at = now;
        let mut changed = Vec::new();
        if !wanted.id.is_empty() {
            let known = self.all.get(&wanted.id);
            let known = known.ok_or_else(|| SilenceError::NotFound(wanted.id.clone()))?;
            if known.can_become(&wanted, now) {
                self.restore(wanted.clone());
                return Ok(Set {
                    id: wanted.id.clone(),
                    changed: vec![wanted],
                });
            }
            if known.state(now) != SilenceState::Expired {
                changed.push(self.expire(&wanted.id, now)?);
            }
        }
        if self.all.len() >= SILENCES_MAX {
            return Err(SilenceError::TooMany);
        }
        wanted.id = new_id;
        wanted.starts_at = wanted.starts_at.max(now);
        self.restore(wanted.clone());
        let id = wanted.id.clone();
        changed.push(wanted);
        Ok(Set { id, changed })
    }

    fn check(&self, wanted: &Silence, now: Timestamp) -> Result<(), SilenceError> {
        if wanted.ends_at <= wanted.starts_at {
            return Err(SilenceError::EndsBeforeStart);
        }
        if wanted.ends_at < now {
            return Err(SilenceError::EndsInThePast);
        }
        if wanted.matchers.is_empty() {
            return Err(SilenceError::NoMatcher);
        }
        if wanted.matchers.iter().len() > MATCHERS_MAX {
            return Err(SilenceError::TooManyMatchers);
        }
        if wanted.matchers.matches(&Labels::default()) {
            return Err(SilenceError::AboutEverything);
        }
        let begins = wanted.starts_at.max(now);
        match self.longest {
            Some(longest) if wanted.ends_at > moment::after(begins, longest) => {
                Err(SilenceError::TooLong(longest))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Ends one now; gives it as it is then.
    pub fn expire(&mut self, id: &str, now: Timestamp) -> Result<Silence, SilenceError> {
        let known = self.all.get_mut(id);
        let known = known.ok_or_else(|| SilenceError::NotFound(id.to_owned()))?;
        match known.state(now) {
            SilenceState::Expired => return Err(SilenceError::Expired(id.to_owned())),
            SilenceState::Active => {}
            SilenceState::Pending => known.starts_at = now,
        }
        known.ends_at = now;
        known.updated_at = now;
        Ok(known.clone())
    }

    /// The ids of those in force that silence a label set.
    pub fn silencing(&self, labels: &Labels, now: Timestamp) -> Vec<String> {
        let in_force = self
            .all
            .values()
            .filter(|it| it.state(now) == SilenceState::Active);
        let about = in_force.filter(|it| it.matchers.matches(labels));
        about.map(|it| it.id.clone()).collect()
    }

    /// Forgets what ended so long ago; gives the ids.
    pub fn forget_expired(&mut self, now: Timestamp, retention: Span) -> Vec<String> {
        let oldest = moment::before(now, retention);
        let old = self.all.values().filter(|it| it.ends_at < oldest);
        let old: Vec<String> = old.map(|it| it.id.clone()).collect();
        for id in &old {
            self.all.remove(id);
        }
        old
    }

    /// One of them.
    pub fn get(&self, id: &str) -> Option<&Silence> {
        self.all.get(id)
    }

    /// By id.
    pub fn iter(&self) -> impl Iterator<Item = &Silence> {
        self.all.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn wanted(id: &str, matchers: &str, from: i64, until: i64) -> Silence {
        Silence {
            id: id.to_owned(),
            matchers: matchers.parse().unwrap(),
            starts_at: at(from),
            ends_at: at(until),
            updated_at: at(0),
            created_by: "ops".to_owned(),
            comment: "maintenance".to_owned(),
        }
    }

    #[test]
    fn a_silence_is_changed_in_place_only_where_nothing_else_is_silenced() {
        // (matchers, from, until, now, changed in place)
        let cases = [
            ("a=b", 10, 200, 50, true),
            ("a=b", 10, 60, 50, true),
            ("a=c", 10, 100, 50, false),
            ("a=b", 20, 100, 50, false),
            ("a=b", 10, 100, 5, true),
            ("a=b", 20, 100, 5, true),
            ("a=b", 120, 200, 110, false),
        ];
        for (matchers, from, until, now, in_place) in cases {
            let mut silences = Silences::default();
            silences
                .set(wanted("", "a=b", 10, 100), "1".into(), at(2))
                .unwrap();
            let set = silences.set(wanted("1", matchers, from, until), "2".into(), at(now));
            let set = set.unwrap();
            let expected = if in_place { "1" } else { "2" };
            assert_eq!(set.id, expected, "{matchers} {from} {until} at {now}");
            let old = silences.get("1").unwrap();
            if !in_place && now < 100 {
                assert_eq!(old.state(at(now)), SilenceState::Expired);
            }
        }
    }

    #[test]
    fn a_new_silence_does_not_begin_in_the_past() {
        let mut silences = Silences::default();
        let set = silences.set(wanted("", "a=b", 10, 100), "1".into(), at(50));
        assert_eq!(set.unwrap().changed[0].starts_at, at(50));
    }

    #[test]
    fn what_cannot_be_a_silence_is_refused() {
        let mut silences = Silences::at_most(Some(Span::from_secs(1000)));
        let cases = [
            (wanted("", "a=b", 10, 10), SilenceError::EndsBeforeStart),
            (wanted("", "a=b", 1, 4), SilenceError::EndsInThePast),
            (wanted("", "", 10, 20), SilenceError::NoMatcher),
            (
                wanted("", "a=~\".*\"", 10, 20),
                SilenceError::AboutEverything,
            ),
            (wanted("", "a=\"\"", 10, 20), SilenceError::AboutEverything),
            (
                wanted("x", "a=b", 10, 20),
                SilenceError::NotFound("x".into()),
            ),
            (
                wanted("", "a=b", 10, 1011),
                SilenceError::TooLong(Span::from_secs(1000)),
            ),
        ];
        for (silence, expected) in cases {
            assert_eq!(silences.set(silence, "1".into(), at(5)), Err(expected));
        }
        assert!(
            silences
                .set(wanted("", "a=b", 1, 1005), "1".into(), at(5))
                .is_ok()
        );
    }

    #[test]
    fn silences_silence_from_their_start_to_their_end_by_value_or_expression() {
        let mut silences = Silences::default();
        silences
            .set(
                wanted("", "job=~\"shop|feed\",env!=test", 10, 100),
                "1".into(),
                at(0),
            )
            .unwrap();
        let labels = |job: &str| Labels::from_iter([("job", job), ("env", "prod")]);
        let silenced = |silences: &Silences, job: &str, now| {
            !silences.silencing(&labels(job), at(now)).is_empty()
        };
        assert!(!silenced(&silences, "shop", 9));
        assert!(silenced(&silences, "shop", 10));
        assert!(silenced(&silences, "feed", 99));
        assert!(!silenced(&silences, "feeds", 50));
        assert!(!silenced(&silences, "shop", 100));
        silences.expire("1", at(50)).unwrap();
        assert!(!silenced(&silences, "shop", 50));
        assert_eq!(
            silences.expire("1", at(51)),
            Err(SilenceError::Expired("1".into()))
        );
        assert!(
            silences
                .forget_expired(at(60), Span::from_secs(10))
                .is_empty()
        );
        assert_eq!(silences.forget_expired(at(61), Span::from_secs(10)), ["1"]);
    }
}

//! Pages: one person told once by one channel.
//!
//! Guarantees: a page is known by a key made of incident, demand, step, person and channel, so that whoever gets it
//! twice sees that it is one.

use mainstay_core::{ChangeId, Name, Span, Time, escalation::Severity};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The step of those who are told of every P0.
pub const AT_P0: u32 = 999;
/// Tries of one page.
pub(super) const ATTEMPTS_MAX: u32 = 3;
/// Bytes of a key's digest that are kept; written in twice as many letters.
const KEY_BYTES: usize = 16;

/// How long before the try after `attempt`.
pub(super) fn pause(attempt: u32) -> Span {
    Span::from_secs(5 * u64::from(attempt) * u64::from(attempt))
}

/// Where a page stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageStatus {
    /// It waits for its time.
    Pending {
        /// Which that is.
        until: Time,
        /// Whether it waits to be told with others.
        held: bool,
    },
    /// It is being sent; how that ended is not known.
    Sending,
    /// The channel took it.
    Accepted,
    /// It was seen to arrive.
    Delivered,
    /// The channel will not take it.
    Failed,
    /// It was no longer needed.
    Withdrawn,
}

impl PageStatus {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending { held: false, .. } => "pending",
            Self::Pending { held: true, .. } => "held",
            Self::Sending => "sending",
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Of which round.
    pub cycle: u32,
    /// Of which step.
    pub step: u32,
    /// To whom.
    pub person: Name,
    /// By which channel.
    pub channel: Name,
    /// Which try, from 1.
    pub attempt: u32,
    /// Where it stands.
    pub status: PageStatus,
    /// Since when.
    pub since: Time,
    /// Whether it ever waited to be told with others.
    pub was_held: bool,
    /// Why it was not taken, the last time.
    pub why: String,
}

/// A page as it is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// What makes it one page; the same however often it is sent.
    pub key: String,
    /// Which try, from 1.
    pub attempt: u32,
    /// How often people were asked anew before.
    pub demand: u32,
    /// Of which round.
    pub cycle: u32,
    /// Of which step.
    pub step: u32,
    /// To whom.
    pub person: Name,
    /// By which channel.
    pub channel: Name,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in a line.
    pub title: String,
    /// Whether it is told with others.
    pub held: bool,
}

/// What makes a page one page.
pub fn key(incident: &ChangeId, cycle: u32, step: u32, person: &Name, channel: &Name) -> String {
    let numbers = format!("{cycle}/{step}");
    let parts = [
        incident.as_str(),
        &numbers,
        person.as_str(),
        channel.as_str(),
    ];
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    mainstay_core::hex(&digest[..KEY_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_for_the_same_page_and_another_for_any_other() {
        let of = |incident: &str, cycle, step, person: &str, channel: &str| {
            key(
                &incident.parse().unwrap(),
                cycle,
                step,
                &Name::new(person).unwrap(),
                &Name::new(channel).unwrap(),
            )
        };
        let one = of("inc-a", 1, 2, "alice", "sms");
        assert_eq!(one, of("inc-a", 1, 2, "alice", "sms"));
        assert_eq!(one.len(), 32);
        for other in [
            of("inc-b", 1, 2, "alice", "sms"),
            of("inc-a", 2, 2, "alice", "sms"),
            of("inc-a", 1, 3, "alice", "sms"),
            of("inc-a", 1, 2, "bob", "sms"),
            of("inc-a", 1, 2, "alice", "mail"),
            of("inc-a", 12, 2, "alice", "sms"),
        ] {
            assert_ne!(one, other);
        }
    }
}

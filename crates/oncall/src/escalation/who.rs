//! Who is meant at an instant.

use jiff::Timestamp;
use mainstay_core::{Name, escalation::Target};
use serde::{Deserialize, Serialize};

/// A person, and how they are reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// Who.
    #[serde(rename = "who")]
    pub person: Name,
    /// Their time zone, by its IANA name.
    pub zone: String,
    /// Names of their channels, in the order in which they are tried; where those lead is not written down.
    pub channels: Vec<Name>,
}

/// Knows whom a target means: people, schedules and teams stand behind it.
pub trait Who: Send + Sync {
    /// Who is meant at an instant; nobody where the target is unknown, or empty then.
    fn of(&self, target: &Target, at: Timestamp) -> Vec<Recipient>;
}

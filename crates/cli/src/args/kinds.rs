//! What can be listed: kinds that are declared, and what is measured.

use std::str::FromStr;

use mainstay_core::{Kind, resource::UnknownKind};

/// A kind of things that `get` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    /// Written by somebody.
    Declared(Kind),
    /// What runs.
    Instances,
    /// Releases under way, and those that were.
    Rollouts,
}

impl FromStr for Listed {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "instance" | "instances" => Ok(Self::Instances),
            "rollout" | "rollouts" => Ok(Self::Rollouts),
            declared => declared
                .parse()
                .map(Self::Declared)
                .map_err(|unknown: UnknownKind| {
                    format!("{unknown}; and, measured, instances and rollouts")
                }),
        }
    }
}

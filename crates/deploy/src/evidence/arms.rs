//! Whose request it was, and whether it was a bad one, as the labels of a series tell.
//!
//! Guarantees: a series counts for one arm or none; an old instance whose age is not known counts as young.
//! Never takes an answer for good that a probe did not expect.

use std::collections::BTreeMap;

use mainstay_stats::{ArmCounts, Pair};

/// Which version's request it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arm {
    Canary,
    Control,
    /// Of the old version, and as young as the canary.
    YoungControl,
}

impl Arm {
    /// Adds `total` requests of this arm, `bad` of them bad.
    pub(super) fn add(self, pair: &mut Pair, total: u64, bad: u64) {
        let side = match self {
            Self::Canary => &mut pair.canary,
            Self::Control | Self::YoungControl => &mut pair.control,
        };
        *side = side.plus(ArmCounts { total, bad });
    }
}

/// Whose requests they are: each kind is compared for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Users,
    Probes,
}

/// Who is compared with whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arms {
    /// The new version.
    pub canary: String,
    /// The old version.
    pub control: String,
    /// Instances of the old version that are as young as the canary.
    pub young: Vec<String>,
}

/// How the series that are judged are labelled.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    /// The label that holds the version.
    pub version: String,
    /// The label that holds the status: `503`, `5xx` or `5`.
    pub code: String,
    /// A second, in the unit of the bounds of latency.
    pub second: f64,
    /// Whether it is known how old instances are; where not, every one of the old version counts as young.
    pub ages_known: bool,
}

impl Default for Labels {
    /// Those of the router.
    fn default() -> Self {
        Self {
            version: "version".to_owned(),
            code: "code".to_owned(),
            second: 1.0,
            ages_known: true,
        }
    }
}

impl Labels {
    /// Whether a series with `labels` counts bad requests: by status for users, and for probes by whether the
    /// answer was the one expected.
    pub(super) fn is_bad(&self, labels: &BTreeMap<String, String>, kind: Kind) -> bool {
        match kind {
            Kind::Users => labels.get(&self.code).is_some_and(|code| is_failure(code)),
            Kind::Probes => labels
                .get("outcome")
                .is_none_or(|outcome| outcome != "good"),
        }
    }
}

/// Whether a status says that the server failed: a code from 500 on, or the class of them.
fn is_failure(code: &str) -> bool {
    let class = code.strip_suffix("xx").unwrap_or(code);
    class.len() == 1 && class == "5" || code.parse::<u16>().is_ok_and(|code| code >= 500)
}

impl Arms {
    pub(super) fn of(&self, labels: &BTreeMap<String, String>, names: &Labels) -> Option<Arm> {
        let version = labels.get(&names.version)?;
        if *version == self.canary {
            return Some(Arm::Canary);
        }
        let instance = labels.get("instance");
        let is_young = !names.ages_known || instance.is_some_and(|it| self.young.contains(it));
        (*version == self.control).then_some(if is_young {
            Arm::YoungControl
        } else {
            Arm::Control
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_a_code_or_as_its_class() {
        for bad in ["500", "503", "5xx", "5"] {
            assert!(is_failure(bad), "{bad}");
        }
        for fine in ["200", "404", "2xx", "4", "50", "", "xx", "total"] {
            assert!(!is_failure(fine), "{fine}");
        }
    }
}

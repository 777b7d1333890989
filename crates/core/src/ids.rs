//! Typed names: a service cannot be passed where a host is meant.
//!
//! Names follow the DNS label rule that Kubernetes uses, so that they may stand in URLs, metric
//! labels and file names without quoting.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest name, in bytes: instance names carry a service, a fabric and an ordinal.
pub const NAME_BYTES_MAX: usize = 127;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty or longer than [`NAME_BYTES_MAX`].
    #[error("{what} `{text}` has {} bytes; use 1 to {NAME_BYTES_MAX}", text.len())]
    Length {
        /// Which type of name.
        what: &'static str,
        /// The offending text.
        text: String,
    },
    /// A character outside the rule.
    #[error("{what} `{text}` may only have {allowed}, and begins and ends with a letter or digit")]
    Characters {
        /// Which type of name.
        what: &'static str,
        /// The offending text.
        text: String,
        /// The characters that are allowed.
        allowed: &'static str,
    },
}

fn check(what: &'static str, text: &str, version: bool) -> Result<(), NameError> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(NameError::Length {
            what,
            text: text.chars().take(64).collect(),
        });
    }
    let inner = |b: u8| {
        b.is_ascii_lowercase()
            || b.is_ascii_digit()
            || b == b'-'
            || b == b'.'
            || (version && (b.is_ascii_uppercase() || b == b'_' || b == b'+'))
    };
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    if bytes.iter().all(|b| inner(*b)) && edge(bytes.first()) && edge(bytes.last()) {
        return Ok(());
    }
    let allowed = if version {
        "letters, digits, `.`, `-`, `_`, `+`"
    } else {
        "lowercase letters, digits, `.`, `-`"
    };
    Err(NameError::Characters {
        what,
        text: text.to_owned(),
        allowed,
    })
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $version:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $type(std::sync::Arc<str>);

        impl $type {
            /// Parses a name; the error says which rule it breaks.
            pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
                check($what, text.as_ref(), $version)?;
                Ok(Self(text.as_ref().into()))
            }
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// Name of a resource of any kind.
    Name, "name", false
);
name!(
    /// A service: what is released, routed to and owned.
    ServiceName, "service", false
);
name!(
    /// A fabric: a datacenter, the unit of failover.
    FabricName, "fabric", false
);
name!(
    /// A host: one machine with one agent.
    HostName, "host", false
);
name!(
    /// One place where a process of a service runs; it outlives the processes in it.
    InstanceName, "instance", false
);
name!(
    /// A version of a service, as its artifact names it.
    Version, "version", true
);
name!(
    /// A change to production.
    ChangeId, "change", false
);

/// A share in per cent, 0 to 100, written `10%` or `10`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "PercentText", into = "f64")]
#[schemars(with = "PercentText")]
pub struct Percent(f64);

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum PercentText {
    Number(f64),
    Text(String),
}

impl Percent {
    /// A share of `value` per cent; `None` outside 0 to 100.
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=100.0).contains(&value).then_some(Self(value))
    }
    /// 0 to 100.
    pub fn get(self) -> f64 {
        self.0
    }
    /// 0 to 1.
    pub fn fraction(self) -> f64 {
        self.0 / 100.0
    }
}

impl TryFrom<PercentText> for Percent {
    type Error = String;
    fn try_from(text: PercentText) -> Result<Self, String> {
        let value = match &text {
            PercentText::Number(n) => Some(*n),
            PercentText::Text(t) => t.trim().trim_end_matches('%').trim().parse().ok(),
        };
        value
            .and_then(Self::new)
            .ok_or_else(|| "a percentage is a number from 0 to 100, such as `10%`".to_owned())
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> f64 {
        percent.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_an_upper_case_letter_is_refused_and_the_rule_is_said() {
        let error = ServiceName::new("Voyager").unwrap_err().to_string();
        assert!(
            error.contains("service `Voyager`") && error.contains("lowercase"),
            "{error}"
        );
        assert!(ServiceName::new("voyager-2.api").is_ok());
        assert!(ServiceName::new("-voyager").is_err());
        assert!(ServiceName::new("").is_err());
        assert!(Version::new("2026.11.3_RC+1").is_ok());
    }

    #[test]
    fn a_percentage_reads_numbers_and_text_and_refuses_the_rest() {
        let read = |json: &str| serde_json::from_str::<Percent>(json).map(Percent::get);
        assert_eq!(read("10").unwrap(), 10.0);
        assert_eq!(read("\"2.5 %\"").unwrap(), 2.5);
        assert!(read("101").is_err());
        assert!(read("\"half\"").is_err());
    }
}

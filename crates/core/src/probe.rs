//! Tagged probes: requests of the router's own that a rollout sends when users bring too little evidence.
//!
//! Guarantees: a probe without a flaw can be sent, carries no header that the router decides by, and asks
//! nothing of a service that [RFC 9110, section 9.2.1](https://www.rfc-editor.org/rfc/rfc9110#section-9.2.1)
//! does not call safe. Never sends anything: it says what may be sent.
//!
//! ```
//! use mainstay_core::probe::{ProbeSpec, flaws};
//! let probe: ProbeSpec = serde_json::from_str(r#"{"path": "/voyager/home", "rate": 2}"#)?;
//! assert!(flaws(&[probe]).is_empty());
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::flaw::SpecFlaw;

/// Header that tells a probe from a user's request; its value is the change that it is sent for. Routers take it off
/// whatever users send.
pub const PROBE_HEADER: &str = "x-mainstay-probe";
/// Probes that one service may declare.
pub const PROBES_MAX: usize = 8;
/// Most that all probes of a service send to each version in each fabric, a second: they are evidence, not load.
pub const RATE_MAX: f64 = 50.0;
/// Least that a probe is sent, a second: ten minutes of fewer would show nothing.
pub const RATE_MIN: f64 = 0.1;
/// Headers that one probe may carry.
pub const HEADERS_MAX: usize = 16;
/// Bytes of a path, and of a header's value.
pub const TEXT_BYTES_MAX: usize = 512;
/// Headers that the router sets or decides by.
const RESERVED: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-forwarded-for",
];
/// Headers that begin so are ours.
const RESERVED_PREFIX: &str = "x-mainstay-";

/// How a probe asks: safely.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProbeMethod {
    /// For the whole answer.
    #[default]
    Get,
    /// For its head.
    Head,
}

impl ProbeMethod {
    /// As it is written in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// A request to send: to a canary and to its control alike, when users bring too little evidence; and to an instance out
/// of rotation, before it comes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProbeSpec {
    /// `GET` or `HEAD`.
    #[serde(default)]
    pub method: ProbeMethod,
    /// Path, such as `/voyager/home?lang=en`.
    pub path: String,
    /// Headers that it carries besides those of every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Status of a good answer; any below 500 where unset, as for users.
    #[serde(default)]
    pub expect: Option<u16>,
    /// How often it is sent to each of both versions in each fabric, a second.
    #[serde(default = "default_rate")]
    pub rate: f64,
}

fn default_rate() -> f64 {
    5.0
}

impl ProbeSpec {
    /// One that asks for `path` as any user may.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: ProbeMethod::Get,
            path: path.into(),
            headers: BTreeMap::new(),
            expect: None,
            rate: default_rate(),
        }
    }

    /// Whether an answer with this status is a good one.
    pub fn expects(&self, status: u16) -> bool {
        self.expect
            .map_or(status < 500, |expected| status == expected)
    }
}

/// Every flaw of a service's probes, in their order.
pub fn flaws(probes: &[ProbeSpec]) -> Vec<SpecFlaw> {
    let mut flaws = Vec::new();
    let mut flaw = |field: String, what: String, remedy: &str| {
        flaws.push(SpecFlaw {
            field,
            what,
            remedy: remedy.to_owned(),
        });
    };
    if probes.len() > PROBES_MAX {
        let what = format!("{} probes; at most {PROBES_MAX}", probes.len());
        let remedy = "keep those that tell a good version from a bad one";
        flaw("probes".to_owned(), what, remedy);
    }
    let all: f64 = probes.iter().map(|probe| probe.rate).sum();
    if all > RATE_MAX {
        let what = format!("{all} probes a second in each fabric; at most {RATE_MAX}");
        flaw("probes".to_owned(), what, "lower their rates");
    }
    for (at, probe) in probes.iter().enumerate() {
        let of = |part: &str| format!("probes[{at}].{part}");
        if !is_path(&probe.path) {
            let what = format!("`{}` is no path of a request", probe.path);
            let remedy = "write it as `/voyager/home`: from `/`, in visible ASCII, without `#`, at most 512 bytes";
            flaw(of("path"), what, remedy);
        }
        // Written so that NaN is no rate either.
        if !(RATE_MIN..=RATE_MAX).contains(&probe.rate) {
            let what = format!("{} a second is no rate of probes", probe.rate);
            flaw(of("rate"), what, "name a rate from 0.1 to 50 a second");
        }
        if let Some(status) = probe.expect
            && !(200..600).contains(&status)
        {
            let what = format!("no answer ends with status {status}");
            let remedy = "name a status from 200 to 599, or leave `expect` out";
            flaw(of("expect"), what, remedy);
        }
        if probe.headers.len() > HEADERS_MAX {
            let what = format!("{} headers; at most {HEADERS_MAX}", probe.headers.len());
            flaw(of("headers"), what, "leave some out");
        }
        for (name, value) in &probe.headers {
            if let Some((what, remedy)) = objection(name, value) {
                flaw(of(&format!("headers.{name}")), what, remedy);
            }
        }
    }
    flaws
}

fn is_path(path: &str) -> bool {
    let visible = |byte: u8| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte);
    path.starts_with('/') && path.len() <= TEXT_BYTES_MAX && path.bytes().all(visible)
}

/// Whether `name` can be the name of a header: a token of RFC 9110.
pub fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=TEXT_BYTES_MAX).contains(&name.len()) && name.bytes().all(token)
}

fn objection(name: &str, value: &str) -> Option<(String, &'static str)> {
    let lower = name.to_ascii_lowercase();
    if !is_header_name(name) {
        let what = format!("`{name}` is no name of a header");
        return Some((what, "write it in letters, digits and `-`"));
    }
    if RESERVED.contains(&lower.as_str()) || lower.starts_with(RESERVED_PREFIX) {
        let what = format!("the router itself sets or decides by `{name}`");
        return Some((what, "leave it out"));
    }
    let visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if value.len() > TEXT_BYTES_MAX || !value.bytes().all(visible) {
        let what = format!("the value of `{name}` cannot be sent");
        return Some((what, "write at most 512 bytes of visible ASCII"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(json: &str) -> ProbeSpec {
        serde_json::from_str(json).unwrap()
    }

    fn fields(probes: &[ProbeSpec]) -> Vec<String> {
        flaws(probes).into_iter().map(|it| it.field).collect()
    }

    #[test]
    fn a_probe_asks_safely_and_says_where_it_cannot_be_sent() {
        let plain = probe(r#"{"path": "/voyager/home?lang=en"}"#);
        assert_eq!((plain.method, plain.rate), (ProbeMethod::Get, 5.0));
        let full = r#"{"method": "HEAD", "path": "/a", "headers": {"Accept": "text/html"}, "expect": 204, "rate": 0.5}"#;
        assert_eq!(fields(&[plain, probe(full)]), [""; 0]);
        for unsafe_or_unknown in [
            r#"{"method": "POST", "path": "/a"}"#,
            r#"{"path": "/a", "body": "x"}"#,
            r#"{"rate": 1}"#,
        ] {
            assert!(serde_json::from_str::<ProbeSpec>(unsafe_or_unknown).is_err());
        }
        let flawed = r#"{"path": "voyager/ home", "rate": 0, "expect": 99,
            "headers": {"Host": "x", "x-mainstay-probe": "y", "a b": "z", "ok": "\n"}}"#;
        assert_eq!(
            fields(&[probe(flawed)]),
            [
                "probes[0].path",
                "probes[0].rate",
                "probes[0].expect",
                "probes[0].headers.Host",
                "probes[0].headers.a b",
                "probes[0].headers.ok",
                "probes[0].headers.x-mainstay-probe",
            ]
        );
    }

    #[test]
    fn all_probes_of_a_service_together_are_bounded() {
        let one = probe(r#"{"path": "/a", "rate": 10}"#);
        assert_eq!(fields(&vec![one.clone(); 5]), [""; 0]);
        assert_eq!(fields(&vec![one.clone(); 6]), ["probes"]);
        assert_eq!(fields(&vec![one; 9]), ["probes", "probes"]);
    }
}

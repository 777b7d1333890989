//! What clients of each version got from a service, so that a release which breaks one of them is found.
//!
//! Guarantees: at most [`CLIENTS_MAX`] client versions are told apart of one service; what comes beyond counts as
//! `other` and what says nothing as `unknown`, so that every request counts somewhere. One that nobody used for
//! [`FORGOTTEN_AFTER_MS`] gives its place to the next, so that a scan with made-up versions shuts no real one out
//! for good. Never makes a label of what a user wrote unless it looks like a version.
//!
//! ```text
//! clients.ended(&version, client_of(Some(b"feed-ios/8.1 (iOS 19)")), 200, now_ms);
//! ```

use std::collections::BTreeMap;

use mainstay_core::Version;

/// Client versions that are told apart of one service, besides `other` and `unknown`: each is a group that a
/// rollout judges, in each version of the service, and the more there are the more each has to show.
pub(crate) const CLIENTS_MAX: usize = 20;
/// Versions of a service whose clients are counted: those of an open rollout, and of some before it.
const VERSIONS_MAX: usize = 16;
/// A client version without a request for this long may be forgotten.
const FORGOTTEN_AFTER_MS: u64 = 600_000;
/// Bytes of a client version; a longer one is no version.
const CLIENT_BYTES_MAX: usize = 48;
/// Those for whom there is no place, and those that look like no version.
const OTHER: &str = "other";
/// Those that do not say.
const UNKNOWN: &str = "unknown";

/// Requests by class of status: `[0]` counts 1xx, `[4]` 5xx.
pub(crate) type Classes = [u64; 5];

/// Counters since the router began, of one service.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    /// When each was last counted, in milliseconds.
    seen_ms: BTreeMap<Box<str>, u64>,
    served: BTreeMap<Version, Served>,
}

/// What one version of the service answered.
#[derive(Debug, Default)]
struct Served {
    last_ms: u64,
    by_client: BTreeMap<Box<str>, Classes>,
}

impl Served {
    fn ended(&mut self, client: &str, code: u16, now_ms: u64) {
        self.last_ms = now_ms;
        let class = usize::from(code / 100).clamp(1, Classes::default().len()) - 1;
        if let Some(classes) = self.by_client.get_mut(client) {
            classes[class] += 1;
            return;
        }
        self.by_client.entry(client.into()).or_default()[class] += 1;
    }
}

impl Clients {
    /// Counts a request of `client` that `version` ended with `code`.
    pub(crate) fn ended(&mut self, version: &Version, client: &str, code: u16, now_ms: u64) {
        let client = self.place(client, now_ms);
        if let Some(served) = self.served.get_mut(version) {
            return served.ended(client, code, now_ms);
        }
        if self.served.len() >= VERSIONS_MAX {
            self.forget_a_version();
        }
        let served = self.served.entry(version.clone()).or_default();
        served.ended(client, code, now_ms);
    }

    /// Version of the service, client version, class of status such as `5xx`, and how many; none that is zero.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&Version, &str, String, u64)> {
        self.served.iter().flat_map(|(version, served)| {
            served.by_client.iter().flat_map(move |(client, classes)| {
                let numbered = (1..).zip(classes).filter(|(_, count)| **count > 0);
                numbered.map(move |(class, count)| {
                    (version, client.as_ref(), format!("{class}xx"), *count)
                })
            })
        })
    }

    /// The label for `client`: its own where it has a place or gets one.
    fn place<'a>(&mut self, client: &'a str, now_ms: u64) -> &'a str {
        if client == OTHER || client == UNKNOWN {
            return client;
        }
        if let Some(seen_ms) = self.seen_ms.get_mut(client) {
            *seen_ms = now_ms;
            return client;
        }
        if self.seen_ms.len() >= CLIENTS_MAX && !self.forget_a_client(now_ms) {
            return OTHER;
        }
        self.seen_ms.insert(client.into(), now_ms);
        client
    }

    /// Frees the place of the client version that was not seen for longest, if that is long enough.
    fn forget_a_client(&mut self, now_ms: u64) -> bool {
        let oldest = self.seen_ms.iter().min_by_key(|(_, seen_ms)| **seen_ms);
        let Some((client, _)) =
            oldest.filter(|(_, seen)| now_ms.saturating_sub(**seen) >= FORGOTTEN_AFTER_MS)
        else {
            return false;
        };
        let client = client.clone();
        self.seen_ms.remove(&client);
        for served in self.served.values_mut() {
            served.by_client.remove(&client);
        }
        true
    }

    fn forget_a_version(&mut self) {
        let oldest = self.served.iter().min_by_key(|(_, served)| served.last_ms);
        if let Some(version) = oldest.map(|(version, _)| version.clone()) {
            self.served.remove(&version);
        }
    }
}

/// The client version that a header names: its first word, such as `8.1.2`, or `feed-ios/8.1.2` of a `User-Agent`.
pub(crate) fn client_of(header: Option<&[u8]>) -> &str {
    let Some(header) = header else {
        return UNKNOWN;
    };
    let word = header
        .split(|byte| *byte == b' ')
        .next()
        .unwrap_or_default();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._+/".contains(byte);
    let is_version = (1..=CLIENT_BYTES_MAX).contains(&word.len()) && word.iter().all(is_plain);
    let text = str::from_utf8(word).ok().filter(|_| is_version);
    text.unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(clients: &Clients, client: &str) -> u64 {
        let of_client = clients.counts().filter(|(_, name, _, _)| *name == client);
        of_client.map(|(_, _, _, count)| count).sum()
    }

    #[test]
    fn a_client_version_is_the_first_word_of_its_header_if_it_looks_like_one() {
        for (header, client) in [
            ("8.1.2", "8.1.2"),
            ("feed-ios/8.1 (iPhone; iOS 19.0)", "feed-ios/8.1"),
            ("8.1,8.2", OTHER),
            ("a\"b", OTHER),
            ("\u{e9}", OTHER),
            ("", OTHER),
            (&"9".repeat(CLIENT_BYTES_MAX + 1), OTHER),
        ] {
            assert_eq!(client_of(Some(header.as_bytes())), client, "{header}");
        }
        assert_eq!(client_of(None), UNKNOWN);
    }

    #[test]
    fn made_up_client_versions_end_up_as_other_and_shut_no_real_one_out_for_good() {
        let version = Version::new("v1").unwrap();
        let mut clients = Clients::default();
        for made_up in 0..500 {
            clients.ended(&version, &format!("0.{made_up}"), 404, 0);
        }
        clients.ended(&version, "8.1", 200, 1);
        assert_eq!(clients.served[&version].by_client.len(), CLIENTS_MAX + 1);
        assert_eq!(counted(&clients, OTHER), 500 - CLIENTS_MAX as u64 + 1);
        clients.ended(&version, "8.1", 200, FORGOTTEN_AFTER_MS);
        clients.ended(&version, UNKNOWN, 503, FORGOTTEN_AFTER_MS);
        assert_eq!(counted(&clients, "8.1"), 1);
        assert_eq!(clients.served[&version].by_client.len(), CLIENTS_MAX + 2);
    }

    #[test]
    fn versions_of_the_service_are_bounded_and_the_one_unused_for_longest_goes() {
        let mut clients = Clients::default();
        for release in 0..=VERSIONS_MAX {
            let version = Version::new(format!("v{release}")).unwrap();
            clients.ended(&version, "8.1", 200, release as u64);
        }
        let versions: Vec<&str> = clients.served.keys().map(Version::as_str).collect();
        assert_eq!(versions.len(), VERSIONS_MAX);
        assert!(!versions.contains(&"v0"));
    }
}

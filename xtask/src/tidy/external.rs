//! Few external crates, and none of those the workspace decided against.

use super::Finding;
use super::workspace::External;

/// What a two-core machine still builds cold within the time a newcomer is willing to wait.
const EXTERNAL_MAX: usize = 430;

const BANNED: [(&str, &str); 9] = [
    (
        "aws-lc-sys",
        "it needs cmake and a C compiler for minutes; take rustls with ring",
    ),
    ("native-tls", "one TLS stack: rustls with ring"),
    ("openssl", "one TLS stack: rustls with ring"),
    ("openssl-sys", "one TLS stack: rustls with ring"),
    (
        "protobuf-src",
        "it builds protoc from C++; compile protocols with protox",
    ),
    (
        "protoc",
        "it needs a foreign compiler; compile protocols with protox",
    ),
    (
        "protoc-bin-vendored",
        "it carries foreign binaries; compile protocols with protox",
    ),
    ("rusqlite", "storage goes through sqlx (docs/adr/0003)"),
    (
        "serde_yaml",
        "it is no longer maintained; read YAML with serde-saphyr",
    ),
];

pub(super) fn check(external: &[External]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = external
        .iter()
        .filter_map(|package| {
            let (name, reason) = BANNED.iter().find(|(name, _)| *name == package.name)?;
            Some(Finding::new(
                "Cargo.lock",
                format!("{name} {} is banned: {reason}", package.version),
                format!("see `cargo tree -i {name}` and turn off the feature that pulls it in"),
            ))
        })
        .collect();
    if external.len() > EXTERNAL_MAX {
        findings.push(Finding::new(
            "Cargo.lock",
            format!(
                "{} external crates, the limit is {EXTERNAL_MAX}",
                external.len()
            ),
            "turn off default features, or write the part that is needed",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> External {
        External {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            licence: None,
        }
    }

    #[test]
    fn a_banned_crate_is_found_by_its_exact_name() {
        let findings = check(&[package("openssl-probe"), package("openssl-sys")]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].what.starts_with("openssl-sys 0.1.0 is banned"));
    }

    #[test]
    fn one_crate_more_than_the_limit_is_found_and_the_limit_itself_is_not() {
        let at_limit: Vec<_> = (0..EXTERNAL_MAX)
            .map(|i| package(&format!("c{i}")))
            .collect();
        assert_eq!(check(&at_limit), []);
        let over: Vec<_> = (0..=EXTERNAL_MAX)
            .map(|i| package(&format!("c{i}")))
            .collect();
        assert_eq!(check(&over).len(), 1);
    }
}

//! Every crate takes its lints from the workspace's one table.
//!
//! Without the two lines a crate silently compiles under the compiler's defaults, `unsafe` included.

use super::Finding;
use super::workspace::Member;

pub(super) fn check(members: &[Member]) -> Vec<Finding> {
    members
        .iter()
        .filter(|member| !inherits(&member.manifest))
        .map(|member| {
            Finding::new(
                member.manifest_path(),
                "the crate does not inherit the workspace's lints",
                "add the section `[lints]` with `workspace = true`",
            )
        })
        .collect()
}

fn inherits(manifest: &str) -> bool {
    let mut section = String::new();
    for line in manifest.lines() {
        let line: String = line
            .split('#')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .collect();
        if line.starts_with('[') {
            section = line;
        } else if (section == "[lints]" && line == "workspace=true")
            || (section.is_empty() && line == "lints.workspace=true")
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::workspace::member;
    use super::*;

    #[test]
    fn only_the_key_in_its_own_section_counts() {
        assert!(inherits(
            "[package]\nname = \"a\"\n[lints]\nworkspace = true\n"
        ));
        assert!(inherits("lints.workspace = true\n[package]\n"));
        assert!(!inherits("[lints]\n[package]\nworkspace = true\n"));
        assert!(!inherits("[lints]\n# workspace = true\n"));
    }

    #[test]
    fn a_crate_without_the_section_is_named() {
        let findings = check(&[member("mainstay-core", &[])]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].at, "crates/mainstay-core/Cargo.toml");
    }
}

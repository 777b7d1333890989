//! What no source file may say, and what only some may.
//!
//! Unfinished code, tests switched off and debugging prints never enter the tree. A value becomes
//! *measured* only where something is measured: in an adapter, in the simulated world, or in a test.
//! Anything else could launder a belief into an observation.

use super::Finding;
use super::workspace::SourceFile;

/// In two halves each, so that this file may itself be checked.
const NEVER: [(&str, &str); 4] = [
    (concat!("todo", "!("), "finish it, or leave it out"),
    (concat!("unimplemented", "!("), "finish it, or leave it out"),
    (
        concat!("#[", "ignore"),
        "make the test reliable, or remove it",
    ),
    (concat!("dbg", "!("), "remove it, or use tracing"),
];

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let test_from = test_module_start(&file.text);
        let observes = may_observe(&file.path);
        for (index, line) in file.text.lines().enumerate() {
            let at = || format!("{}:{}", file.path, index + 1);
            for (word, remedy) in NEVER.iter().filter(|(word, _)| line.contains(word)) {
                findings.push(Finding::new(at(), format!("says `{word}`"), *remedy));
            }
            if !observes && index < test_from && makes_measured(line) {
                findings.push(Finding::new(
                    at(),
                    "makes a measured value outside an adapter",
                    "measure in a module named adapter and pass the value in",
                ));
            }
        }
    }
    findings
}

fn may_observe(path: &str) -> bool {
    path.starts_with("crates/sim/")
        || path.split('/').any(|part| {
            matches!(
                part,
                "adapter" | "adapter.rs" | "tests" | "tests.rs" | "benches"
            )
        })
}

/// The line index from which a file is its inline test module; past the end if it has none.
/// Clippy holds that nothing follows such a module.
fn test_module_start(text: &str) -> usize {
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let inline = lines
            .peek()
            .is_some_and(|(_, next)| next.starts_with("mod ") && next.ends_with('{'));
        if line == "#[cfg(test)]" && inline {
            return index;
        }
    }
    usize::MAX
}

fn makes_measured(line: &str) -> bool {
    if line.trim_start().starts_with("//") {
        return false;
    }
    line.match_indices("Measured").any(|(start, name)| {
        let mut rest = &line[start + name.len()..];
        if let Some(generic) = rest.strip_prefix("::<") {
            rest = generic.split_once(">::").map_or("", |(_, rest)| rest);
        } else {
            rest = rest.strip_prefix("::").unwrap_or("");
        }
        rest.strip_prefix("observe")
            .is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

#[cfg(test)]
mod tests {
    use super::super::workspace::file;
    use super::*;

    #[test]
    fn unfinished_code_and_switched_off_tests_are_found_with_their_line() {
        for (word, _) in NEVER {
            let findings = check(&[file(
                "crates/core/src/lib.rs",
                &format!("fn a() {{}}\n{word}"),
            )]);
            assert_eq!(findings.len(), 1, "{word}");
            assert_eq!(findings[0].at, "crates/core/src/lib.rs:2");
        }
    }

    #[test]
    fn a_measured_value_is_made_in_adapters_the_simulator_and_tests_only() {
        let line = "let m = Measured::observe(1, now);\n";
        let found = |path: &str| !check(&[file(path, line)]).is_empty();
        assert!(found("crates/deploy/src/gate.rs"));
        assert!(found("crates/deploy/src/adapters.rs"));
        assert!(!found("crates/fleet/src/adapter/process.rs"));
        assert!(!found("crates/fleet/src/adapter.rs"));
        assert!(!found("crates/sim/src/world.rs"));
        assert!(!found("crates/deploy/tests/gate.rs"));
        assert!(!found("crates/deploy/src/gate/tests.rs"));
    }

    #[test]
    fn an_inline_test_module_may_make_one_but_the_code_before_it_may_not() {
        let call = "    Measured::observe(1);\n";
        let inside = format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{call}}}\n");
        assert_eq!(check(&[file("crates/deploy/src/gate.rs", &inside)]), []);
        let outside = format!("#[cfg(test)]\nmod tests;\nfn a() {{\n{call}}}\n");
        let findings = check(&[file("crates/deploy/src/gate.rs", &outside)]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].at, "crates/deploy/src/gate.rs:4");
    }

    #[test]
    fn every_spelling_of_the_call_is_found_and_comments_are_not() {
        assert!(makes_measured("xs.map(Measured::observe)"));
        assert!(makes_measured("Measured::<Ratio>::observe(x)"));
        assert!(!makes_measured("/// Use `Measured::observe(x)`."));
        assert!(!makes_measured("Measured::observed_at(x)"));
        assert!(!makes_measured("x.observe(1)"));
    }
}

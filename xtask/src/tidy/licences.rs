//! External crates come under a licence that lets an operator ship and change Mainstay freely.
//!
//! Reads SPDX expressions: names joined by `AND`, `OR` and parentheses, `WITH` a known exception,
//! and the old `/` for `OR`. `AND` binds tighter than `OR`, as SPDX has it. An expression that
//! cannot be read is a finding, never a pass. Example: `(MIT OR GPL-3.0) AND ISC` is fine, since
//! one may choose MIT.

use anyhow::{anyhow, bail, ensure};

use super::Finding;
use super::workspace::External;

const ALLOWED: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Exceptions that only add permissions to the licence they follow.
const EXCEPTIONS: [&str; 1] = ["LLVM-exception"];
/// Parentheses nest once or twice in practice.
const DEPTH_MAX: usize = 8;

pub(super) fn check(external: &[External]) -> Vec<Finding> {
    external
        .iter()
        .filter_map(|package| {
            let what = match package.licence.as_deref() {
                None => "declares no licence".to_owned(),
                Some(expression) => match permitted(expression) {
                    Ok(true) => return None,
                    Ok(false) => format!("licence {expression} is not on the list"),
                    Err(why) => format!("licence {expression:?} cannot be read: {why}"),
                },
            };
            Some(Finding::new(
                "Cargo.lock",
                format!("{} {} {what}", package.name, package.version),
                "find the crate that pulls it in with `cargo tree -i` and replace it, \
                 or add the licence to xtask/src/tidy/licences.rs with the reason in the commit",
            ))
        })
        .collect()
}

/// Whether a choice among the expression's licences exists that is wholly on the list.
fn permitted(expression: &str) -> anyhow::Result<bool> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut tokens = Tokens {
        words: spaced.split_whitespace().collect(),
        next: 0,
    };
    let verdict = any_of(&mut tokens, 0)?;
    match tokens.peek() {
        None => Ok(verdict),
        Some(extra) => bail!("unexpected {extra:?}"),
    }
}

struct Tokens<'a> {
    words: Vec<&'a str>,
    next: usize,
}

impl<'a> Tokens<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

    fn take_if(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.next += usize::from(found);
        found
    }

    fn take(&mut self) -> anyhow::Result<&'a str> {
        let word = self.peek().ok_or_else(|| anyhow!("ends too early"))?;
        self.next += 1;
        Ok(word)
    }
}

fn any_of(tokens: &mut Tokens<'_>, depth: usize) -> anyhow::Result<bool> {
    ensure!(depth <= DEPTH_MAX, "nests deeper than {DEPTH_MAX}");
    let mut verdict = all_of(tokens, depth)?;
    while tokens.take_if("OR") {
        verdict |= all_of(tokens, depth)?;
    }
    Ok(verdict)
}

fn all_of(tokens: &mut Tokens<'_>, depth: usize) -> anyhow::Result<bool> {
    let mut verdict = one(tokens, depth)?;
    while tokens.take_if("AND") {
        verdict &= one(tokens, depth)?;
    }
    Ok(verdict)
}

fn one(tokens: &mut Tokens<'_>, depth: usize) -> anyhow::Result<bool> {
    let name = match tokens.take()? {
        "(" => {
            let verdict = any_of(tokens, depth + 1)?;
            ensure!(tokens.take_if(")"), "a parenthesis is not closed");
            return Ok(verdict);
        }
        word @ (")" | "AND" | "OR" | "WITH") => bail!("unexpected {word:?}"),
        name => name,
    };
    let excepted = !tokens.take_if("WITH") || EXCEPTIONS.contains(&tokens.take()?);
    Ok(excepted && ALLOWED.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_passes_if_one_side_is_on_the_list() {
        for expression in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "Apache-2.0 / MIT",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
            "Zlib",
        ] {
            assert!(permitted(expression).unwrap(), "{expression}");
        }
    }

    #[test]
    fn a_conjunction_needs_every_side_and_binds_tighter_than_a_choice() {
        assert!(!permitted("MIT AND GPL-3.0").unwrap());
        assert!(!permitted("MIT AND (GPL-3.0 OR AGPL-3.0)").unwrap());
        assert!(permitted("MIT OR GPL-3.0 AND AGPL-3.0").unwrap());
        assert!(!permitted("GPL-2.0 WITH LLVM-exception").unwrap());
        assert!(!permitted("MIT WITH Some-exception").unwrap());
    }

    #[test]
    fn an_expression_that_cannot_be_read_is_an_error() {
        let deep = format!("{}MIT{}", "(".repeat(40), ")".repeat(40));
        for expression in [
            "", "MIT OR", "(MIT", "MIT)", "MIT ISC", "AND", "MIT WITH", &deep,
        ] {
            assert!(permitted(expression).is_err(), "{expression}");
        }
    }

    #[test]
    fn a_crate_without_a_licence_or_with_a_foreign_one_is_named() {
        let package = |name: &str, licence: Option<&str>| External {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: licence.map(str::to_owned),
        };
        let findings = check(&[
            package("good", Some("MIT")),
            package("bare", None),
            package("copyleft", Some("AGPL-3.0")),
        ]);
        assert_eq!(findings.len(), 2);
        assert!(
            findings[0]
                .what
                .starts_with("bare 1.0.0 declares no licence")
        );
        assert!(
            findings[1]
                .what
                .starts_with("copyleft 1.0.0 licence AGPL-3.0")
        );
    }
}

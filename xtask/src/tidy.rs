//! `cargo xtask tidy`: the rules of this workspace that neither the compiler nor clippy knows.
//!
//! Guarantees: every finding names the file, what is wrong and the remedy; all rules run, so one
//! run shows everything. Never edits a file, never reaches the network beyond what `cargo metadata`
//! needs. Each rule is a pure function from the workspace as read to its findings.
//!
//! Example: a crate that declares `rand` and never uses it gives
//! `crates/deploy/Cargo.toml: dependency rand is declared but never named in the crate's sources`.

mod declared;
mod edges;
mod external;
mod licences;
mod lints;
mod longest;
mod sources;
mod workspace;

use std::fmt;
use std::process::ExitCode;

use anyhow::Context;

use workspace::Workspace;

/// One broken rule: where, what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    at: String,
    what: String,
    remedy: String,
}

impl Finding {
    fn new(at: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}: {}\n    remedy: {}",
            self.at, self.what, self.remedy
        )
    }
}

/// Runs every rule over the workspace this was started in; the exit code is a failure if any has
/// a finding.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let workspace = workspace::load()?;
    let edges_path = workspace.root.join(edges::FILE);
    let edges_text = std::fs::read_to_string(&edges_path)
        .with_context(|| format!("read {}", edges_path.display()))?;
    print!("{}", longest::report(&workspace.files));
    let findings = findings(&workspace, &edges_text);
    for finding in &findings {
        println!("{finding}");
    }
    println!(
        "tidy: {} crates, {} external, {} source files: {} findings",
        workspace.members.len(),
        workspace.external.len(),
        workspace.files.len(),
        findings.len()
    );
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn findings(workspace: &Workspace, edges_text: &str) -> Vec<Finding> {
    let mut all = edges::check(&workspace.members, edges_text);
    all.extend(lints::check(&workspace.members));
    all.extend(licences::check(&workspace.external));
    all.extend(external::check(&workspace.external));
    all.extend(declared::check(&workspace.members, &workspace.files));
    all.extend(sources::check(&workspace.files));
    all
}

//! Test scripts: our own, and Prometheus' where they are present.
//!
//! Each prints how many of its evaluations pass. `MAINSTAY_PROMQLTEST_DIR` names a folder of scripts to run.

use mainstay_promql::script;
use std::path::{Path, PathBuf};

/// Where the reference's scripts are, seen from the repository.
const REFERENCE: &str = "../../../shared/promqltest";

fn scripts(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut scripts: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .collect();
    scripts.sort();
    scripts
}

/// Failures of all scripts, each with its file.
fn failures(scripts: &[PathBuf]) -> Vec<String> {
    let (mut failed, mut passed, mut all) = (Vec::new(), 0, 0);
    for path in scripts {
        let name = path.display();
        let text = std::fs::read_to_string(path).expect("a script can be read");
        let report = match script::run(&text) {
            Ok(report) => report,
            Err(error) => {
                failed.push(format!("{name}: {error}"));
                continue;
            }
        };
        let evals = report.passed + report.failures.len();
        println!("{name}: {} of {evals} evals pass", report.passed);
        (passed, all) = (passed + report.passed, all + evals);
        failed.extend(report.failures.iter().map(|f| format!("{name}: {f}")));
    }
    println!("{passed} of {all} evals pass");
    failed
}

#[test]
fn our_own_scripts_pass() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let scripts = scripts(&dir);
    assert!(!scripts.is_empty(), "no scripts at {}", dir.display());
    let failed = failures(&scripts);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_scripts_of_the_reference_pass() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join(REFERENCE);
    let dir = std::env::var_os("MAINSTAY_PROMQLTEST_DIR").map_or(default, PathBuf::from);
    let scripts = scripts(&dir);
    if scripts.is_empty() {
        println!("skipped: no scripts at {}", dir.display());
        return;
    }
    let failed = failures(&scripts);
    assert!(
        failed.is_empty(),
        "{} fail:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

//! `cargo xtask coverage`: that docs/openapi.yaml, the routes that the server registers and the contract tests are
//! about the same operations.
//!
//! Guarantees: it passes only where every operation was asked of a real server and its answer is one that the
//! document allows. What it prints last is how many that are.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, ensure};

/// How the test's last line begins.
const LINE: &str = "contract tests: ";

/// Runs the contract tests, and tells what they cover.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "test",
            "--workspace",
            "--test",
            "contract",
            "--",
            "--nocapture",
        ])
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo test")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        print!("{said}");
        return Ok(ExitCode::FAILURE);
    }
    // The name of the test may stand on the same line.
    let line = said.lines().find_map(|line| Some(line.split_once(LINE)?.1));
    let line = line.context("the contract tests passed and do not say how many they are")?;
    let counts: Vec<&str> = line.split(' ').collect();
    ensure!(
        matches!(counts.as_slice(), [covered, "of", all, ..] if covered == all),
        "not every operation is covered: {line}"
    );
    println!("{line}: registered, documented in docs/openapi.yaml, and tested");
    Ok(ExitCode::SUCCESS)
}

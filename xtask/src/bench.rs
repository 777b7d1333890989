//! `cargo xtask bench`: the measuring programs, in release, one after another.

use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use clap::Args;

/// Name, package and example of each benchmark.
const BENCHES: [(&str, &str, &str); 4] = [
    ("ledger-append", "mainstay-store", "append_bench"),
    ("router", "mainstay-traffic", "router_bench"),
    ("rollout", "mainstay-sim", "rollout_bench"),
    ("scrape", "mainstay-ekg", "scrape_bench"),
];

/// Which benchmarks to run.
#[derive(Args)]
pub(crate) struct Bench {
    /// A name; all where unset.
    name: Option<String>,
}

pub(crate) fn run(bench: &Bench) -> anyhow::Result<ExitCode> {
    let chosen: Vec<_> = BENCHES
        .iter()
        .filter(|(name, ..)| bench.name.as_deref().is_none_or(|wanted| wanted == *name))
        .collect();
    if chosen.is_empty() {
        let known: Vec<&str> = BENCHES.iter().map(|(name, ..)| *name).collect();
        bail!("no such benchmark; known are {}", known.join(", "));
    }
    for (name, package, example) in chosen {
        println!("== {name}");
        let status = Command::new("cargo")
            .args([
                "run",
                "--quiet",
                "--release",
                "--package",
                package,
                "--example",
                example,
            ])
            .status()
            .context("cannot run cargo")?;
        if !status.success() {
            return Ok(ExitCode::from(1));
        }
    }
    Ok(ExitCode::SUCCESS)
}

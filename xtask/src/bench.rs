//! `cargo xtask bench`: the measuring programs, one after another, held to `xtask/bench/budgets.txt`.
//!
//! Guarantees: all that were asked for run, also after one that misses a budget; each miss is told again at
//! the end, and the exit code is then 1.

mod budget;
mod disk;
mod ingest;
mod payload;
mod peer;
mod queries;
mod restart;
mod scenario;

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, bail, ensure};
use budget::Said;
use clap::Args;

/// What is run.
enum Program {
    /// An example of a package, in release.
    Example(&'static str, &'static str),
    /// The same, told where the server's binary is.
    WithServer(&'static str, &'static str),
    /// The server beside its peers, told where its binary is.
    BesidePeers(fn(&Path) -> anyhow::Result<Vec<Said>>),
    /// Real processes and real users.
    Scenarios,
}

struct Benchmark {
    name: &'static str,
    program: Program,
}

const BENCHES: [Benchmark; 13] = [
    Benchmark {
        name: "ledger-append",
        program: Program::Example("mainstay-store", "append_bench"),
    },
    Benchmark {
        name: "router",
        program: Program::Example("mainstay-traffic", "router_bench"),
    },
    Benchmark {
        name: "rollout",
        program: Program::Example("mainstay-sim", "rollout_bench"),
    },
    Benchmark {
        name: "scrape",
        program: Program::Example("mainstay-ekg", "scrape_bench"),
    },
    Benchmark {
        name: "parts",
        program: Program::Example("mainstay-tsdb", "parts_bench"),
    },
    Benchmark {
        name: "statistics",
        program: Program::Example("mainstay-stats", "refresh_bench"),
    },
    Benchmark {
        name: "alert-latency",
        program: Program::WithServer("mainstay-ekg", "alert_latency_bench"),
    },
    Benchmark {
        name: "pages",
        program: Program::WithServer("mainstay-oncall", "pages_bench"),
    },
    Benchmark {
        name: "ingest",
        program: Program::BesidePeers(ingest::measure),
    },
    Benchmark {
        name: "disk",
        program: Program::BesidePeers(disk::measure),
    },
    Benchmark {
        name: "queries",
        program: Program::BesidePeers(queries::measure),
    },
    Benchmark {
        name: "restart",
        program: Program::BesidePeers(restart::measure),
    },
    Benchmark {
        name: "scenarios",
        program: Program::Scenarios,
    },
];

/// Which benchmarks to run.
#[derive(Args)]
pub(crate) struct Bench {
    /// A name; all where unset.
    name: Option<String>,
    /// The server to measure; where unset the one of this tree is built, in release.
    #[arg(long)]
    binary: Option<PathBuf>,
}

impl Bench {
    fn binary(&self) -> anyhow::Result<PathBuf> {
        self.binary.clone().map_or_else(|| server("release"), Ok)
    }
}

pub(crate) fn run(bench: &Bench) -> anyhow::Result<ExitCode> {
    let chosen: Vec<_> = BENCHES
        .iter()
        .filter(|it| bench.name.as_deref().is_none_or(|wanted| wanted == it.name))
        .collect();
    if chosen.is_empty() {
        let known: Vec<&str> = BENCHES.iter().map(|it| it.name).collect();
        bail!("no such benchmark; known are {}", known.join(", "));
    }
    let (mut findings, mut unmeasured) = (Vec::new(), Vec::new());
    for Benchmark { name, program } in chosen {
        println!("== {name}");
        let said = match program {
            Program::Example(package, example) => measured(package, example, None),
            Program::WithServer(package, example) => bench
                .binary()
                .and_then(|binary| measured(package, example, Some(&binary))),
            Program::BesidePeers(measure) => bench.binary().and_then(|binary| measure(&binary)),
            Program::Scenarios => scenario::play(),
        };
        match said {
            Ok(said) => {
                findings.extend(budget::findings(name, &said)?);
                unmeasured.extend(said.into_iter().filter(Said::is_unmeasured));
            }
            Err(error) => findings.push(format!("{name}: {error:#}")),
        }
    }
    for said in unmeasured {
        println!("{said}");
    }
    for finding in &findings {
        println!("over budget: {finding}");
    }
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Builds the server in a profile, with the features that the whole workspace gives it; where it is.
pub(crate) fn server(profile: &str) -> anyhow::Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--workspace", "--bin", "mainstay"])
        .args(["--profile", profile])
        .status()
        .context("cannot run cargo")?;
    ensure!(built.success(), "mainstay does not build");
    let own = std::env::current_exe().context("this program has no path")?;
    let target = own.parent().and_then(Path::parent);
    let target = target.context("this program is in no target directory")?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(target.join(folder).join("mainstay"))
}

/// What an example says, printed as it says it.
fn measured(package: &str, example: &str, server: Option<&Path>) -> anyhow::Result<Vec<Said>> {
    let mut child = Command::new("cargo")
        .args(["run", "--quiet", "--release", "--package", package])
        .args(["--example", example, "--"])
        .args(server)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let mut said = Vec::new();
    let output = child.stdout.take().context("the output is piped")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read what the benchmark says")?;
        println!("{line}");
        said.extend(budget::said(&line)?);
    }
    let status = child.wait().context("cannot wait for cargo")?;
    ensure!(status.success(), "it ended with {status}");
    Ok(said)
}

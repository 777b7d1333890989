//! Development tasks, run as `cargo xtask <task>`: one file a task.
//!
//! A task reads the tree and reports; none of them edits a file. Example: `cargo xtask tidy`.

mod bench;
mod coverage;
mod crash;
mod fuzz;
mod sim;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks of the Mainstay workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check the rules that neither the compiler nor clippy knows.
    Tidy,
    /// Run the benchmarks in release.
    Bench(bench::Bench),
    /// Kill a real server under load, again and again, and ask for every acknowledged sample.
    Crash(crash::Crash),
    /// Feed whatever reads what others wrote with what nobody should write.
    Fuzz(fuzz::Fuzz),
    /// Check that every HTTP operation is documented and has a contract test.
    Coverage,
    /// Run simulated worlds from seeds.
    Sim(sim::Sim),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().task {
        Task::Tidy => tidy::run(),
        Task::Bench(bench) => bench::run(&bench),
        Task::Crash(crash) => crash::run(&crash),
        Task::Fuzz(fuzz) => fuzz::run(&fuzz),
        Task::Coverage => coverage::run(),
        Task::Sim(sim) => Ok(sim::run(&sim)),
    }
}

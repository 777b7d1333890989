//! `cargo xtask sim`: any number of simulated worlds; a failing seed is printed and replayable.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use mainstay_sim::{Planted, Report, RolloutWorld, World};

/// Worlds between two lines of progress.
const PROGRESS_EVERY: u64 = 1_000;

/// Which worlds to run.
#[derive(Args)]
pub(crate) struct Sim {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed; with `--seeds 1` it replays one world and prints its trace.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Go on until stopped or until a seed fails.
    #[arg(long)]
    forever: bool,
    /// Which kind of world; both where unset.
    #[arg(long)]
    world: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    /// A freeze beside a change of many steps.
    Freeze,
    /// A rollout over simulated hosts and routers.
    Rollout,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Rollout => "rollout",
        }
    }

    fn run(self, seed: u64) -> Report {
        match self {
            Self::Freeze => World::new(seed, Planted::Nothing).run(),
            Self::Rollout => RolloutWorld::new(seed, Planted::Nothing).run(),
        }
    }
}

pub(crate) fn run(sim: &Sim) -> ExitCode {
    let end = if sim.forever {
        u64::MAX
    } else {
        sim.seed.saturating_add(sim.seeds)
    };
    let kinds: Vec<Kind> = [Kind::Freeze, Kind::Rollout]
        .into_iter()
        .filter(|kind| sim.world.is_none_or(|wanted| wanted == *kind))
        .collect();
    for seed in sim.seed..end {
        for kind in &kinds {
            let report = kind.run(seed);
            if sim.seeds == 1 && !sim.forever {
                print!("{}", report.trace);
                println!("{:?}", report.bites);
            }
            if !report.violations.is_empty() {
                return failed(*kind, seed, &report);
            }
        }
        let done = seed - sim.seed + 1;
        if done.is_multiple_of(PROGRESS_EVERY) {
            eprintln!("{done} seeds hold");
        }
    }
    println!("{} seeds hold every invariant", end - sim.seed);
    ExitCode::SUCCESS
}

fn failed(kind: Kind, seed: u64, report: &Report) -> ExitCode {
    let kind = kind.name();
    eprintln!(
        "seed {seed} of the {kind} world breaks: {:#?}",
        report.violations
    );
    eprintln!("replay it with `cargo xtask sim --world {kind} --seed {seed} --seeds 1`");
    ExitCode::from(1)
}

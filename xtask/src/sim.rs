//! `cargo xtask sim`: any number of simulated worlds; a failing seed is printed and replayable.

use std::process::ExitCode;

use clap::Args;
use mainstay_sim::{Planted, Report, World};

/// Seeds between two lines of progress.
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
    #[arg(long, value_parser = named, help = format!("Which kind of world: {}; all where unset", worlds()))]
    world: Option<World>,
}

fn named(name: &str) -> Result<World, String> {
    let found = World::ALL.into_iter().find(|world| world.name() == name);
    found.ok_or_else(|| format!("worlds are {}", worlds()))
}

fn worlds() -> String {
    World::ALL.map(World::name).join(", ")
}

pub(crate) fn run(sim: &Sim) -> ExitCode {
    let end = if sim.forever {
        u64::MAX
    } else {
        sim.seed.saturating_add(sim.seeds)
    };
    let worlds = World::ALL.into_iter();
    let worlds: Vec<World> = worlds
        .filter(|world| sim.world.is_none_or(|wanted| wanted == *world))
        .collect();
    for seed in sim.seed..end {
        for world in &worlds {
            let report = world.run(seed, Planted::Nothing);
            if sim.seeds == 1 && !sim.forever {
                print!("{}", report.trace);
                println!("{:?}", report.bites);
            }
            if !report.violations.is_empty() {
                return failed(*world, seed, &report);
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

fn failed(world: World, seed: u64, report: &Report) -> ExitCode {
    let name = world.name();
    eprintln!(
        "seed {seed} of the {name} world breaks: {:#?}",
        report.violations
    );
    eprintln!("replay it with `cargo xtask sim --world {name} --seed {seed} --seeds 1`");
    ExitCode::from(1)
}

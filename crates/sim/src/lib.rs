//! A simulated world, faults and invariants, for the machines that move production.
//!
//! **Guarantees.** One seed, one world: the same seed gives the same trace, byte for byte. The runtime
//! inside is the one that runs in production; only the ledger, the clock and the receivers are
//! simulated. **Never** linked into the product: tests only. The worlds are themselves tested: each
//! [`Planted`] bug must be found.
//!
//! ```
//! use mainstay_sim::{Planted, World};
//! for world in World::ALL {
//!     let report = world.run(7, Planted::Nothing);
//!     assert!(report.violations.is_empty(), "{:?}", report.violations);
//! }
//! ```

mod driver;
mod freeze;
mod ledger;
mod page;
mod production;
mod report;

use driver::Sim;
use freeze::FreezeScene;
use page::PageScene;
use production::{Play, Production};

pub use production::Sized;
pub use report::{Fault, Invariant, Planted, Report, Violation};

/// What a world is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// A freeze beside a change of many steps.
    Freeze,
    /// A rollout over simulated hosts and routers.
    Rollout,
    /// Restarts, drains, kills and sheds, some beside a rollout.
    Action,
    /// A limit test, and what gets into its way.
    Limit,
    /// Another count of instances, and what gets into its way.
    Scale,
    /// Incidents, and whoever is told of them.
    Page,
}

impl World {
    /// All of them.
    pub const ALL: [World; 6] = [
        Self::Freeze,
        Self::Rollout,
        Self::Action,
        Self::Limit,
        Self::Scale,
        Self::Page,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Rollout => "rollout",
            Self::Action => "action",
            Self::Limit => "limit",
            Self::Scale => "scale",
            Self::Page => "page",
        }
    }

    /// What comes of `seed`, with a bug planted or none: faults for a while, then calm in which everything must end.
    pub fn run(self, seed: u64, planted: Planted) -> Report {
        match self.play() {
            Some(play) => production(seed, planted, play).run(),
            None if self == Self::Page => page(seed, planted).run(),
            None => freeze(seed, planted).run(),
        }
    }

    /// The same world without random faults, where the leader dies right after commit `n`; 0 is never.
    pub fn crash_after_commit(self, seed: u64, n: u32) -> Report {
        let planted = Planted::Nothing;
        match self.play() {
            Some(play) => production(seed, planted, play).crash_after_commit(n).run(),
            None if self == Self::Page => page(seed, planted).crash_after_commit(n).run(),
            None => freeze(seed, planted).crash_after_commit(n).run(),
        }
    }

    fn play(self) -> Option<Play> {
        match self {
            Self::Freeze | Self::Page => None,
            Self::Rollout => Some(Play::Rollout),
            Self::Action => Some(Play::Action),
            Self::Limit => Some(Play::Limit),
            Self::Scale => Some(Play::Scale),
        }
    }
}

fn page(seed: u64, planted: Planted) -> Sim<PageScene> {
    Sim::new(seed, planted, PageScene::new)
}

fn freeze(seed: u64, planted: Planted) -> Sim<FreezeScene> {
    Sim::new(seed, planted, |_| FreezeScene::default())
}

fn production(seed: u64, planted: Planted, play: Play) -> Sim<Production> {
    Sim::new(seed, planted, |rng| Production::new(rng, play))
}

/// A rollout without faults, of a given size, whose new version turns bad at a given moment.
pub fn rollout_of(seed: u64, size: Sized) -> Report {
    let scene = |rng: &mut _| Production::sized(rng, size);
    Sim::new(seed, Planted::Nothing, scene)
        .crash_after_commit(0)
        .run()
}

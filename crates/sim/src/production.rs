//! The world of a service in production: the real machines that move it, over simulated hosts, routers and users.
//!
//! The ledger, the clock, processes, reports and the judge's truth are simulated; rollouts, actions and limit
//! tests, their plans, the capacity arithmetic, the lease book, the composition of orders, the eyes that verify
//! and the runtime are those of production. Never asks a machine what is true: invariants look at the simulated
//! world.

mod action;
mod check;
mod faults;
mod hands;
mod limit;
mod orders;
mod plot;
mod reports;
mod rollout;
mod site;
mod undo;
mod users;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mainstay_change::{Direction, EffectId};
use mainstay_core::{
    ChangeId, ChangeState, Entry, FabricName, HostName, InstanceName, ServiceName, Version,
    catalog::{FabricSpec, FreezeSpec, HostSpec, ServiceSpec, Strategy},
};
use mainstay_deploy::{
    Desired, Model, Slot, action::Action, limit::LimitTest, model::Track, rollout::Rollout,
};
use mainstay_runtime::Codecs;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{
    driver::{Asked, Leader, Odds, Scene, Sim, name},
    report::Invariant,
};
use check::Snapshot;
use orders::{Mind, Order};
use plot::Plot;
use rollout::Release;
use site::Site;
use undo::Undo;
use users::Users;

pub(crate) use plot::Play;

const TICK_MS: i64 = 200;
/// Faults happen for so long; then everything must end.
const FAULTY_MS: i64 = 120_000;
const CALM_MS: i64 = 900_000;
/// After the end, orders under way still arrive.
const AFTERMATH_MS: i64 = 10_000;

/// How large a rollout's world is, and when its new version turns bad.
#[derive(Debug, Clone, Copy)]
pub struct Sized {
    /// Instances of the service.
    pub instances: u32,
    /// Hosts they run on.
    pub hosts: u32,
    /// How long a process takes to start.
    pub start_ms: i64,
    /// The new version turns bad when so many of its instances are verified.
    pub bad_from: usize,
    /// The strategy.
    pub strategy: Strategy,
}

/// One service on its hosts, behind its routers, and what moves it.
pub(crate) struct Production {
    service: ServiceName,
    spec: ServiceSpec,
    hosts: BTreeMap<HostName, HostSpec>,
    freeze: Option<FreezeSpec>,
    /// What the ledger says.
    model: Model,
    /// What it says the service should run, and said before the last entry.
    desired: Desired,
    was: Desired,
    /// Instances there were in each fabric when the world began.
    sizes: BTreeMap<FabricName, usize>,
    site: Site,
    start_ms: i64,
    sized: Option<Sized>,
    base_demand: BTreeMap<FabricName, f64>,
    demand: BTreeMap<FabricName, f64>,
    plot: Plot,
    release: Release,
    under_way: Vec<(i64, Order)>,
    asked: BTreeSet<(ChangeId, EffectId)>,
    blind_until: i64,
    shared_until: i64,
    foreign_until: i64,
    entered: BTreeSet<(InstanceName, Version, u64)>,
    started: BTreeSet<(InstanceName, Version, u64)>,
    snapshots: VecDeque<Snapshot>,
    undo: Undo,
    over_at: Option<i64>,
}

/// Where a change stands.
struct Stands {
    paused: bool,
    restoring: bool,
    ended: bool,
}

impl Production {
    /// A service of the size and place that `rng` gives, and the play that it goes through.
    pub(crate) fn new(rng: &mut ChaCha8Rng, play: Play) -> Self {
        let fabrics: &[&str] = if rng.random_range(0..3) == 0 {
            &["lax", "iad"]
        } else {
            &["lax"]
        };
        let mut hosts: BTreeMap<HostName, HostSpec> = BTreeMap::new();
        for fabric in fabrics {
            for n in 1..=4 {
                let spec = HostSpec {
                    fabric: name(fabric),
                    rack: Some(name(&format!("{fabric}-r{}", n % 2))),
                };
                hosts.insert(name(&format!("{fabric}-h{n}")), spec);
            }
        }
        let service: ServiceName = name("voyager");
        let spec = r#"{"owner":"o","run":{"artifacts":"/a"},"capacityRps":100,"timeout":"2s",
            "slo":{"errorRatio":"1%","latencyP99":"250ms"}}"#;
        Self {
            release: Release::new(rng),
            start_ms: rng.random_range(400..3_000),
            plot: Plot::new(play, rng),
            freeze: plot::freeze(rng),
            spec: serde_json::from_str(spec).expect("a constant that decodes"),
            site: Site::new(service.clone(), &hosts),
            hosts,
            service,
            model: Model::default(),
            desired: Desired::default(),
            was: Desired::default(),
            sizes: BTreeMap::new(),
            sized: None,
            base_demand: BTreeMap::new(),
            demand: BTreeMap::new(),
            under_way: Vec::new(),
            asked: BTreeSet::new(),
            blind_until: 0,
            shared_until: 0,
            foreign_until: 0,
            entered: BTreeSet::new(),
            started: BTreeSet::new(),
            snapshots: VecDeque::new(),
            undo: Undo::default(),
            over_at: None,
        }
    }

    /// A rollout of a given size, whose new version turns bad at a given moment.
    pub(crate) fn sized(rng: &mut ChaCha8Rng, size: Sized) -> Self {
        let mut scene = Self::new(rng, Play::Rollout);
        let host = |n: u32| {
            let spec = HostSpec {
                fabric: name("lax"),
                rack: None,
            };
            (name(&format!("lax-h{n}")), spec)
        };
        scene.freeze = None;
        scene.hosts = (1..=size.hosts).map(host).collect();
        scene.site = Site::new(scene.service.clone(), &scene.hosts);
        scene.release = Release::bad_later();
        scene.start_ms = size.start_ms;
        scene.sized = Some(size);
        scene
    }

    /// Catalog and nothing else: entries are folded on top.
    fn catalog(&self) -> Model {
        let mut model = Model::default();
        model.hosts.clone_from(&self.hosts);
        model
            .services
            .insert(self.service.clone(), self.spec.clone());
        for host in self.hosts.values() {
            let listen = Some("127.0.0.1:80".to_owned());
            model
                .fabrics
                .insert(host.fabric.clone(), FabricSpec { listen });
        }
        if let Some(freeze) = &self.freeze {
            model.freezes.insert(name("quarter-end"), freeze.clone());
        }
        model
    }

    /// Whether an action beside a rollout replaces the process of `slot` now.
    fn is_killed_beside(&self, slot: &Slot) -> bool {
        let mut open = self
            .model
            .actions
            .values()
            .filter(|it| it.ended_at.is_none());
        open.any(|it| it.state.plan().beside && it.state.arriving().contains(slot))
    }

    /// Where `change` stands, once it is opened.
    fn stands(&self, change: &ChangeId) -> Option<Stands> {
        fn of<T>(track: &Track<T>, direction: Direction) -> Stands {
            Stands {
                paused: track.moved.state == ChangeState::Paused,
                restoring: direction == Direction::Restoring,
                ended: track.ended_at.is_some(),
            }
        }
        let model = &self.model;
        let rollout = model.rollouts.get(change).map(|it| {
            let back = it.state.is_restoring();
            let direction = if back {
                Direction::Restoring
            } else {
                Direction::Forward
            };
            of(it, direction)
        });
        let actions = model.actions.get(change);
        let action = actions.map(|it| of(it, it.state.plan().direction));
        let limits = model.limits.get(change);
        let limit = limits.map(|it| of(it, it.state.direction()));
        rollout.or(action).or(limit)
    }
}

impl Scene for Production {
    type Mind = Mind;
    const ODDS: Odds = Odds {
        jump: 5,
        usurper: 4,
        crash: 40,
        lost_acknowledgement: 60,
        repeated: 200,
        lost_answer: 30,
        late_ms: 12_000,
    };

    fn codecs() -> Codecs {
        let codecs = Codecs::new().with::<Rollout>();
        codecs.with::<Action>().with::<LimitTest>()
    }

    fn mind(sim: &mut Sim<Self>) -> Mind {
        sim.scene.site.reconnect(sim.true_ms, &mut sim.rng);
        Mind::new(sim.scene.catalog())
    }

    fn open(sim: &mut Sim<Self>) {
        sim.begin();
    }

    fn pass(sim: &mut Sim<Self>) -> bool {
        sim.true_ms += TICK_MS;
        if sim.elapsed_ms() > FAULTY_MS {
            sim.calm();
        }
        sim.fail();
        let second = (sim.true_ms / 1_000) as f64;
        let wave = 1.0 + 0.1 * (second / 60.0).sin();
        let base = sim.scene.base_demand.iter();
        sim.scene.demand = base
            .map(|(fabric, rps)| (fabric.clone(), rps * wave))
            .collect();
        sim.deliver();
        sim.serve();
        sim.snapshot();
        sim.unfold();
        let ended = sim.scene.plot.is_over(&sim.scene.model);
        let over = ended.then(|| *sim.scene.over_at.get_or_insert(sim.true_ms));
        over.is_none_or(|at| sim.true_ms <= at + AFTERMATH_MS)
            && sim.elapsed_ms() < FAULTY_MS + CALM_MS
    }

    fn think(sim: &mut Sim<Self>, leader: &mut Leader<Mind>) {
        sim.look_and_order(leader);
        sim.answer_all(leader);
    }

    fn perform(sim: &mut Sim<Self>, leader: &mut Leader<Mind>, asked: Asked) {
        sim.ask(leader, asked);
    }

    fn committed(sim: &mut Sim<Self>, entries: &[Entry]) {
        sim.fold(entries);
    }

    fn after(sim: &mut Sim<Self>) {
        sim.people();
        sim.check_undone();
    }

    fn end(sim: &mut Sim<Self>) {
        if sim.report.violations.is_empty() {
            sim.judge_the_end();
        }
        sim.tell_of_the_release();
        let answered: Vec<String> = sim
            .scene
            .site
            .answered
            .iter()
            .map(|(version, count)| format!("{version} {count:.0}"))
            .collect();
        sim.note(&format!("answered {}", answered.join(", ")));
    }
}

impl Sim<Production> {
    /// Users ask, processes answer, and agents and routers report.
    fn serve(&mut self) {
        let now = self.now();
        let scene = &mut self.scene;
        let bites = scene.release.bites();
        let errors = move |version: &Version| {
            let bad = bites && version.as_str() == "v2";
            if bad { 0.2 } else { 0.0 }
        };
        let before = scene.site.answered_by_new();
        let users = Users {
            demand: &scene.demand,
            errors: &errors,
            start_ms: scene.start_ms,
        };
        let happened = scene.site.step(self.true_ms, now, TICK_MS, &users);
        let asked_new = scene.site.answered_by_new() > before;
        scene.release.passed(asked_new, self.true_ms, TICK_MS);
        self.turn_bad();
        for happened in happened {
            self.on_host(happened);
        }
    }

    fn judge_the_end(&mut self) {
        for change in self.scene.plot.opened.clone() {
            let Some(stands) = self.scene.stands(&change) else {
                let what = format!("{change} was opened and is not known");
                self.violated(Invariant::Ledger, what);
                continue;
            };
            if !stands.ended {
                self.violated(Invariant::Live, format!("{change} has not ended"));
            }
            let books = self.scene.model.books.values();
            if books.clone().any(|it| it.lease(&change).is_some()) {
                let what = format!("{change} ended and holds a lease");
                self.violated(Invariant::Ledger, what);
            }
        }
        self.judge_the_release();
    }
}

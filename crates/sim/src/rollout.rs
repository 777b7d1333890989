//! The world of a rollout: the real machine in the real runtime, over simulated hosts, routers and users.
//!
//! The ledger, the clock, processes, reports and the judge's truth are simulated; the machine, its plan, the
//! capacity arithmetic, the lease book, the composition of orders and the runtime are those of production.
//! Never asks the machine what is true: invariants look at the simulated world.
//!
//! ```
//! use mainstay_sim::{Planted, RolloutWorld};
//! let report = RolloutWorld::new(3, Planted::Nothing).run();
//! assert!(report.violations.is_empty(), "{:?}", report.violations);
//! ```

mod check;
mod faults;
mod lead;
mod perform;
mod reports;
mod site;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
};

use mainstay_change::{EffectId, Machine};
use mainstay_core::{
    Actor, Append, BlastRadius, Change, ChangeId, ChangeKind, FabricName, HostName, InstanceName,
    NewEntry, Percent, ServiceName, Span, StreamId, Time, Version,
    catalog::{FabricSpec, HostSpec, ServiceSpec, Strategy},
    change::{OPENED, Plan},
};
use mainstay_deploy::{
    Deployment, Model, RolloutPlan, Terms,
    rollout::{KIND, Rollout, Ruling},
};
use mainstay_runtime::Inbox;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::{
    ledger::SimLedger,
    report::{Fault, Invariant, Planted, Report, Violation},
};
use check::Snapshot;
use lead::{Leader, Order};
use site::{CARRIES, Site, Users};

const TICK_MS: i64 = 200;
/// Faults happen for so long; then everything must end.
const FAULTY_MS: i64 = 120_000;
const CALM_MS: i64 = 900_000;
/// After the end, orders under way still arrive.
const AFTERMATH_MS: i64 = 10_000;

/// What the new version really is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    Good,
    Bad,
    /// Bad after it was asked for a while.
    BadLate,
}

impl Truth {
    fn is_bad(self) -> bool {
        self != Self::Good
    }
}

/// How large a world is, and when its new version turns bad.
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

/// A rollout's world made of one seed.
pub struct RolloutWorld {
    rng: ChaCha8Rng,
    planted: Planted,
    crash_at_commit: Option<u32>,
    faulty: bool,
    /// No random faults from the start.
    clean: bool,
    true_ms: i64,
    skew_ms: i64,
    skewed_at: i64,
    led_at: i64,
    service: ServiceName,
    change: ChangeId,
    spec: ServiceSpec,
    hosts: BTreeMap<HostName, HostSpec>,
    ledger: SimLedger,
    /// What the ledger says.
    model: Model,
    leaders: Vec<Leader>,
    site: Site,
    under_way: Vec<(i64, Order)>,
    asked: BTreeMap<EffectId, u32>,
    truth: Truth,
    /// How long the judge takes to see harm, and when a late defect begins to bite.
    detect_ms: i64,
    late_ms: i64,
    start_ms: i64,
    sized: Option<Sized>,
    answered_new_at: i64,
    exposed_ms: i64,
    exposed_now: bool,
    base_demand: BTreeMap<FabricName, f64>,
    demand: BTreeMap<FabricName, f64>,
    blind_until: i64,
    shared_until: i64,
    foreign_until: i64,
    pass_at: Option<i64>,
    harm_since: Option<i64>,
    entered: BTreeSet<(InstanceName, Version, u64)>,
    started: BTreeSet<(InstanceName, Version, u64)>,
    snapshots: VecDeque<Snapshot>,
    waits_since: Option<i64>,
    resumes: u32,
    report: Report,
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain structures serialise")
}

fn name<T: std::str::FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| unreachable!("`{text}` keeps to the rule of names"))
}

impl RolloutWorld {
    /// The world of `seed`, with a bug planted or none.
    pub fn new(seed: u64, planted: Planted) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
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
        let of = hosts
            .iter()
            .map(|(host, spec)| (host.clone(), spec.fabric.clone()));
        let site = Site::new(service.clone(), &of.collect());
        let truth = match rng.random_range(0..10) {
            0..5 => Truth::Good,
            5..8 => Truth::Bad,
            _ => Truth::BadLate,
        };
        let spec = r#"{"owner":"o","run":{"artifacts":"/a"},"capacityRps":100,"timeout":"2s"}"#;
        Self {
            planted,
            crash_at_commit: None,
            faulty: true,
            clean: false,
            true_ms: 1_000_000,
            skew_ms: 0,
            skewed_at: i64::MIN / 2,
            led_at: 0,
            change: name("chg-1"),
            spec: serde_json::from_str(spec).expect("a constant that decodes"),
            hosts,
            ledger: SimLedger::default(),
            model: Model::default(),
            leaders: Vec::new(),
            site,
            service,
            under_way: Vec::new(),
            asked: BTreeMap::new(),
            truth,
            detect_ms: rng.random_range(1_000..8_000),
            late_ms: rng.random_range(15_000..60_000),
            start_ms: rng.random_range(400..3_000),
            sized: None,
            answered_new_at: 0,
            exposed_ms: 0,
            exposed_now: false,
            base_demand: BTreeMap::new(),
            demand: BTreeMap::new(),
            blind_until: 0,
            shared_until: 0,
            foreign_until: 0,
            pass_at: None,
            harm_since: None,
            entered: BTreeSet::new(),
            started: BTreeSet::new(),
            snapshots: VecDeque::new(),
            waits_since: None,
            resumes: 0,
            report: Report {
                violations: Vec::new(),
                bites: BTreeMap::new(),
                commits: 0,
                exposed_after_ms: None,
                ended: None,
                trace: String::new(),
            },
            rng,
        }
    }

    /// The same world without random faults, where the leader dies right after commit `n`; 0 is never.
    #[must_use]
    pub fn crash_after_commit(mut self, n: u32) -> Self {
        self.crash_at_commit = Some(n);
        self.faulty = false;
        self.clean = true;
        self
    }

    /// A world without faults, of a given size, whose new version turns bad at a given moment.
    #[must_use]
    pub fn sized(seed: u64, size: Sized) -> Self {
        let mut world = Self::new(seed, Planted::Nothing).crash_after_commit(0);
        let host = |n: u32| {
            let spec = HostSpec {
                fabric: name("lax"),
                rack: None,
            };
            (name(&format!("lax-h{n}")), spec)
        };
        world.hosts = (1..=size.hosts).map(host).collect();
        let of = world
            .hosts
            .iter()
            .map(|(host, spec)| (host.clone(), spec.fabric.clone()));
        world.site = Site::new(world.service.clone(), &of.collect());
        world.truth = Truth::BadLate;
        world.late_ms = i64::MAX / 2;
        world.detect_ms = 1_000;
        world.start_ms = size.start_ms;
        world.sized = Some(size);
        world
    }

    /// Faults for a while, then calm in which the rollout must end.
    pub fn run(mut self) -> Report {
        self.open();
        let begin = self.true_ms;
        let mut over_at = None;
        while self.true_ms < begin + FAULTY_MS + CALM_MS && self.report.violations.is_empty() {
            self.true_ms += TICK_MS;
            if self.true_ms > begin + FAULTY_MS {
                self.calm();
            }
            self.tick();
            let ended = self
                .model
                .rollouts
                .get(&self.change)
                .is_none_or(|it| it.ended_at.is_some());
            if ended && self.true_ms > *over_at.get_or_insert(self.true_ms) + AFTERMATH_MS {
                break;
            }
        }
        if self.report.violations.is_empty() {
            self.judge_the_end();
        }
        let after = |harm: i64| (self.answered_new_at - harm).max(0);
        let track = self.model.rollouts.get(&self.change);
        self.report.ended = track.map(|it| it.moved.state);
        self.report.exposed_after_ms = self.harm_since.map(after);
        let answered: Vec<String> = self
            .site
            .answered
            .iter()
            .map(|(version, count)| format!("{version} {count:.0}"))
            .collect();
        self.note(&format!("answered {}", answered.join(", ")));
        self.report
    }

    fn calm(&mut self) {
        if self.faulty {
            self.note("calm");
            self.faulty = false;
            self.skew_ms = 0;
            self.skewed_at = self.true_ms;
        }
    }

    fn tick(&mut self) {
        self.fail();
        let second = (self.true_ms / 1_000) as f64;
        self.demand = self
            .base_demand
            .iter()
            .map(|(fabric, base)| (fabric.clone(), base * (1.0 + 0.1 * (second / 60.0).sin())))
            .collect();
        self.deliver();
        let (truth, late) = (self.truth, self.exposed_ms > self.late_ms);
        let errors = move |version: &Version| {
            let bites = truth == Truth::Bad || (truth == Truth::BadLate && late);
            if bites && version.as_str() == "v2" {
                0.2
            } else {
                0.0
            }
        };
        let before = self.answered_by_new();
        let users = Users {
            demand: &self.demand,
            errors: &errors,
            start_ms: self.start_ms,
        };
        let at = self.now();
        for happened in self.site.step(self.true_ms, at, TICK_MS, &users) {
            self.on_host(happened);
        }
        self.exposed_now = self.answered_by_new() > before;
        if self.exposed_now {
            self.exposed_ms += TICK_MS;
            self.answered_new_at = self.true_ms;
        }
        if let (Some(size), Some(track)) = (self.sized, self.model.rollouts.get(&self.change))
            && track.state.progress().verified >= size.bad_from
        {
            self.late_ms = self.late_ms.min(self.exposed_ms);
        }
        self.snapshot();
        self.lead_on();
        self.person();
    }

    fn answered_by_new(&self) -> f64 {
        let new: Version = name("v2");
        self.site.answered.get(&new).copied().unwrap_or(0.0)
    }

    /// What an honest judge would rule now.
    fn ruling(&self) -> Ruling {
        if self.blind_until > self.true_ms || !self.exposed_now {
            return Ruling::Insufficient;
        }
        if self.shared_until > self.true_ms {
            return Ruling::SharedFailure;
        }
        let bad_for = match self.truth {
            Truth::Good => 0,
            Truth::Bad => self.exposed_ms,
            Truth::BadLate => self.exposed_ms - self.late_ms,
        };
        if bad_for > self.detect_ms {
            Ruling::Harm
        } else if self.truth == Truth::Bad || self.exposed_ms < 3_000 || bad_for > 0 {
            Ruling::Insufficient
        } else {
            Ruling::Pass
        }
    }

    fn now(&self) -> Time {
        Time::from_millis(self.true_ms + self.skew_ms)
    }
    fn chance(&mut self, per_mille: u32) -> bool {
        self.faulty && self.rng.random_range(0..1_000) < per_mille
    }
    fn bite(&mut self, fault: Fault) {
        *self.report.bites.entry(fault).or_default() += 1;
        self.note(&format!("fault {fault:?}"));
    }
    fn note(&mut self, what: &str) {
        let _ = writeln!(self.report.trace, "{} {what}", self.true_ms);
    }
    fn violated(&mut self, invariant: Invariant, what: String) {
        self.note(&format!("{invariant:?}: {what}"));
        self.report.violations.push(Violation { invariant, what });
    }
    fn led_lately(&self, from: i64) -> bool {
        self.led_at >= from
    }

    /// Catalog and nothing else: entries are folded on top.
    fn catalog(&mut self) -> Model {
        self.led_at = self.true_ms;
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
        model
    }

    fn append_plain(&mut self, stream: StreamId, kind: &str, body: String) {
        let entry = NewEntry {
            stream,
            kind: kind.to_owned(),
            schema: 1,
            body,
        };
        let append = Append {
            actor: Actor::system(),
            at: self.now(),
            expected: vec![],
            entries: vec![entry],
        };
        if let Ok(entries) = self.ledger.append(&append, true) {
            self.fold(&entries);
        }
    }

    fn open(&mut self) {
        self.model = self.catalog();
        let mut sizes = BTreeMap::new();
        let load = self.rng.random_range(35..65);
        for (host, spec) in &self.hosts {
            let of: &mut (Vec<HostName>, u32) = sizes.entry(spec.fabric.clone()).or_default();
            of.0.push(host.clone());
        }
        for (fabric, of) in &mut sizes {
            of.1 = self.rng.random_range(5..16);
            if let Some(size) = self.sized {
                of.1 = size.instances;
            }
            let demand = f64::from(of.1) * CARRIES * f64::from(load) / 100.0;
            self.base_demand.insert(fabric.clone(), demand);
        }
        let is_first = self.rng.random_range(0..20) == 0 && self.sized.is_none();
        let base = |version: &str| Deployment::first(name(version), sizes.clone());
        let mut runs = base(if is_first { "v2" } else { "v1" });
        if !is_first {
            runs.number = 1;
            let entry = runs.entry(&self.service).expect("a deployment serialises");
            self.append_plain(entry.stream, &entry.kind, entry.body);
        }
        let strategy = if self.rng.random_range(0..4) == 0 {
            Strategy::BlueGreen
        } else {
            Strategy::Canary
        };
        let strategy = self.sized.map_or(strategy, |it| it.strategy);
        let batch = f64::from([10, 25, 50][self.rng.random_range(0..3)]);
        let plan = RolloutPlan {
            service: self.service.clone(),
            from: (!is_first).then(|| name("v1")),
            to: name("v2"),
            base: runs,
            terms: Terms {
                strategy,
                canary_steps: vec![100, 2_500],
                batch: Percent::new(batch).expect("a constant share"),
                expose: None,
                margin: Percent::new(1.0).expect("a constant share"),
                bake: Span::from_secs(8),
                max_evidence_wait: Span::from_secs(40),
                verify_within: Span::from_secs(20),
                drain_within: Span::from_millis(2_500),
                probes: false,
            },
            emergency: None,
        };
        if !is_first {
            // All that runs was started and is warm before the world begins.
            let model = std::mem::take(&mut self.model);
            let orders = lead::orders(&mainstay_deploy::site::Seen::default(), &model);
            self.model = model;
            self.site.settle(&orders, self.true_ms - 60_000);
            for wanted in orders.hosts.values().flatten() {
                let is = (
                    wanted.instance.clone(),
                    wanted.version.clone(),
                    wanted.incarnation,
                );
                self.started.insert(is);
            }
        }
        self.lead();
        for _ in 0..25 {
            self.true_ms += TICK_MS;
            self.tick_quietly();
        }
        let change = self.opened(plan);
        self.append_plain(change.stream(), OPENED, json(&change));
        if let Some(leader) = self.leaders.last_mut() {
            let change = self.change.clone();
            leader
                .inbox
                .push((self.true_ms, Inbox::Seen { change, version: 1 }));
        }
    }

    /// A tick without faults, before the change is opened.
    fn tick_quietly(&mut self) {
        let faulty = std::mem::replace(&mut self.faulty, false);
        self.tick();
        self.faulty = faulty;
    }

    fn opened(&self, plan: RolloutPlan) -> Change {
        Change {
            id: self.change.clone(),
            kind: ChangeKind::Rollout,
            actor: Actor::verified("ana"),
            reason: "simulated".to_owned(),
            title: "voyager v1 → v2".to_owned(),
            blast_radius: BlastRadius::default(),
            emergency: None,
            opened_at: self.now(),
            deadline: None,
            plan: Plan {
                kind: KIND.to_owned(),
                schema: Rollout::SCHEMA,
                body: json(&plan),
            },
        }
    }
}

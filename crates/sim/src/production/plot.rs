//! What is opened when: a rollout, actions of every kind, limit tests, and what gets into their way.

use std::collections::BTreeMap;

use mainstay_change::{Direction, Machine as _};
use mainstay_core::{
    ChangeId, ChangeKind, HostName, InstanceName, Percent, Span, Version,
    catalog::{FreezeSpec, Strategy},
};
use mainstay_deploy::{
    Deployment, Model, RolloutPlan, Slots, Terms,
    action::{Action, ActionPlan, Task},
    adapter::limit::seen::candidate,
    limit::{self, LimitPlan, LimitTest},
    rollout::Rollout,
    scaling::{self, Difference},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Production, orders, site::CARRIES};
use crate::{
    driver::{Sim, change, json, name},
    report::Fault,
};

/// Steps before the first change is opened: everybody has reported by then.
const QUIET_STEPS: u32 = 25;
/// What hangs is measured dead after so long.
const DEAD_AFTER_MS: i64 = 6_000;
/// What cannot be opened for so long is not opened at all.
const GIVE_UP_MS: i64 = 200_000;
/// Shares that a limit test tries here; so many that an instance breaks before the last.
const STEPS: [f64; 5] = [1.0, 1.5, 2.0, 2.5, 4.0];

/// What a world is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Play {
    Rollout,
    Action,
    Limit,
    Scale,
}

/// One change to open.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Opening {
    Rollout,
    Action(Wish),
    Limit,
    Scale,
}

/// What a person wants done at three in the morning.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Wish {
    task: Task,
    /// About instances that are measured dead.
    dead: bool,
    /// About all of them rather than a few.
    all: bool,
}

/// What is opened when.
pub(crate) struct Plot {
    /// To be opened, by the time since the world began.
    left: Vec<(i64, Opening)>,
    /// Opened.
    pub(crate) opened: Vec<ChangeId>,
    /// Instances that were made to hang, and when.
    hung: BTreeMap<InstanceName, i64>,
    /// What a person has done about each that waits.
    pub(super) patience: BTreeMap<ChangeId, Patience>,
}

/// How long a change has waited for a person, and how often one resumed it.
#[derive(Default)]
pub(super) struct Patience {
    pub(super) since: Option<i64>,
    pub(super) resumes: u32,
}

/// A freeze that holds what goes forward for a while, in some worlds; where it begins late a change is under way.
pub(super) fn freeze(rng: &mut ChaCha8Rng) -> Option<FreezeSpec> {
    if rng.random_range(0..3) != 0 {
        return None;
    }
    let from = 1_000_000 + rng.random_range(0..60_000);
    let until = from + rng.random_range(5_000..50_000);
    Some(FreezeSpec {
        reason: "the books are closed".to_owned(),
        from: Some(mainstay_core::Time::from_millis(from)),
        until: Some(mainstay_core::Time::from_millis(until)),
        services: vec![],
        exceptions: vec![],
    })
}

impl Plot {
    pub(super) fn new(play: Play, rng: &mut ChaCha8Rng) -> Self {
        let left = match play {
            Play::Rollout => vec![(0, Opening::Rollout)],
            Play::Action => actions(rng),
            Play::Limit => {
                let mut left = vec![(0, Opening::Limit)];
                let at = rng.random_range(5_000..40_000);
                match rng.random_range(0..4) {
                    0 => left.push((at, Opening::Rollout)),
                    1 => left.extend(actions(rng).into_iter().map(|(_, it)| (at, it))),
                    _ => {}
                }
                left
            }
            Play::Scale => {
                let mut left = vec![(0, Opening::Scale)];
                let at = rng.random_range(2_000..20_000);
                match rng.random_range(0..4) {
                    0 => left.push((at, Opening::Rollout)),
                    1 => left.push((at, Opening::Scale)),
                    2 => left.extend(actions(rng).into_iter().map(|(_, it)| (at, it))),
                    _ => {}
                }
                left
            }
        };
        Self {
            left,
            opened: Vec::new(),
            hung: BTreeMap::new(),
            patience: BTreeMap::new(),
        }
    }

    /// Whether everything was opened and has ended.
    pub(super) fn is_over(&self, model: &Model) -> bool {
        let open = |id: &ChangeId| {
            let rollout = model.rollouts.get(id).map(|it| it.ended_at);
            let action = model.actions.get(id).map(|it| it.ended_at);
            let limit = model.limits.get(id).map(|it| it.ended_at);
            rollout.or(action).or(limit).is_none_or(|it| it.is_none())
        };
        self.left.is_empty() && !self.opened.iter().any(open)
    }
}

fn actions(rng: &mut ChaCha8Rng) -> Vec<(i64, Opening)> {
    let wish = |task, dead, all| Opening::Action(Wish { task, dead, all });
    let share = rng.random_range(1..6) * 1_000;
    let shed = wish(Task::Shed { share }, false, false);
    let later = rng.random_range(1_000..30_000);
    match rng.random_range(0..9) {
        0 | 1 => vec![(0, wish(Task::Restart, false, true))],
        2 => vec![(0, wish(Task::Restart, true, false))],
        3 => vec![(0, wish(Task::Kill, false, false))],
        4 => vec![(0, wish(Task::Kill, true, false))],
        5 => vec![(0, wish(Task::Drain, false, false)), (later, shed)],
        6 => vec![(0, shed), (later, wish(Task::Restart, false, false))],
        7 => vec![
            (0, Opening::Rollout),
            (later, wish(Task::Kill, true, false)),
            (later, shed),
        ],
        _ => vec![
            (0, wish(Task::Drain, false, false)),
            (later, wish(Task::Kill, false, false)),
        ],
    }
}

impl Sim<Production> {
    /// What runs is started and warm, a leader leads, and everybody has reported.
    pub(super) fn begin(&mut self) {
        self.scene.model = self.scene.catalog();
        let mut sizes: BTreeMap<_, (Vec<HostName>, u32)> = BTreeMap::new();
        let load = self.rng.random_range(35..65);
        for (host, spec) in &self.scene.hosts {
            sizes
                .entry(spec.fabric.clone())
                .or_default()
                .0
                .push(host.clone());
        }
        for (fabric, of) in &mut sizes {
            of.1 = self.rng.random_range(5..16);
            if let Some(size) = self.scene.sized {
                of.1 = size.instances;
            }
            let demand = f64::from(of.1) * CARRIES * f64::from(load) / 100.0;
            self.scene.base_demand.insert(fabric.clone(), demand);
            self.scene.sizes.insert(fabric.clone(), of.1 as usize);
        }
        let first = self.rng.random_range(0..20) == 0 && self.scene.sized.is_none();
        let rollout = self
            .scene
            .plot
            .left
            .iter()
            .all(|it| it.1 == Opening::Rollout);
        if first && rollout {
            self.scene.release.base = Some(Deployment::first(name("v2"), sizes));
        } else {
            let mut runs = Deployment::first(name("v1"), sizes);
            runs.number = 1;
            let entry = runs.entry(&self.scene.service);
            let entry = entry.expect("a deployment serialises");
            let written = self.write(vec![], vec![entry]);
            debug_assert!(written.is_ok(), "nothing was expected");
            // All of it was started before the world begins.
            let orders =
                orders::compose_all(&mainstay_deploy::site::Seen::default(), &self.scene.model);
            self.scene.site.settle(&orders, self.true_ms - 60_000);
            for wanted in orders.hosts.values().flatten() {
                let (name, version) = (wanted.instance.clone(), wanted.version.clone());
                self.scene
                    .started
                    .insert((name, version, wanted.incarnation));
            }
        }
        self.lead();
        let faulty = std::mem::replace(&mut self.faulty, false);
        let left = std::mem::take(&mut self.scene.plot.left);
        for _ in 0..QUIET_STEPS {
            self.step();
        }
        self.faulty = faulty;
        let from = self.elapsed_ms();
        let left = left.into_iter().map(|(at, it)| (from + at, it));
        self.scene.plot.left = left.collect();
        self.scene.over_at = None;
    }

    /// Opens what is due and can be.
    pub(super) fn unfold(&mut self) {
        let now = self.elapsed_ms();
        for (at, opening) in std::mem::take(&mut self.scene.plot.left) {
            let opened = now >= at
                && match opening {
                    Opening::Rollout => self.open_rollout(),
                    Opening::Action(wish) => self.open_action(wish),
                    Opening::Limit => self.open_limit(),
                    Opening::Scale => self.open_scale(),
                };
            if !opened && now < GIVE_UP_MS + at {
                self.scene.plot.left.push((at, opening));
            }
        }
    }

    fn opens_plan(&mut self, kind: ChangeKind, plan_kind: &str, body: String) {
        let id: ChangeId = name(&format!("chg-{}", self.scene.plot.opened.len() + 1));
        let opened = self.scene.plot.opened.iter();
        if opened
            .filter_map(|it| self.scene.stands(it))
            .any(|it| !it.ended)
        {
            self.bite(Fault::Beside);
        }
        let change = change(&id, kind, plan_kind, body, self.now());
        self.scene.plot.opened.push(id);
        self.opens(&change);
    }

    /// Whether something replaces processes of the service now.
    fn is_moving(&self) -> bool {
        let (model, service) = (&self.scene.model, &self.scene.service);
        model.open(service).is_some() || model.replacing(service).is_some()
    }

    fn open_rollout(&mut self) -> bool {
        if self.is_moving() {
            return false;
        }
        let strategy = if self.rng.random_range(0..4) == 0 {
            Strategy::BlueGreen
        } else {
            Strategy::Canary
        };
        let batch = f64::from([10, 25, 50][self.rng.random_range(0..3)]);
        // Some stop for a person on the way.
        let asks = self.scene.sized.is_none() && self.rng.random_range(0..4) == 0;
        let expose = asks.then(|| self.rng.random_range(0..6) * 10);
        let expose = expose.and_then(|it| Percent::new(f64::from(it)));
        let running = self.scene.model.running(&self.scene.service, false);
        let from: Option<Version> = running.as_ref().map(|it| it.version.clone());
        let Some(base) = running.or_else(|| self.scene.release.base.clone()) else {
            return false;
        };
        let plan = RolloutPlan {
            service: self.scene.service.clone(),
            from,
            to: name("v2"),
            base,
            terms: Terms {
                strategy: self.scene.sized.map_or(strategy, |it| it.strategy),
                canary_steps: vec![100, 2_500],
                batch: Percent::new(batch).expect("a constant share"),
                expose,
                margin: Percent::new(1.0).expect("a constant share"),
                bake: Span::from_secs(8),
                max_evidence_wait: Span::from_secs(40),
                verify_within: Span::from_secs(20),
                drain_within: Span::from_millis(2_500),
                probes: false,
            },
            emergency: None,
        };
        self.opens_plan(ChangeKind::Rollout, Rollout::KIND, json(&plan));
        true
    }

    /// One change at a time replaces processes; what is measured dead is killed beside a rollout too.
    fn open_action(&mut self, wish: Wish) -> bool {
        let replaces = wish.task.replaces();
        let sheds = matches!(wish.task, Task::Shed { .. });
        let model = &self.scene.model;
        let rolls = model.open(&self.scene.service).is_some();
        let beside = replaces && rolls && wish.dead && wish.task == Task::Kill;
        let replacing = model.replacing(&self.scene.service).is_some();
        if !sheds && (replacing || rolls && !beside) {
            return false;
        }
        let Some(base) = model.running(&self.scene.service, beside) else {
            return false;
        };
        let targets = if sheds {
            Slots::default()
        } else if wish.dead {
            match self.dead_of(&base) {
                Some(dead) => dead,
                None => return false,
            }
        } else {
            self.some_of(&base, wish.all)
        };
        let direction = if !replaces || wish.dead {
            Direction::Restoring
        } else {
            Direction::Forward
        };
        let plan = ActionPlan {
            service: self.scene.service.clone(),
            task: wish.task,
            direction,
            fabrics: base
                .fabrics
                .keys()
                .filter(|it| sheds || targets.of(it).next().is_some())
                .cloned()
                .collect(),
            targets,
            added: Slots::default(),
            base,
            beside,
            batch: Percent::new(25.0).expect("a constant share"),
            verify_within: Span::from_secs(20),
            drain_within: Span::from_millis(2_500),
            lasts: if replaces {
                Span::ZERO
            } else {
                Span::from_millis(self.rng.random_range(10_000..60_000))
            },
            emergency: None,
        };
        let kind = wish.task.kind();
        self.opens_plan(kind, Action::KIND, json(&plan));
        true
    }

    /// Up to three instances more or fewer in each fabric, whatever capacity says: that is the change's affair.
    fn open_scale(&mut self) -> bool {
        if self.is_moving() {
            return false;
        }
        let Some(base) = self.scene.model.running(&self.scene.service, false) else {
            return false;
        };
        let mut counts = base.counts();
        for count in counts.values_mut() {
            *count = (*count + self.rng.random_range(0..7))
                .saturating_sub(3)
                .max(1);
        }
        let Difference { leaving, missing } = scaling::difference(&base, &counts);
        if leaving.is_empty() && missing.is_empty() {
            return false;
        }
        let task = Task::Scale { declared: 1 };
        let plan = ActionPlan {
            service: self.scene.service.clone(),
            task,
            direction: Direction::Forward,
            fabrics: base.fabrics.keys().cloned().collect(),
            targets: leaving,
            added: missing,
            base,
            beside: false,
            batch: Percent::new(25.0).expect("a constant share"),
            verify_within: Span::from_secs(20),
            drain_within: Span::from_millis(2_500),
            lasts: Span::ZERO,
            emergency: None,
        };
        self.opens_plan(task.kind(), Action::KIND, json(&plan));
        true
    }

    /// Instances of `base` to act on.
    fn some_of(&mut self, base: &Deployment, all: bool) -> Slots {
        let mut slots: Vec<_> = base.slots().map(|it| it.slot).collect();
        let most = slots.len().div_ceil(2);
        let left = if all {
            slots.len()
        } else {
            self.rng.random_range(1..=most)
        };
        while slots.len() > left {
            slots.remove(self.rng.random_range(0..slots.len()));
        }
        slots.into_iter().collect()
    }

    /// Instances of `base` that are dead long enough to be measured so; some are made to hang where none is.
    fn dead_of(&mut self, base: &Deployment) -> Option<Slots> {
        let now = self.true_ms;
        let named = base.slots().filter_map(|it| {
            let instance = it.slot.instance(&self.scene.service).ok()?;
            Some((instance, it.slot))
        });
        let named: BTreeMap<InstanceName, _> = named.collect();
        let site = &self.scene.site;
        let is_hung = |name: &InstanceName| site.process(name).is_some_and(|it| it.hung);
        let hung = &mut self.scene.plot.hung;
        hung.retain(|name, _| named.contains_key(name) && is_hung(name));
        if hung.is_empty() {
            let few = self.some_of(base, false);
            for slot in few.iter().take(3) {
                if let Ok(instance) = slot.instance(&self.scene.service) {
                    self.scene.site.hang(&instance);
                    self.note(&format!("{instance} hangs"));
                    self.bite(Fault::Hangs);
                    self.scene.plot.hung.insert(instance, now);
                }
            }
            return None;
        }
        let hung = &self.scene.plot.hung;
        if hung.values().any(|since| now - since < DEAD_AFTER_MS) {
            return None;
        }
        Some(
            hung.keys()
                .filter_map(|it| named.get(it).cloned())
                .collect(),
        )
    }

    fn open_limit(&mut self) -> bool {
        if self.is_moving() {
            return false;
        }
        let (service, seen) = (&self.scene.service, &self.scene.site.seen);
        let mut fabrics = self.scene.desired.weights.keys();
        let found = fabrics
            .find_map(|fabric| candidate(seen, service, &self.scene.desired, fabric, self.now()));
        let Some(slot) = found else {
            return false;
        };
        let (Some(wanted), Ok(instance), Some(slo)) = (
            self.scene.desired.slots.get(&slot),
            slot.instance(service),
            self.scene.spec.slo,
        ) else {
            return false;
        };
        let plan = LimitPlan {
            service: service.clone(),
            instance,
            version: wanted.version.clone(),
            incarnation: wanted.incarnation,
            slot,
            slo,
            steps: STEPS.to_vec(),
            hold_for: limit::plan::HOLD_FOR,
        };
        self.opens_plan(ChangeKind::LimitTest, LimitTest::KIND, json(&plan));
        true
    }
}

//! What is temporary ends by its deadline: in the ledger first, then in the routers, also after a crash.

use std::collections::BTreeMap;

use mainstay_core::{FabricName, InstanceName};
use mainstay_deploy::{action, limit};

use super::Production;
use crate::{driver::Sim, report::Invariant};

/// A deadline may be missed by the skew, by the time a crashed leader takes to be replaced, and by what it takes
/// to hear of every host before routes are ordered.
const SLACK_MS: i64 = 30_000;
/// Silence after which a limit test gives the share back, the longest hold counted.
const SILENCE_MS: i64 = 6_000 + 10_000;

/// How often is looked.
const LOOK_EVERY_MS: i64 = 1_000;

/// Since when what routers do is not what the ledger says, while they could be told.
#[derive(Default)]
pub(super) struct Undo {
    lags: BTreeMap<Lag, i64>,
}

/// What a router still does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Lag {
    /// Refuses requests.
    Sheds(FabricName),
    /// Gives more than a full share.
    Raises(InstanceName),
    /// Sends nothing to an instance that should have requests.
    Drains(InstanceName),
}

impl Sim<Production> {
    pub(super) fn check_undone(&mut self) {
        self.check_overload();
        let now = self.true_ms;
        if now % LOOK_EVERY_MS != 0 {
            return;
        }
        self.check_deadlines();
        let lagging = self.lagging();
        let lags = &mut self.scene.undo.lags;
        lags.retain(|lag, _| lagging.contains(lag));
        for lag in lagging {
            lags.entry(lag).or_insert(now);
        }
        let late = lags.iter().find(|(_, since)| now - **since > SLACK_MS);
        if let Some((lag, _)) = late {
            let what = format!("{lag:?}, and the ledger has said otherwise for {SLACK_MS} ms");
            self.violated(Invariant::Undo, what);
        }
    }

    /// The ledger says by the deadline that what is temporary goes back.
    fn check_deadlines(&mut self) {
        let now = self.true_ms - SLACK_MS;
        let held = self
            .scene
            .model
            .actions
            .values()
            .filter(|it| it.ended_at.is_none());
        let overdue = |it: &action::State| it.until().is_some_and(|until| until.millis() < now);
        let actions = held
            .filter(|it| overdue(&it.state))
            .map(|it| it.change.id.clone());
        let tested = self
            .scene
            .model
            .limits
            .values()
            .filter(|it| it.ended_at.is_none());
        let silent = |it: &limit::State| {
            let fabric = &it.plan().slot.fabric;
            !self.scene.site.heard_since(fabric, now - SILENCE_MS)
        };
        let raised = tested.filter(|it| it.state.share() > 1.0);
        let limits = raised
            .filter(|it| {
                let until = it.change.opened_at + limit::plan::TEST_WITHIN;
                until.millis() < now || silent(&it.state)
            })
            .map(|it| it.change.id.clone());
        if let Some(change) = actions.chain(limits).next() {
            let what = format!("{change} is not put back {SLACK_MS} ms after it should be");
            self.violated(Invariant::Undo, what);
        }
    }

    /// What routers that can be told do although the ledger says otherwise.
    fn lagging(&self) -> Vec<Lag> {
        let scene = &self.scene;
        let mut lagging = Vec::new();
        for (fabric, table) in scene.site.tables() {
            if !self.can_be_told(fabric) {
                continue;
            }
            if table.shed > scene.desired.shed.get(fabric).copied().unwrap_or(0) {
                lagging.push(Lag::Sheds(fabric.clone()));
            }
            for (slot, wanted) in scene
                .desired
                .slots
                .iter()
                .filter(|it| it.0.fabric == *fabric)
            {
                let Ok(name) = slot.instance(&scene.service) else {
                    continue;
                };
                let mut backends = table.backends.iter().filter(|it| it.instance == name);
                let Some(backend) = backends.next() else {
                    continue;
                };
                if backend.share > wanted.share.max(1.0) {
                    lagging.push(Lag::Raises(name.clone()));
                }
                let process = scene.site.process(&name);
                let same = process.is_some_and(|it| it.is_wanted(wanted, self.true_ms));
                if backend.draining && !wanted.draining && same {
                    lagging.push(Lag::Drains(name));
                }
            }
        }
        lagging
    }

    /// Whether everybody on whom the routes of `fabric` depend speaks and hears.
    fn can_be_told(&self, fabric: &FabricName) -> bool {
        let now = self.true_ms;
        let scene = &self.scene;
        let router = scene.site.routers.get(fabric);
        let mut hosts = scene.site.hosts.iter();
        router.is_some_and(|it| it.silent_until <= now && it.gone_until <= now)
            && hosts.all(|(name, host)| {
                let other = scene.hosts.get(name).is_none_or(|it| it.fabric != *fabric);
                other || host.hears(now) && host.silent_until <= now && host.lies_until <= now
            })
    }

    /// A share above a full one that breaks the objective lasts no longer than a step.
    fn check_overload(&mut self) {
        let broken = self.scene.site.overloaded();
        if let Some(name) = broken {
            let what = format!("{name} is sent more than it carries, and nothing ends it");
            self.violated(Invariant::Floor, what);
        }
    }
}

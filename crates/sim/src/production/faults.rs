//! What goes wrong, and what people do about it; all from the seed.

use mainstay_change::{Direction, LeaseBook};
use mainstay_core::{Actor, ChangeId, FabricName, HostName};
use mainstay_deploy::moves::Verb;
use rand::RngExt;

use super::{Production, site::CARRIES};
use crate::{
    driver::{Sim, name},
    report::{Fault, Planted},
};

/// How long a person looks at a change that waits before doing something.
const PERSON_MS: i64 = 15_000;
/// How often a person resumes what keeps pausing, before aborting it.
const RESUMES_MAX: u32 = 4;

impl Sim<Production> {
    /// Faults that begin now.
    pub(super) fn fail(&mut self) {
        if self.chance(3) {
            let until = self.true_ms + self.rng.random_range(2_000..40_000);
            self.scene.blind_until = until;
            for router in self.scene.site.routers.values_mut() {
                router.silent_until = until;
            }
            self.bite(Fault::BlindMonitoring);
        }
        if self.chance(2) {
            self.scene.shared_until = self.true_ms + self.rng.random_range(2_000..15_000);
            self.bite(Fault::SharedFailure);
        }
        if self.chance(2) {
            self.cut_off_a_router();
        }
        if self.chance(30) {
            self.fail_a_host();
        }
        self.foreign();
    }

    /// A router that nobody hears and that hears nobody goes on with the table it has.
    fn cut_off_a_router(&mut self) {
        let until = self.true_ms + self.rng.random_range(2_000..25_000);
        let fabrics: Vec<FabricName> = self.scene.site.routers.keys().cloned().collect();
        let chosen = &fabrics[self.rng.random_range(0..fabrics.len())];
        if let Some(router) = self.scene.site.routers.get_mut(chosen) {
            router.gone_until = until;
        }
        self.bite(Fault::RouterGone);
        self.note(&format!("router {chosen} is cut off until {until}"));
    }

    fn fail_a_host(&mut self) {
        let now = self.true_ms;
        let hosts: Vec<HostName> = self.scene.hosts.keys().cloned().collect();
        let chosen = hosts[self.rng.random_range(0..hosts.len())].clone();
        let until = now + self.rng.random_range(2_000..25_000);
        let fault = [
            Fault::SilentAgent,
            Fault::LyingAgent,
            Fault::LyingAgent,
            Fault::HostLoss,
            Fault::RackLoss,
            Fault::FailsToStart,
            Fault::RefusesToStop,
            Fault::AgentRestart,
            Fault::AgentGone,
        ][self.rng.random_range(0..9)];
        let rare = matches!(
            fault,
            Fault::HostLoss | Fault::RackLoss | Fault::FailsToStart
        );
        if rare && self.rng.random_range(0..4) != 0 {
            return;
        }
        if fault == Fault::AgentRestart {
            self.bite(fault);
            let forgets = self.planted == Planted::AgentForgets;
            for happened in self.scene.site.restart_agent(&chosen, forgets, now) {
                self.on_host(happened);
            }
            return;
        }
        let scene = &mut self.scene;
        let rack_of = |name| scene.hosts.get(name).and_then(|it| it.rack.clone());
        let rack = rack_of(&chosen);
        for (name, host) in &mut scene.site.hosts {
            let is_it = *name == chosen;
            let same_rack = rack_of(name) == rack;
            match fault {
                Fault::SilentAgent if is_it => host.silent_until = until,
                Fault::LyingAgent if is_it => host.lies_until = until,
                Fault::HostLoss if is_it => host.down_until = until,
                Fault::RackLoss if same_rack => host.down_until = until,
                Fault::FailsToStart if is_it => host.failing_until = until,
                Fault::RefusesToStop if is_it => host.stubborn_until = until,
                Fault::AgentGone if is_it => host.gone_until = until,
                _ => {}
            }
        }
        // Lies, refusals and failed starts are counted when they are met.
        if matches!(
            fault,
            Fault::SilentAgent | Fault::HostLoss | Fault::RackLoss | Fault::AgentGone
        ) {
            self.bite(fault);
        }
        self.note(&format!("{fault:?} {chosen} until {until}"));
    }

    /// Another change takes headroom of the same service, where it fits, and gives it back.
    fn foreign(&mut self) {
        let other: ChangeId = name("chg-other");
        let Some(fabric) = self.scene.hosts.values().next().map(|it| it.fabric.clone()) else {
            return;
        };
        let key = (self.scene.service.clone(), fabric.clone());
        let book = self.scene.model.books.get(&key).cloned();
        let book = book.unwrap_or_else(|| LeaseBook::new(&self.scene.service, &fabric));
        let held = book.lease(&other).is_some();
        let entry = if held && self.true_ms > self.scene.foreign_until {
            book.release(&other)
        } else if !held && self.chance(10) {
            self.scene.foreign_until = self.true_ms + self.rng.random_range(3_000..20_000);
            let serving = self.scene.site.serving(&fabric, self.true_ms).len() as f64;
            let demand = self.scene.demand.get(&fabric).copied().unwrap_or(0.0);
            let mine = book.leased_rps(&other, Direction::Forward);
            let free = serving * CARRIES * 0.75 - demand - mine - CARRIES;
            let rps = free * 0.8;
            (rps > 0.0)
                .then(|| book.take(&other, Direction::Forward, rps).ok())
                .flatten()
        } else {
            None
        };
        if let Some(entry) = entry {
            let written = self.write(vec![book.expected()], vec![entry]);
            debug_assert!(written.is_ok(), "the book was read just now");
        }
    }

    /// Somebody looks after what waits, and now and then holds or stops what does not.
    pub(super) fn people(&mut self) {
        for change in self.scene.plot.opened.clone() {
            self.person(&change);
        }
    }

    fn person(&mut self, change: &ChangeId) {
        let now = self.true_ms;
        let Some(stands) = self.scene.stands(change).filter(|it| !it.ended) else {
            return;
        };
        let patience = self.scene.plot.patience.entry(change.clone()).or_default();
        if !stands.paused || stands.restoring {
            patience.since = None;
            match self.chance(2).then(|| self.rng.random_range(0..4)) {
                Some(0) => self.say(change, Verb::Abort),
                Some(_) => self.say(change, Verb::Pause),
                None => {}
            }
            return;
        }
        if now - *patience.since.get_or_insert(now) < PERSON_MS {
            return;
        }
        patience.since = None;
        patience.resumes += 1;
        let resumes = patience.resumes;
        let promotes = resumes == 2
            && self.scene.model.rollouts.contains_key(change)
            && self.scene.release.is_good();
        self.say(
            change,
            match resumes {
                _ if promotes => Verb::Promote,
                n if n > RESUMES_MAX => Verb::Abort,
                _ => Verb::Resume,
            },
        );
    }

    fn say(&mut self, change: &ChangeId, verb: Verb) {
        self.note(&format!("a person says {verb:?} of {change}"));
        // Every machine is told so in the same words.
        let input = serde_json::json!({
            "what": "order",
            "verb": verb,
            "actor": Actor::verified("ana"),
            "reason": "simulated",
        });
        self.order(change, input.to_string());
    }
}

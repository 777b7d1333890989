//! What goes wrong, and what people do about it; all from the seed.

use mainstay_change::{Direction, LeaseBook};
use mainstay_core::{Actor, ChangeId, ChangeState, HostName};
use mainstay_deploy::rollout::{Input, Verb};
use mainstay_runtime::Inbox;
use rand::RngExt;

use super::{RolloutWorld, json, name, site::CARRIES};
use crate::report::{Fault, Planted};

/// The wall clock strays from true time by no more than this.
const SKEW_MS: i64 = 3_000;
/// How long a person looks at a rollout that waits before doing something.
const PERSON_MS: i64 = 15_000;
/// How often a person resumes what keeps pausing, before aborting it.
const RESUMES_MAX: u32 = 4;

impl RolloutWorld {
    /// Faults that begin now.
    pub(super) fn fail(&mut self) {
        if self.chance(5) {
            self.skew_ms = self.rng.random_range(-SKEW_MS..=SKEW_MS);
            self.bite(Fault::ClockJump);
        }
        if self.skew_ms != 0 {
            self.skewed_at = self.true_ms;
        }
        if self.leaders.len() < 2 && self.chance(4) {
            self.lead();
        }
        if self.chance(3) {
            self.blind_until = self.true_ms + self.rng.random_range(2_000..40_000);
            let until = self.blind_until;
            for router in self.site.routers.values_mut() {
                router.silent_until = until;
            }
            self.bite(Fault::BlindMonitoring);
        }
        if self.chance(2) {
            self.shared_until = self.true_ms + self.rng.random_range(2_000..15_000);
            self.bite(Fault::SharedFailure);
        }
        if self.chance(30) {
            self.fail_a_host();
        }
        self.foreign();
    }

    fn fail_a_host(&mut self) {
        let now = self.true_ms;
        let hosts: Vec<HostName> = self.hosts.keys().cloned().collect();
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
        ][self.rng.random_range(0..8)];
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
            for happened in self.site.restart_agent(&chosen, forgets, now) {
                self.on_host(happened);
            }
            return;
        }
        let rack = self.hosts.get(&chosen).and_then(|it| it.rack.clone());
        for (name, host) in &mut self.site.hosts {
            let is_it = *name == chosen;
            let same_rack = self.hosts.get(name).and_then(|it| it.rack.clone()) == rack;
            match fault {
                Fault::SilentAgent if is_it => host.silent_until = until,
                Fault::LyingAgent if is_it => host.lies_until = until,
                Fault::HostLoss if is_it => host.down_until = until,
                Fault::RackLoss if same_rack => host.down_until = until,
                Fault::FailsToStart if is_it => host.failing_until = until,
                Fault::RefusesToStop if is_it => host.stubborn_until = until,
                _ => {}
            }
        }
        // Lies, refusals and failed starts are counted when they are met.
        if matches!(
            fault,
            Fault::SilentAgent | Fault::HostLoss | Fault::RackLoss
        ) {
            self.bite(fault);
        }
        self.note(&format!("{fault:?} {chosen} until {until}"));
    }

    /// Another change takes headroom of the same service, where it fits, and gives it back.
    fn foreign(&mut self) {
        let other: ChangeId = name("chg-other");
        let fabric = self.hosts.values().next().map(|it| it.fabric.clone());
        let Some(fabric) = fabric else {
            return;
        };
        let key = (self.service.clone(), fabric.clone());
        let book = self.model.books.get(&key).cloned();
        let book = book.unwrap_or_else(|| LeaseBook::new(&self.service, &fabric));
        let held = book.lease(&other).is_some();
        let entry = if held && self.true_ms > self.foreign_until {
            book.release(&other)
        } else if !held && self.chance(10) {
            self.foreign_until = self.true_ms + self.rng.random_range(3_000..20_000);
            let serving = self.site.serving(&fabric, self.true_ms).len() as f64;
            let demand = self.demand.get(&fabric).copied().unwrap_or(0.0);
            let mine = book.lease(&self.change).map_or(0.0, |it| it.rps);
            let free = serving * CARRIES * 0.75 - demand - mine - CARRIES;
            let rps = free * 0.8;
            (rps > 0.0)
                .then(|| book.take(&other, Direction::Forward, rps).ok())
                .flatten()
        } else {
            None
        };
        if let Some(entry) = entry {
            let _ = self.write(vec![book.expected()], vec![entry]);
        }
    }

    /// Somebody looks after what waits, and now and then holds or stops it.
    pub(super) fn person(&mut self) {
        let Some(track) = self.model.rollouts.get(&self.change) else {
            return;
        };
        let paused = track.moved.state == ChangeState::Paused && !track.state.is_restoring();
        let ended = track.ended_at.is_some();
        if !paused {
            self.waits_since = None;
            let verb = match self.chance(2).then(|| self.rng.random_range(0..4)) {
                Some(0) => Verb::Abort,
                Some(_) => Verb::Pause,
                None => return,
            };
            if !ended && !self.clean {
                self.tell_order(verb);
            }
            return;
        }
        let since = *self.waits_since.get_or_insert(self.true_ms);
        if self.true_ms - since < PERSON_MS {
            return;
        }
        self.waits_since = None;
        self.resumes += 1;
        let promotes = self.resumes == 2 && !self.truth.is_bad();
        let verb = match self.resumes {
            _ if promotes => Verb::Promote,
            n if n > RESUMES_MAX => Verb::Abort,
            _ => Verb::Resume,
        };
        self.tell_order(verb);
    }

    fn tell_order(&mut self, verb: Verb) {
        self.note(&format!("a person says {verb:?}"));
        let input = Input::Order {
            verb,
            actor: Actor::verified("ana"),
            reason: "simulated".to_owned(),
        };
        let message = Inbox::Input {
            change: self.change.clone(),
            body: json(&input),
        };
        if let Some(leader) = self.leaders.last_mut() {
            leader.inbox.push((self.true_ms, message));
        }
    }
}

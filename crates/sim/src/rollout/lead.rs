//! Leaders: each hosts the real runtime, folds the ledger, and orders hosts and routers.

use std::collections::BTreeMap;

use mainstay_change::EffectId;
use mainstay_core::{
    Actor, Append, Entry, Expected, FabricName, HostName, InstanceName, Measured, Span, StreamId,
    change::change_stream,
};
use mainstay_deploy::{
    Model,
    compose::{Composition, Orders, compose, is_heard},
    rollout::{Input, Rollout},
    site::Seen,
};
use mainstay_runtime::{Codecs, Dispatch, Inbox, Runtime, leader_stream};
use mainstay_wire::{
    Generation,
    agent::{DesiredInstance, InstanceReport},
    router::ServiceRoutes,
};
use rand::RngExt;

use super::{
    RolloutWorld,
    perform::{OPEN_FOR, Question},
};
use crate::report::{Fault, Invariant, Planted};

pub(crate) struct Leader {
    pub(crate) epoch: u64,
    runtime: Runtime,
    pub(crate) model: Model,
    pub(crate) inbox: Vec<(i64, Inbox)>,
    questions: BTreeMap<EffectId, Question>,
    hosts: BTreeMap<HostName, Vec<DesiredInstance>>,
    pub(crate) tables: BTreeMap<FabricName, (Generation, ServiceRoutes)>,
    counter: u64,
    /// Composed from these: entries folded, reports seen.
    composed: Option<(u64, u64)>,
    /// Reads nothing new until then.
    deaf_until: i64,
    began_ms: i64,
    /// What it was told since it began: one that starts anew knows nothing.
    pub(crate) seen: Seen,
    seen_reports: u64,
}

/// An order under way.
#[derive(Clone)]
pub(crate) enum Order {
    Host(HostName, Generation, Vec<DesiredInstance>),
    Router(FabricName, Generation, Box<ServiceRoutes>),
}

pub(crate) fn orders(seen: &Seen, model: &Model) -> Orders {
    let seen: BTreeMap<InstanceName, InstanceReport> = seen
        .hosts
        .values()
        .flat_map(|host| &host.instances)
        .map(|it| (it.instance.clone(), it.clone()))
        .collect();
    let hosts: Vec<HostName> = model.hosts.keys().cloned().collect();
    compose(Composition {
        services: &model.services,
        fabrics: &model.fabrics,
        hosts: &hosts,
        desired: &model.desired(),
        seen: &seen,
        capacity: &BTreeMap::new(),
    })
}

impl RolloutWorld {
    /// A new leader; whoever led before is not told.
    pub(crate) fn lead(&mut self) {
        self.append_plain(leader_stream(), "runtime.led", "{}".to_owned());
        let stream = leader_stream();
        let epoch = self.ledger.version(&stream);
        let version = self.ledger.version(&change_stream(&self.change));
        let seen = Inbox::Seen {
            change: self.change.clone(),
            version,
        };
        let forgets = version == 0 || (epoch > 1 && self.planted == Planted::NoRecovery);
        self.note(&format!("leader {epoch}"));
        for old in &mut self.leaders {
            if self.rng.random_range(0..2) == 0 {
                old.deaf_until = self.true_ms + 10_000;
            }
        }
        let leadership = Expected {
            stream,
            version: epoch,
        };
        let codecs = Codecs::new().with::<Rollout>();
        let model = self.catalog();
        self.leaders.push(Leader {
            epoch,
            runtime: Runtime::new(codecs, Actor::system(), leadership),
            model,
            inbox: (!forgets)
                .then_some((self.true_ms, seen))
                .into_iter()
                .collect(),
            questions: BTreeMap::new(),
            hosts: BTreeMap::new(),
            tables: BTreeMap::new(),
            counter: 0,
            composed: None,
            deaf_until: 0,
            began_ms: self.true_ms,
            seen: Seen::default(),
            seen_reports: 0,
        });
        self.site.reconnect(self.true_ms, &mut self.rng);
    }

    pub(crate) fn lead_on(&mut self) {
        for mut leader in std::mem::take(&mut self.leaders) {
            if self.turn(&mut leader) {
                self.leaders.push(leader);
            }
        }
        let newest = self.ledger.version(&leader_stream());
        if !self.leaders.iter().any(|leader| leader.epoch == newest) {
            self.lead();
        }
    }

    /// Whether the leader lives on.
    fn turn(&mut self, leader: &mut Leader) -> bool {
        // Whoever leads has read the whole ledger before.
        if leader.deaf_until <= self.true_ms || leader.model.seq() == 0 {
            let seq = leader.model.seq() as usize;
            for entry in self.ledger.entries.iter().skip(seq) {
                leader.model.fold(entry);
            }
        }
        if leader.seen_reports != self.site.reports {
            leader.seen_reports = self.site.reports;
            leader.seen = self.site.seen_since(leader.began_ms);
        }
        self.order(leader);
        let asked: Vec<(EffectId, Question)> =
            std::mem::take(&mut leader.questions).into_iter().collect();
        for (id, question) in asked {
            match self.answer(leader, &question) {
                Some(input) => self.tell(leader, input),
                None if self.true_ms < question.answer_by => {
                    leader.questions.insert(id, question);
                }
                None => {}
            }
        }
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut leader.inbox)
            .into_iter()
            .partition(|(at, _)| *at <= self.true_ms);
        leader.inbox = later;
        let due = due
            .into_iter()
            .map(|(_, message)| self.stamped(leader, message))
            .collect();
        let dispatches = leader.runtime.turn(self.now(), due);
        let mut alive = !leader.runtime.fenced();
        for dispatch in dispatches {
            alive = alive && self.carry_out(leader, dispatch);
        }
        alive
    }

    /// A message as it is; a bug may stamp what was seen long ago with what is looked for now.
    fn stamped(&self, leader: &Leader, message: Inbox) -> Inbox {
        let Inbox::Input { change, body } = &message else {
            return message;
        };
        if self.planted != Planted::GenerationIgnored {
            return message;
        }
        let Ok(Input::Seen {
            verified,
            drained,
            failing,
            ..
        }) = serde_json::from_str(body)
        else {
            return message;
        };
        let Some(track) = leader.model.rollouts.get(change) else {
            return message;
        };
        let generation = track.state.generation();
        let verified = Measured::observe(verified.value().clone(), self.now(), verified.source());
        let seen = Input::Seen {
            generation,
            verified,
            drained,
            failing,
        };
        Inbox::Input {
            change: change.clone(),
            body: super::json(&seen),
        }
    }

    fn carry_out(&mut self, leader: &mut Leader, dispatch: Dispatch) -> bool {
        let soon = self.true_ms + 1;
        match dispatch {
            Dispatch::Append {
                ticket,
                change,
                append,
                ..
            } => {
                let (answer, lives) = self.append(leader.epoch, &append);
                let answer = match answer {
                    Some(Ok(entries)) => Inbox::Committed { ticket, entries },
                    Some(Err(stream)) => Inbox::Conflict { ticket, stream },
                    None => Inbox::Unknown { change },
                };
                leader.inbox.push((soon, answer));
                lives
            }
            Dispatch::Read { change } => {
                let entries = self.ledger.stream(&change_stream(&change));
                leader.inbox.push((soon, Inbox::Stream { change, entries }));
                true
            }
            Dispatch::Effect { id, body, .. } => {
                match serde_json::from_str(&body) {
                    Ok(effect) => {
                        let answer_by = self.true_ms + OPEN_FOR.millis() as i64;
                        let lost = self.chance(20);
                        let times = self.asked.entry(id.clone()).or_default();
                        *times += 1;
                        if *times > 1 {
                            self.bite(Fault::DuplicateEffect);
                        }
                        if lost {
                            self.bite(Fault::LostEffect);
                        } else {
                            leader.questions.insert(id, Question { effect, answer_by });
                        }
                    }
                    Err(error) => self.violated(Invariant::Ledger, error.to_string()),
                }
                true
            }
            Dispatch::Refused { change, refusal } => {
                self.note(&format!("{change} refused: {refusal}"));
                true
            }
            Dispatch::Broken { change, error } => {
                self.violated(Invariant::Live, format!("{change}: {error}"));
                true
            }
        }
    }

    fn append(
        &mut self,
        epoch: u64,
        append: &Append,
    ) -> (Option<Result<Vec<Entry>, StreamId>>, bool) {
        let newest = self.ledger.version(&leader_stream());
        if epoch < newest {
            self.bite(Fault::StaleLeader);
        }
        let check = self.planted != Planted::NoExpectations;
        let entries = match self.ledger.append(append, check) {
            Ok(entries) => entries,
            Err(stream) => return (Some(Err(stream)), true),
        };
        self.report.commits += 1;
        if epoch < newest {
            let what = format!("leader {epoch} wrote after {newest} led");
            self.violated(Invariant::Fence, what);
        }
        self.fold(&entries);
        let dies = self.crash_at_commit == Some(self.report.commits) || self.chance(40);
        if dies {
            self.bite(Fault::CrashAfterCommit);
            return (None, false);
        }
        if self.chance(60) {
            self.bite(Fault::LostAcknowledgement);
            return (None, true);
        }
        (Some(Ok(entries)), true)
    }

    /// Orders what follows from the ledger, where it is not what was ordered last.
    fn order(&mut self, leader: &mut Leader) {
        let basis = (leader.model.seq(), self.site.reports);
        if leader.composed == Some(basis) {
            return;
        }
        leader.composed = Some(basis);
        let orders = orders(&leader.seen, &leader.model);
        let desired = leader.model.desired();
        let waited = Span::from_millis((self.true_ms - leader.began_ms).unsigned_abs());
        for (host, wanted) in orders.hosts {
            if leader.hosts.get(&host) != Some(&wanted) {
                let generation = next(leader);
                leader.hosts.insert(host.clone(), wanted.clone());
                self.send(Order::Host(host, generation, wanted));
            }
        }
        for (fabric, mut routes) in orders.fabrics {
            let Some(table) = routes.pop() else {
                continue;
            };
            let heard = is_heard(&leader.model.hosts, &fabric, &desired, &leader.seen, waited);
            if !heard && self.planted != Planted::RoutesUnheard {
                continue;
            }
            if leader.tables.get(&fabric).map(|it| &it.1) != Some(&table) {
                let generation = next(leader);
                leader
                    .tables
                    .insert(fabric.clone(), (generation, table.clone()));
                self.send(Order::Router(fabric, generation, Box::new(table)));
            }
        }
    }

    fn send(&mut self, order: Order) {
        let at = self.true_ms + self.rng.random_range(5..300);
        if self.chance(100) {
            let late = at + self.rng.random_range(500..8_000);
            self.under_way.push((late, order.clone()));
        }
        self.under_way.push((at, order));
    }

    pub(crate) fn deliver(&mut self) {
        let now = self.true_ms;
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.under_way = later;
        let fenced = self.planted != Planted::OldOrdersTaken;
        for (_, order) in due {
            let (taken, older) = match &order {
                Order::Host(name, generation, wanted) => {
                    let reached = self
                        .site
                        .hosts
                        .get(name)
                        .is_some_and(|it| it.down_until <= now);
                    if !reached {
                        // Sent again whenever the agent comes back.
                        self.under_way.push((now + 500, order.clone()));
                        continue;
                    }
                    self.site.order_host(name, *generation, wanted, fenced)
                }
                Order::Router(name, generation, table) => {
                    self.about_to_route(name, *generation, table);
                    self.site.order_router(name, *generation, table, fenced)
                }
            };
            if older {
                self.bite(Fault::LateOrder);
            }
            if older && taken {
                let what = "an order older than one that was taken took hold".to_owned();
                self.violated(Invariant::Fence, what);
            }
        }
    }

    /// Sends an input, late, and sometimes twice.
    fn tell(&mut self, leader: &mut Leader, input: Input) {
        let body = super::json(&input);
        let message = Inbox::Input {
            change: self.change.clone(),
            body,
        };
        let at = self.true_ms + self.rng.random_range(1..400);
        // Where the bug is about late answers, there are more of them.
        let late_answers = if self.planted == Planted::GenerationIgnored {
            900
        } else {
            200
        };
        if self.chance(late_answers) {
            let late = at + self.rng.random_range(100..12_000);
            self.bite(Fault::DuplicateInput);
            leader.inbox.push((late, message.clone()));
        }
        leader.inbox.push((at, message));
    }
}

fn next(leader: &mut Leader) -> Generation {
    leader.counter += 1;
    Generation {
        epoch: leader.epoch,
        counter: leader.counter,
    }
}

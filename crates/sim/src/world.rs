//! The world of one seed: leaders over a ledger, a receiver of effects, faults, and what must hold.

use std::{collections::BTreeMap, fmt::Write as _};

use mainstay_change::{EffectId, freeze, freeze::Freeze};
use mainstay_core::{
    Actor, Append, BlastRadius, Change, ChangeId, ChangeKind, Entry, Expected, NewEntry, Span,
    StreamId, Time,
    catalog::FreezeSpec,
    change::{OPENED, Plan, change_stream},
    ledger::ChainCheck,
};
use mainstay_runtime::{Codecs, Dispatch, Inbox, Runtime, leader_stream};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::{
    ledger::SimLedger,
    report::{Fault, Invariant, Planted, Report, Violation},
    walk::{self, VERDICT_WINDOW, Walk},
};

const WALK_STEPS: u32 = 40;
const FREEZE_FROM_MS: i64 = 3_000;
const FREEZE_UNTIL_MS: i64 = 33_000;
/// The wall clock strays from true time by no more than this.
const SKEW_MS: i64 = 3_000;
/// A freeze may outlast its deadline by the skew and the time a crashed leader takes to be replaced.
const UNDO_SLACK_MS: i64 = 20_000;
const FAULTY_ROUNDS: u32 = 400;
const CALM_ROUNDS: u32 = 1_500;

struct Leader {
    epoch: u64,
    runtime: Runtime,
    inbox: Vec<(i64, Inbox)>,
}

/// A world made of one seed.
pub struct World {
    rng: ChaCha8Rng,
    planted: Planted,
    crash_at_commit: Option<u32>,
    faulty: bool,
    true_ms: i64,
    skew_ms: i64,
    ledger: SimLedger,
    leaders: Vec<Leader>,
    applied: BTreeMap<EffectId, u32>,
    told: BTreeMap<String, u32>,
    frozen_since: Option<i64>,
    freeze_ended: bool,
    report: Report,
}

fn id(text: &str) -> ChangeId {
    ChangeId::new(text).expect("a constant that keeps to the rule")
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain structures serialise")
}

impl World {
    /// The world of `seed`, with a bug planted or none.
    pub fn new(seed: u64, planted: Planted) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            planted,
            crash_at_commit: None,
            faulty: true,
            true_ms: 0,
            skew_ms: 0,
            ledger: SimLedger::default(),
            leaders: Vec::new(),
            applied: BTreeMap::new(),
            told: BTreeMap::new(),
            frozen_since: None,
            freeze_ended: false,
            report: Report {
                violations: Vec::new(),
                bites: BTreeMap::new(),
                commits: 0,
                exposed_after_ms: None,
                ended: None,
                trace: String::new(),
            },
        }
    }
    /// The same world without random faults, where the leader dies right after commit `n`.
    #[must_use]
    pub fn crash_after_commit(mut self, n: u32) -> Self {
        self.crash_at_commit = Some(n);
        self.faulty = false;
        self
    }
    /// Faults for a while, then calm in which everything must end.
    pub fn run(mut self) -> Report {
        self.open_changes();
        self.lead();
        for round in 0..FAULTY_ROUNDS + CALM_ROUNDS {
            if round == FAULTY_ROUNDS {
                self.faulty = false;
                self.skew_ms = 0;
            }
            self.round();
            if !self.report.violations.is_empty() {
                return self.report;
            }
        }
        self.judge_the_end();
        self.report
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

    fn open_changes(&mut self) {
        let freeze = FreezeSpec {
            reason: "election night".to_owned(),
            from: Some(Time::from_millis(FREEZE_FROM_MS)),
            until: Some(Time::from_millis(FREEZE_UNTIL_MS)),
            services: vec![],
            exceptions: vec![],
        };
        let walk = walk::Plan { steps: WALK_STEPS };
        for (name, kind, plan_kind, body) in [
            ("freeze", ChangeKind::Freeze, "freeze", json(&freeze)),
            ("walk", ChangeKind::Rollout, "sim.walk", json(&walk)),
        ] {
            let change = Change {
                id: id(name),
                kind,
                actor: Actor::verified("ana"),
                reason: "simulated".to_owned(),
                title: name.to_owned(),
                blast_radius: BlastRadius::default(),
                emergency: None,
                opened_at: self.now(),
                deadline: None,
                plan: Plan {
                    kind: plan_kind.to_owned(),
                    schema: 1,
                    body,
                },
            };
            self.write(change.stream(), OPENED, json(&change));
        }
    }
    fn write(&mut self, stream: StreamId, kind: &str, body: String) {
        let entries = vec![NewEntry {
            stream,
            kind: kind.to_owned(),
            schema: 1,
            body,
        }];
        let append = Append {
            actor: Actor::system(),
            at: self.now(),
            expected: vec![],
            entries,
        };
        let _ = self.ledger.append(&append, true);
    }
    /// A new leader; whoever led before is not told.
    fn lead(&mut self) {
        self.write(leader_stream(), "runtime.led", "{}".to_owned());
        let stream = leader_stream();
        let epoch = self.ledger.version(&stream);
        let codecs = Codecs::new().with::<Freeze>().with::<Walk>();
        let leadership = Expected {
            stream,
            version: epoch,
        };
        let mut inbox = Vec::new();
        if epoch == 1 || self.planted != Planted::NoRecovery {
            for (stream, version) in self.ledger.streams() {
                if let Some(name) = stream.as_str().strip_prefix("change/") {
                    let change = id(name);
                    inbox.push((self.true_ms, Inbox::Seen { change, version }));
                }
            }
        }
        self.note(&format!("leader {epoch}"));
        self.leaders.push(Leader {
            epoch,
            runtime: Runtime::new(codecs, Actor::system(), leadership),
            inbox,
        });
    }

    fn round(&mut self) {
        self.true_ms += self.rng.random_range(1..200);
        if self.chance(20) {
            self.skew_ms = self.rng.random_range(-SKEW_MS..=SKEW_MS);
            self.bite(Fault::ClockJump);
        }
        if self.leaders.len() < 2 && self.chance(10) {
            self.lead();
        }
        for mut leader in std::mem::take(&mut self.leaders) {
            let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut leader.inbox)
                .into_iter()
                .partition(|(at, _)| *at <= self.true_ms);
            leader.inbox = later;
            let due = due.into_iter().map(|(_, message)| message).collect();
            let stands_still = self.planted == Planted::ClockStandsStill;
            let now = if stands_still {
                Time::from_millis(FREEZE_FROM_MS)
            } else {
                self.now()
            };
            let dispatches = leader.runtime.turn(now, due);
            let mut alive = !leader.runtime.fenced();
            for dispatch in dispatches {
                alive = alive && self.carry_out(&mut leader, dispatch);
            }
            if alive {
                self.leaders.push(leader);
            }
        }
        let newest = self.ledger.version(&leader_stream());
        if !self.leaders.iter().any(|leader| leader.epoch == newest) {
            self.lead();
        }
        if !self.freeze_ended && self.true_ms > FREEZE_UNTIL_MS + UNDO_SLACK_MS {
            self.violated(
                Invariant::Undo,
                "the freeze outlasts its deadline".to_owned(),
            );
        }
    }

    /// Whether the leader lives on.
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
                leader.inbox.push((
                    soon,
                    match answer {
                        Some(Ok(entries)) => Inbox::Committed { ticket, entries },
                        Some(Err(stream)) => Inbox::Conflict { ticket, stream },
                        None => Inbox::Unknown { change },
                    },
                ));
                lives
            }
            Dispatch::Read { change } => {
                let entries = self.ledger.stream(&change_stream(&change));
                leader.inbox.push((soon, Inbox::Stream { change, entries }));
                true
            }
            Dispatch::Effect { change, id, body } => {
                if let Some(input) = self.perform(id, &body) {
                    self.tell(leader, &change, json(&input));
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
        let written = if self.planted == Planted::AcknowledgesUnwritten {
            let mut copy = SimLedger::default();
            let known = &append.expected.last().map_or(0, |it| it.version);
            copy.append(append, false).map(|mut entries| {
                for entry in &mut entries {
                    entry.version += known;
                }
                entries
            })
        } else {
            let check = self.planted != Planted::NoExpectations;
            self.ledger.append(append, check)
        };
        let entries = match written {
            Ok(entries) => entries,
            Err(stream) => return (Some(Err(stream)), true),
        };
        self.report.commits += 1;
        if epoch < newest {
            self.violated(
                Invariant::Fence,
                format!("leader {epoch} wrote after {newest} led"),
            );
        }
        for entry in &entries {
            self.note(&format!("{} {} {}", entry.stream, entry.kind, entry.body));
            self.committed(entry);
        }
        let dies = self.crash_at_commit == Some(self.report.commits) || self.chance(60);
        if dies {
            self.bite(Fault::CrashAfterCommit);
            return (None, false);
        }
        if self.chance(80) {
            self.bite(Fault::LostAcknowledgement);
            return (None, true);
        }
        (Some(Ok(entries)), true)
    }

    fn committed(&mut self, entry: &Entry) {
        match entry.kind.as_str() {
            "freeze.event" => match serde_json::from_str(&entry.body) {
                Ok(freeze::Event::Began) => self.frozen_since = Some(self.true_ms),
                Ok(freeze::Event::Expired | freeze::Event::Lifted { .. }) => {
                    self.frozen_since = None;
                    self.freeze_ended = true;
                }
                Err(error) => self.violated(Invariant::Ledger, error.to_string()),
            },
            "sim.walk.event" => {
                // A verdict reached before the freeze may be used while it is fresh by a clock that strays.
                let slack = VERDICT_WINDOW.millis() as i64 + 2 * SKEW_MS;
                let began = matches!(
                    serde_json::from_str(&entry.body),
                    Ok(walk::Event::Began { .. })
                );
                if began
                    && self
                        .frozen_since
                        .is_some_and(|at| self.true_ms > at + slack)
                {
                    self.violated(Invariant::Guard, format!("{} in a freeze", entry.body));
                }
            }
            _ => {}
        }
    }

    /// What the receiver does with an effect, and what is then seen by somebody else.
    fn perform(&mut self, effect: EffectId, body: &str) -> Option<walk::Input> {
        match serde_json::from_str(body).ok()? {
            walk::Effect::Judge { step } => {
                let pass = self.frozen_since.is_none() || self.planted == Planted::GuardSaysYes;
                let at = self.now();
                Some(walk::Input::Verdict { step, pass, at })
            }
            walk::Effect::Act { step } => {
                let of_target = |id: &EffectId| id.target == effect.target;
                let newer = self
                    .applied
                    .keys()
                    .any(|id| of_target(id) && id.generation > effect.generation);
                let again = self.applied.contains_key(&effect);
                if again || newer {
                    self.bite(Fault::DuplicateEffect);
                }
                if (!again && !newer) || self.planted == Planted::ReceiverTakesTwice {
                    self.take_hold(effect, step);
                }
                (!newer).then_some(walk::Input::Seen { step })
            }
        }
    }

    fn take_hold(&mut self, effect: EffectId, step: u32) {
        let wanted = json(&walk::Event::Began { step });
        let stream = change_stream(&id("walk"));
        let entered = |entry: &Entry| entry.stream == stream && entry.body == wanted;
        if !self.ledger.entries.iter().any(entered) {
            self.violated(
                Invariant::Ledger,
                format!("step {step} acted without an entry"),
            );
        }
        self.note(&format!("act {step}"));
        let times = self.applied.entry(effect).or_default();
        *times += 1;
        if *times > 1 {
            self.violated(Invariant::Fence, format!("step {step} took hold twice"));
        }
    }

    /// Sends an input, late, and sometimes twice.
    fn tell(&mut self, leader: &mut Leader, change: &ChangeId, body: String) {
        let times = if self.chance(200) { 2 } else { 1 };
        for _ in 0..times {
            let at = self.true_ms + self.rng.random_range(1..600);
            let told = self.told.entry(body.clone()).or_default();
            *told += 1;
            if *told == 2 {
                self.bite(Fault::DuplicateInput);
            }
            let input = Inbox::Input {
                change: change.clone(),
                body: body.clone(),
            };
            leader.inbox.push((at, input));
        }
    }

    fn judge_the_end(&mut self) {
        let mut chain = ChainCheck::default();
        let broken = self
            .ledger
            .entries
            .iter()
            .find_map(|it| chain.step(it).err());
        if let Some(broken) = broken {
            self.violated(Invariant::Ledger, broken.to_string());
        }
        for name in ["freeze", "walk"] {
            let entries = self.ledger.stream(&change_stream(&id(name)));
            let done = |entry: &Entry| entry.body.contains("\"state\":\"done\"");
            if !entries.iter().any(done) {
                let after = Span::from_millis(self.true_ms as u64);
                self.violated(
                    Invariant::Live,
                    format!("{name} has not ended after {after}"),
                );
            }
        }
    }
}

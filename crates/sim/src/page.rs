//! The world of incidents: alerts come in, people are told until somebody acts, and channels, leaders and clocks fail.

mod check;
mod people;

use std::collections::{BTreeMap, BTreeSet};

use mainstay_change::Machine as _;
use mainstay_core::{
    ChangeId, ChangeKind, Entry, Name, Span,
    escalation::{EscalationPolicySpec, Severity, Target},
};
use mainstay_oncall::{
    escalation::{
        Policy, Recipient, Throttle,
        outbox::{Due, End, Offered, Outbox},
    },
    incident::{Ask, Effect, Incident, Input, KIND, Plan},
};
use mainstay_runtime::Codecs;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::{
    driver::{Asked, Leader, Odds, Scene, Sim, change, json, name},
    report::{Fault, Invariant},
};
use check::Watched;

/// Faults happen for so long.
const FAULTY_MS: i64 = 12 * 60_000;
/// Then everything must go as it should.
const CALM_MS: i64 = 14 * 60_000;
/// Longest step of the world.
const TICK_MS: i64 = 1_000;
/// A channel takes less than this to answer: longer than it takes for a page to be asked for again.
const CHANNEL_MS: i64 = 9_000;
/// How long pages that wait are gathered.
const GATHER_MS: i64 = 250;
/// Pages that a person gets by one channel in a minute.
const ROOM: usize = 2;

/// See the module.
pub(crate) struct PageScene {
    pub(crate) watched: BTreeMap<ChangeId, Watched>,
    /// When each of the other incidents opens.
    opens_at: Vec<i64>,
    /// Channels that take nothing now.
    dead: BTreeSet<(Name, Name)>,
    /// Nobody is on call until then.
    gap_until: i64,
    /// Who acknowledges what, and when.
    pub(crate) plans: Vec<(i64, ChangeId, Name)>,
    audited_at: i64,
}

/// What one leader has under way.
pub(crate) struct Mind {
    outbox: Outbox,
    /// Messages that went out, and when their channel answers.
    answers: Vec<(i64, Vec<Due>, End)>,
    /// When what was gathered goes out.
    gathers: Vec<(i64, Name, Name)>,
}

impl PageScene {
    pub(crate) fn new(rng: &mut ChaCha8Rng) -> Self {
        let more = rng.random_range(0..4);
        let mut opens_at: Vec<i64> = (0..more)
            .map(|_| rng.random_range(0..FAULTY_MS * 2 / 3))
            .collect();
        opens_at.sort_unstable();
        Self {
            watched: BTreeMap::new(),
            opens_at,
            dead: BTreeSet::new(),
            gap_until: i64::MIN,
            plans: Vec::new(),
            audited_at: 0,
        }
    }
}

fn policy(rng: &mut ChaCha8Rng) -> Policy {
    let second = ["team/web/lead", "schedule/web/secondary"][rng.random_range(0..2)];
    let spec: EscalationPolicySpec = serde_json::from_value(json!({
        "steps": [
            {"who": ["schedule/web/primary"], "wait": "5m"},
            {"who": [second], "wait": "2m"},
            {"who": ["person/carol", "team/web/manager"], "wait": "3m"},
        ],
        "acknowledgeBy": 1 + u32::from(rng.random_range(0..4) == 0),
        "channelWait": "1m",
        "deadlines": {"P2": {"acknowledge": "6m", "resolve": "20m"}},
        "atP0": ["team/web/manager"],
    }))
    .unwrap_or_default();
    Policy::snapshot(&name("web"), &spec)
}

impl Scene for PageScene {
    type Mind = Mind;
    const ODDS: Odds = Odds {
        jump: 10,
        usurper: 4,
        crash: 40,
        lost_acknowledgement: 50,
        repeated: 150,
        lost_answer: 50,
        late_ms: 900,
    };

    fn codecs() -> Codecs {
        Codecs::new().with::<Incident>()
    }

    fn mind(_: &mut Sim<Self>) -> Mind {
        Mind {
            outbox: Outbox::new(Throttle::new(ROOM, Span::from_secs(60))),
            answers: Vec::new(),
            gathers: Vec::new(),
        }
    }

    fn open(sim: &mut Sim<Self>) {
        sim.lead();
        sim.opens_incident();
    }

    fn pass(sim: &mut Sim<Self>) -> bool {
        sim.true_ms += sim.rng.random_range(1..TICK_MS);
        if sim.elapsed_ms() > FAULTY_MS {
            sim.calm();
            sim.scene.dead.clear();
            sim.scene.gap_until = i64::MIN;
        }
        sim.break_channels();
        while sim
            .scene
            .opens_at
            .first()
            .is_some_and(|at| *at <= sim.elapsed_ms())
        {
            sim.scene.opens_at.remove(0);
            sim.opens_incident();
        }
        // Without faults there is nothing to come back from.
        let calm = if sim.clean { 0 } else { CALM_MS };
        sim.elapsed_ms() < FAULTY_MS + calm
    }

    /// Channels answer, and what was gathered goes out.
    fn think(sim: &mut Sim<Self>, leader: &mut Leader<Mind>) {
        let now = sim.true_ms;
        let (due, later) = std::mem::take(&mut leader.mind.gathers)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        leader.mind.gathers = later;
        let due: Vec<(i64, Name, Name)> = due;
        for (_, person, channel) in due {
            let all = leader.mind.outbox.gathered(&person, &channel, sim.now());
            sim.goes_out(leader, all);
        }
        let (due, later) = std::mem::take(&mut leader.mind.answers)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        leader.mind.answers = later;
        let due: Vec<(i64, Vec<Due>, End)> = due;
        for (_, told, end) in due {
            for (incident, input) in leader.mind.outbox.ended(&told, &end) {
                sim.tell(leader, &incident, json(&input));
            }
        }
    }

    fn perform(sim: &mut Sim<Self>, leader: &mut Leader<Mind>, asked: Asked) {
        if sim.chance(40) {
            sim.bite(Fault::LostEffect);
            return;
        }
        match serde_json::from_str(&asked.body) {
            Ok(Effect::Find { cycle, step, who }) => {
                let people = who.iter().flat_map(|it| sim.who(it)).collect();
                let found = Input::Found {
                    cycle,
                    step,
                    people,
                };
                sim.tell(leader, &asked.change, json(&found));
            }
            Ok(Effect::Send(ask)) => sim.send(leader, asked.change, ask),
            Err(error) => sim.violated(Invariant::Ledger, error.to_string()),
        }
    }

    fn committed(sim: &mut Sim<Self>, entries: &[Entry]) {
        for entry in entries {
            sim.note(&format!("{} {} {}", entry.stream, entry.kind, entry.body));
            sim.happened(entry);
        }
    }

    fn after(sim: &mut Sim<Self>) {
        sim.people_act();
        sim.check_times();
        if sim.true_ms - sim.scene.audited_at > 30_000 {
            sim.scene.audited_at = sim.true_ms;
            sim.audits();
        }
    }

    fn end(sim: &mut Sim<Self>) {
        sim.check_end();
    }
}

impl Sim<PageScene> {
    fn opens_incident(&mut self) {
        let number = self.scene.watched.len();
        let id: ChangeId = name(&format!("inc-{number}"));
        let severity = Severity::ALL[self.rng.random_range(0..4)];
        let policy = policy(&mut self.rng);
        let plan = Plan::new(id.clone(), "slow", severity, policy);
        let change = change(&id, ChangeKind::Incident, KIND, json(&plan), self.now());
        self.scene
            .watched
            .insert(id, Watched::new(plan, self.true_ms));
        self.opens(&change);
        debug_assert_eq!(Incident::KIND, KIND, "one kind");
    }

    /// Who is meant now.
    fn who(&mut self, target: &Target) -> Vec<Recipient> {
        let person = match target {
            Target::Person(person) => person.as_str(),
            Target::Schedule { .. } if self.true_ms < self.scene.gap_until => return Vec::new(),
            Target::Schedule { role, .. } if role.as_str() == "primary" => "alice",
            Target::Schedule { .. } => "bob",
            Target::Team { role, .. } => role.as_ref().map_or("everybody", Name::as_str),
        };
        vec![Recipient {
            person: name(person),
            zone: "Europe/Berlin".to_owned(),
            channels: vec![name("push"), name("sms")],
        }]
    }

    /// Channels break and are mended; now and then nobody is on call.
    fn break_channels(&mut self) {
        if self.chance(8) {
            let who = ["alice", "bob", "carol", "lead", "manager"][self.rng.random_range(0..5)];
            let how = ["push", "sms"][self.rng.random_range(0..2)];
            let channel = (name(who), name(how));
            if !self.scene.dead.remove(&channel) {
                self.scene.dead.insert(channel);
            }
        }
        if self.chance(1) {
            self.scene.gap_until = self.true_ms + 120_000;
            self.bite(Fault::NobodyOnCall);
        }
    }

    fn send(&mut self, leader: &mut Leader<Mind>, incident: ChangeId, ask: Ask) {
        let (person, channel) = (ask.person.clone(), ask.channel.clone());
        let due = Due { incident, ask };
        match leader.mind.outbox.offer(&due, self.now()) {
            Offered::Send => self.goes_out(leader, vec![due]),
            Offered::Answer(input) => {
                let fault = match input {
                    Input::Held { .. } => Fault::TooManyPages,
                    _ => Fault::DuplicateEffect,
                };
                self.bite(fault);
                self.tell(leader, &due.incident, json(&input));
            }
            Offered::Gather { is_first } => {
                if is_first {
                    let at = self.true_ms + GATHER_MS;
                    leader.mind.gathers.push((at, person, channel));
                }
            }
            Offered::Nothing => self.bite(Fault::DuplicateEffect),
        }
    }

    /// A message is handed to its channel; what comes of it is heard of later, or never.
    fn goes_out(&mut self, leader: &mut Leader<Mind>, told: Vec<Due>) {
        let Some(first) = told.first() else { return };
        let channel = (first.ask.person.clone(), first.ask.channel.clone());
        let end = if self.scene.dead.contains(&channel) {
            self.bite(Fault::DeadChannel);
            End::Refused {
                why: "unreachable".to_owned(),
                again: self.rng.random_range(0..2) == 0,
            }
        } else {
            for due in &told {
                self.received(leader.epoch, due);
            }
            if self.chance(50) {
                self.bite(Fault::SilentChannel);
                End::Refused {
                    why: "no answer".to_owned(),
                    again: true,
                }
            } else {
                End::Taken
            }
        };
        let at = self.true_ms + self.rng.random_range(1..CHANNEL_MS);
        leader.mind.answers.push((at, told, end));
    }
}

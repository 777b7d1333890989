//! The world of a freeze: it holds a change of many steps while it lasts, and ends by its deadline.

mod walk;

use std::collections::BTreeMap;

use mainstay_change::{
    EffectId, Machine as _,
    freeze::{self, Freeze},
};
use mainstay_core::{
    ChangeId, ChangeKind, Entry, Span, Time, catalog::FreezeSpec, change::change_stream,
};
use mainstay_runtime::Codecs;
use rand::RngExt;

use crate::{
    driver::{Asked, Leader, Odds, SKEW_MS, Scene, Sim, change, json, name},
    report::{Fault, Invariant, Planted},
};
use walk::{VERDICT_WINDOW, Walk};

const WALK_STEPS: u32 = 40;
const FREEZE_FROM_MS: i64 = 3_000;
const FREEZE_UNTIL_MS: i64 = 33_000;
/// A freeze may outlast its deadline by the skew and the time a crashed leader takes to be replaced.
const UNDO_SLACK_MS: i64 = 20_000;
const FAULTY_ROUNDS: u32 = 400;
const CALM_ROUNDS: u32 = 1_500;

/// A freeze, a change that it holds, and the receiver of that one's effects.
pub(crate) struct FreezeScene {
    freeze: ChangeId,
    walk: ChangeId,
    rounds: u32,
    applied: BTreeMap<EffectId, u32>,
    frozen_since: Option<i64>,
    freeze_ended: bool,
}

impl Default for FreezeScene {
    fn default() -> Self {
        Self {
            freeze: name("freeze"),
            walk: name("walk"),
            rounds: 0,
            applied: BTreeMap::new(),
            frozen_since: None,
            freeze_ended: false,
        }
    }
}

impl Scene for FreezeScene {
    type Mind = ();
    const ODDS: Odds = Odds {
        jump: 20,
        usurper: 10,
        crash: 60,
        lost_acknowledgement: 80,
        repeated: 200,
        lost_answer: 50,
        late_ms: 600,
    };

    fn codecs() -> Codecs {
        Codecs::new().with::<Freeze>().with::<Walk>()
    }

    fn mind(_: &mut Sim<Self>) {}

    fn open(sim: &mut Sim<Self>) {
        let freeze = FreezeSpec {
            reason: "election night".to_owned(),
            from: Some(sim.at(FREEZE_FROM_MS)),
            until: Some(sim.at(FREEZE_UNTIL_MS)),
            services: vec![],
            exceptions: vec![],
        };
        let walk = walk::Plan { steps: WALK_STEPS };
        for (id, of, kind, body) in [
            (
                sim.scene.freeze.clone(),
                ChangeKind::Freeze,
                Freeze::KIND,
                json(&freeze),
            ),
            (
                sim.scene.walk.clone(),
                ChangeKind::Rollout,
                Walk::KIND,
                json(&walk),
            ),
        ] {
            let change = change(&id, of, kind, body, sim.now());
            sim.opens(&change);
        }
        sim.lead();
    }

    fn pass(sim: &mut Sim<Self>) -> bool {
        sim.true_ms += sim.rng.random_range(1..200);
        sim.scene.rounds += 1;
        if sim.scene.rounds > FAULTY_ROUNDS {
            sim.calm();
        }
        sim.scene.rounds < FAULTY_ROUNDS + CALM_ROUNDS
    }

    fn think(_: &mut Sim<Self>, _: &mut Leader<()>) {}

    fn perform(sim: &mut Sim<Self>, leader: &mut Leader<()>, asked: Asked) {
        let answer = serde_json::from_str(&asked.body)
            .ok()
            .and_then(|effect| sim.received(asked.id, &effect));
        if let Some(input) = answer {
            sim.tell(leader, &asked.change, json(&input));
        }
    }

    fn committed(sim: &mut Sim<Self>, entries: &[Entry]) {
        for entry in entries {
            sim.note(&format!("{} {} {}", entry.stream, entry.kind, entry.body));
            match entry.kind.as_str() {
                "freeze.event" => sim.froze(entry),
                "sim.walk.event" => sim.walked(entry),
                _ => {}
            }
        }
    }

    fn after(sim: &mut Sim<Self>) {
        if !sim.scene.freeze_ended && sim.elapsed_ms() > FREEZE_UNTIL_MS + UNDO_SLACK_MS {
            let what = "the freeze outlasts its deadline".to_owned();
            sim.violated(Invariant::Undo, what);
        }
    }

    fn end(sim: &mut Sim<Self>) {
        for change in [sim.scene.freeze.clone(), sim.scene.walk.clone()] {
            let entries = sim.ledger.stream(&change_stream(&change));
            let done = |entry: &Entry| entry.body.contains("\"state\":\"done\"");
            if !entries.iter().any(done) {
                let after = Span::from_millis(sim.elapsed_ms().unsigned_abs());
                let what = format!("{change} has not ended after {after}");
                sim.violated(Invariant::Live, what);
            }
        }
    }
}

impl Sim<FreezeScene> {
    fn froze(&mut self, entry: &Entry) {
        match serde_json::from_str(&entry.body) {
            Ok(freeze::Event::Began) => self.scene.frozen_since = Some(self.true_ms),
            Ok(freeze::Event::Expired | freeze::Event::Lifted { .. }) => {
                self.scene.frozen_since = None;
                self.scene.freeze_ended = true;
            }
            Err(error) => self.violated(Invariant::Ledger, error.to_string()),
        }
    }

    fn walked(&mut self, entry: &Entry) {
        // A verdict reached before the freeze may be used while it is fresh by a clock that strays.
        let slack = VERDICT_WINDOW.millis() as i64 + 2 * SKEW_MS;
        let event = serde_json::from_str(&entry.body);
        let began = matches!(event, Ok(walk::Event::Began { .. }));
        let since = self.scene.frozen_since;
        if began && since.is_some_and(|at| self.true_ms > at + slack) {
            self.violated(Invariant::Guard, format!("{} in a freeze", entry.body));
        }
    }

    /// What the receiver does with an effect, and what is then seen by somebody else.
    fn received(&mut self, id: EffectId, effect: &walk::Effect) -> Option<walk::Input> {
        match *effect {
            walk::Effect::Judge { step } => {
                let frozen = self.scene.frozen_since.is_some();
                let pass = !frozen || self.planted == Planted::GuardSaysYes;
                let at: Time = self.now();
                Some(walk::Input::Verdict { step, pass, at })
            }
            walk::Effect::Act { step } => {
                let mut applied = self.scene.applied.keys();
                let newer =
                    applied.any(|it| it.target == id.target && it.generation > id.generation);
                let again = self.scene.applied.contains_key(&id);
                if again || newer {
                    self.bite(Fault::DuplicateEffect);
                }
                if (!again && !newer) || self.planted == Planted::ReceiverTakesTwice {
                    self.take_hold(id, step);
                }
                (!newer).then_some(walk::Input::Seen { step })
            }
        }
    }

    fn take_hold(&mut self, effect: EffectId, step: u32) {
        let wanted = json(&walk::Event::Began { step });
        let stream = change_stream(&self.scene.walk);
        let entered = |entry: &Entry| entry.stream == stream && entry.body == wanted;
        if !self.ledger.entries.iter().any(entered) {
            let what = format!("step {step} acted without an entry");
            self.violated(Invariant::Ledger, what);
        }
        self.note(&format!("act {step}"));
        let times = self.scene.applied.entry(effect).or_default();
        *times += 1;
        if *times > 1 {
            self.violated(Invariant::Fence, format!("step {step} took hold twice"));
        }
    }
}

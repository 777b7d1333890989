//! Limit tests: planned and opened, and what they ask for, done.
//!
//! Guarantees: what a test is told was reported by the router of its fabric; one that is silent says nothing.

pub mod seen;

use mainstay_change::Machine;
use mainstay_core::{
    Actor, Append, BlastRadius, Change, ChangeId, ChangeKind, Expected, FabricName, Measured,
    NewEntry, Outcome, ServiceName, Time, Verdict,
    catalog::Manage,
    change::{OPENED, Plan},
    ports::{Declined, No},
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::{
    Engine,
    perform::{LOOK_EVERY, OPEN_FOR, short},
    propose::{REASON_BYTES_MAX, conflict, invalid, unavailable},
};
use crate::{
    deployment::deployment_stream,
    limit::{
        Effect, Input, KIND, LimitPlan, LimitTest, State,
        plan::{HOLD_FOR, STEPS, TEST_WITHIN},
    },
    model::CLAIMED,
    moves::Verb,
    planning::refused,
};

use seen::{candidate, disturbed, fit, other, report, sample, source};

/// What is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    service: ServiceName,
    #[serde(default)]
    fabric: Option<FabricName>,
    #[serde(default)]
    reason: String,
}

impl Engine {
    /// Plans and opens a limit test.
    pub(super) async fn propose_limit(
        &self,
        actor: Actor,
        request: &str,
    ) -> Result<String, Declined> {
        let request: Request = serde_json::from_str(request)
            .map_err(|error| invalid("bad-request", error.to_string(), "see docs/api.md"))?;
        self.catch_up().await.map_err(unavailable)?;
        let now = self.now();
        let plan = self.plan_limit(&request, now)?;
        LimitTest::open(plan.clone(), now).map_err(refused)?;
        let lines = vec![
            format!(
                "{} gets {} full shares of {}'s load in {}, each held for {}",
                plan.instance,
                plan.steps
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
                plan.service,
                plan.slot.fabric,
                plan.hold_for
            ),
            format!(
                "the router gives it a full share again within 100 ms when more than {} of the last second's \
                 answers are bad, or 99 % take longer than {}",
                plan.slo.error_ratio, plan.slo.latency_p99
            ),
            "forward: freezes and guards hold it; any other change of the service ends it"
                .to_owned(),
        ];
        let (id, append) = self.opened_limit(&plan, &request, actor, now)?;
        self.begin(id, append, &lines).await
    }

    fn plan_limit(&self, request: &Request, now: Time) -> Result<LimitPlan, Declined> {
        let model = self.model();
        let service = &request.service;
        let Some(spec) = model.services.get(service) else {
            return Err(Declined::new(
                No::Unknown,
                "unknown-service",
                format!("there is no service `{service}`"),
                "list them with `mainstay get services`",
            ));
        };
        if spec.manage == Manage::Observe {
            let what = format!("{service} is only observed (`manage: observe`)");
            return Err(invalid("observed-only", what, "declare `manage: full`"));
        }
        let Some(slo) = spec.slo else {
            let what = format!("{service} declares no objective that a test could stop at");
            return Err(invalid("no-slo", what, "declare spec.slo"));
        };
        if let Some(change) = other(&model, service) {
            return Err(conflict(change));
        }
        if let Some(track) = model.testing(service) {
            return Err(conflict(&track.change));
        }
        let desired = model.desired().remove(service).unwrap_or_default();
        if let Some(fabric) = &request.fabric
            && !desired.weights.contains_key(fabric)
        {
            return Err(Declined::new(
                No::Unknown,
                "unknown-fabric",
                format!("{service} has no instances in `{fabric}`"),
                "name a fabric that it runs in",
            ));
        }
        let seen = self.0.ports.site.seen();
        let found = desired.weights.keys().find_map(|fabric| {
            let asked = request.fabric.as_ref().is_none_or(|it| it == fabric);
            asked
                .then(|| candidate(&seen, service, &desired, fabric, now))
                .flatten()
        });
        let Some(slot) = found else {
            return Err(Declined::new(
                No::Conflict,
                "no-instance",
                format!(
                    "no fabric has two instances of {service} that its router reports in rotation"
                ),
                "a test shifts load from one instance to another: wait for reports, or add an instance",
            ));
        };
        let wanted = &desired.slots[&slot];
        Ok(LimitPlan {
            instance: slot
                .instance(service)
                .map_err(|error| invalid("bad-plan", error.to_string(), "shorten its names"))?,
            service: service.clone(),
            version: wanted.version.clone(),
            incarnation: wanted.incarnation,
            slot,
            slo,
            steps: STEPS.to_vec(),
            hold_for: HOLD_FOR,
        })
    }

    fn opened_limit(
        &self,
        plan: &LimitPlan,
        request: &Request,
        actor: Actor,
        now: Time,
    ) -> Result<(ChangeId, Append), Declined> {
        let body = serde_json::to_string(plan)
            .map_err(|error| invalid("bad-plan", error.to_string(), "report this"))?;
        let change = Change {
            id: (self.0.ports.next_change_id)(),
            kind: ChangeKind::LimitTest,
            actor: actor.clone(),
            reason: request.reason.chars().take(REASON_BYTES_MAX / 4).collect(),
            title: format!("limit test of {} on {}", plan.service, plan.instance),
            blast_radius: BlastRadius {
                services: vec![plan.service.clone()],
                fabrics: vec![plan.slot.fabric.clone()],
                instances: 1,
            },
            emergency: None,
            opened_at: now,
            deadline: Some(TEST_WITHIN),
            plan: Plan {
                kind: KIND.to_owned(),
                schema: LimitTest::SCHEMA,
                body,
            },
        };
        // One change at a time begins on a service: what began meanwhile makes this one a conflict.
        let stream = deployment_stream(&plan.service);
        let versions = &self.model().deployment_versions;
        let expected = [
            (change.stream(), 0),
            (
                stream.clone(),
                versions.get(&plan.service).copied().unwrap_or(0),
            ),
        ];
        let entry = |stream, kind: &str, body: String| NewEntry {
            stream,
            kind: kind.to_owned(),
            schema: 1,
            body,
        };
        let append = Append {
            actor,
            at: now,
            expected: expected
                .map(|(stream, version)| Expected { stream, version })
                .to_vec(),
            entries: vec![
                entry(change.stream(), OPENED, json!(change).to_string()),
                entry(stream, CLAIMED, json!({ "change": change.id }).to_string()),
            ],
        };
        Ok((change.id, append))
    }

    /// Does what the limit test `change` asks for by `effect`; answers with inputs, as JSON.
    pub async fn perform_limit(&self, change: ChangeId, effect: String) -> Vec<String> {
        let input = match serde_json::from_str(&effect) {
            Ok(Effect::Ask { generation }) => self.may_step(&change, generation).await,
            Ok(Effect::Confirm { generation }) => self.confirm_share(&change, generation).await,
            Ok(Effect::Watch { generation, until }) => {
                self.watch_limit(&change, generation, until).await
            }
            Err(error) => {
                tracing::error!(%change, %error, "an effect cannot be read");
                None
            }
        };
        let text = input.map(|input| serde_json::to_string(&input)).transpose();
        text.inspect_err(|error| tracing::error!(%change, %error, "an input cannot be written"))
            .ok()
            .flatten()
            .into_iter()
            .collect()
    }

    /// The committed state of `generation`, once the read model is as far.
    async fn limit_at(&self, change: &ChangeId, generation: u64) -> Option<State> {
        let mut folded = self.0.folded.subscribe();
        let deadline = Instant::now() + OPEN_FOR;
        loop {
            if let Some(track) = self.model().limits.get(change)
                && track.state.generation() >= generation
            {
                return Some(track.state.clone()).filter(|it| it.generation() == generation);
            }
            tokio::time::timeout_at(deadline, folded.changed())
                .await
                .ok()?
                .ok()?;
        }
    }

    async fn may_step(&self, change: &ChangeId, generation: u64) -> Option<Input> {
        let state = self.limit_at(change, generation).await?;
        let plan = state.plan();
        let deadline = Instant::now() + OPEN_FOR;
        loop {
            let now = self.now();
            let mut findings = vec![self.freeze_finding(change, &plan.service, now)?];
            findings.extend(self.guard_findings(&plan.service, now).await);
            let step = format!("step {}", state.steps().len() + 1);
            let allowed = short(Verdict::new(step.clone(), now, findings));
            let disturbed = disturbed(&self.model(), plan);
            let findings = fit(&self.0.ports.site.seen(), plan, disturbed, now);
            let fit = short(Verdict::new(step, now, findings));
            let passes = |verdict: &Verdict| verdict.outcome() == Outcome::Pass;
            if passes(&allowed) || !passes(&fit) || Instant::now() + LOOK_EVERY >= deadline {
                return Some(Input::Asked {
                    generation,
                    allowed,
                    fit: Measured::observe(fit, now, source(plan)),
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether the router acts on a table that gives the instance the share that is wanted now.
    async fn confirm_share(&self, change: &ChangeId, generation: u64) -> Option<Input> {
        let state = self.limit_at(change, generation).await?;
        let plan = state.plan();
        let share = state.share();
        let deadline = Instant::now() + OPEN_FOR;
        loop {
            let at = self.with_eyes(|it| it.gives(plan, share));
            if at.is_some() || Instant::now() >= deadline {
                let applied = at.is_some();
                return Some(Input::Routed {
                    generation,
                    applied: Measured::observe(applied, at.unwrap_or(self.now()), source(plan)),
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What is seen of the instance: at once when its objective breaks or something disturbs, else at `until`.
    async fn watch_limit(&self, change: &ChangeId, generation: u64, until: Time) -> Option<Input> {
        let state = self.limit_at(change, generation).await?;
        let plan = state.plan();
        let deadline = Instant::now() + OPEN_FOR;
        loop {
            let now = self.now();
            let seen = self.0.ports.site.seen();
            let disturbed = disturbed(&self.model(), plan);
            if let Some((found, at)) = report(&seen, plan, now) {
                let sample = sample(found, plan, disturbed);
                let ended = sample.broken.is_some() || sample.disturbed.is_some();
                if ended || at >= until {
                    return Some(Input::Seen {
                        generation,
                        sample: Measured::observe(sample, at, source(plan)),
                    });
                }
            }
            // Asked again by the runtime; a silent router is told by the deadline of the hold.
            if Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// The input by which an open limit test is told `verb`; refused where it would not accept it.
pub(super) fn steer_limit(
    state: &State,
    verb: Verb,
    actor: Actor,
    reason: String,
    now: Time,
) -> Result<String, Declined> {
    let input = Input::Order {
        verb,
        actor,
        reason,
    };
    LimitTest::decide(state, now, input.clone()).map_err(refused)?;
    serde_json::to_string(&input)
        .map_err(|error| invalid("bad-request", error.to_string(), "shorten the reason"))
}

//! Orders of people and schedules: a rollout is planned and opened, or told something.

use mainstay_change::{Declared, Machine};
use mainstay_core::{
    Actor, Append, BlastRadius, Change, ChangeId, ChangeKind, Emergency, Expected, InstanceName,
    NewEntry, Outcome, Percent, ServiceName, Time, Verdict, Version,
    catalog::{Manage, RolloutPolicySpec, ServiceSpec, Strategy},
    change::{OPENED, Plan},
    ports::{Declined, LedgerError, No},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Engine, ask::steer_action, limit::steer_limit, load::Figures, lock, outlook::Outlook,
    perform::short,
};
use crate::{
    capacity::{self, Known},
    deployment::deployment_stream,
    desired::Desired,
    model::{CLAIMED, Model},
    moves::Verb,
    plan::RolloutPlan,
    planning::{self, Overrides, refused},
    rollout::{Input, KIND, Rollout},
};

/// Longest reason, in bytes.
pub(super) const REASON_BYTES_MAX: usize = 1_000;

/// What is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Request {
    service: ServiceName,
    version: Version,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    emergency: Option<Emergency>,
    #[serde(default)]
    batch: Option<Percent>,
    #[serde(default)]
    strategy: Option<Strategy>,
    #[serde(default)]
    expose: Option<Percent>,
    #[serde(default)]
    dry_run: bool,
}

impl Request {
    pub(super) fn first(service: ServiceName, version: Version) -> Self {
        Self {
            service,
            version,
            reason: "first release of a declared service".to_owned(),
            emergency: None,
            batch: None,
            strategy: None,
            expose: None,
            dry_run: false,
        }
    }
}

pub(super) fn invalid(code: &'static str, what: String, remedy: &str) -> Declined {
    Declined::new(No::Invalid, code, what, remedy)
}

impl Engine {
    /// Plans and opens a rollout.
    pub(super) async fn open_rollout(
        &self,
        request: Request,
        actor: Actor,
    ) -> Result<String, Declined> {
        self.catch_up().await.map_err(unavailable)?;
        let now = self.now();
        let (plan, lines, claimed) = self.plan(&request, &actor, now)?;
        if request.dry_run {
            return Ok(json!({ "change": null, "plan": lines }).to_string());
        }
        let change = self.change(plan, request, actor.clone(), now)?;
        let claim = NewEntry {
            stream: deployment_stream(&change.blast_radius.services[0]),
            kind: CLAIMED.to_owned(),
            schema: 1,
            body: json!({ "change": change.id }).to_string(),
        };
        let opened = NewEntry {
            stream: change.stream(),
            kind: OPENED.to_owned(),
            schema: 1,
            body: json!(change).to_string(),
        };
        let append = Append {
            actor,
            at: now,
            expected: vec![
                Expected {
                    stream: claim.stream.clone(),
                    version: claimed,
                },
                Expected {
                    stream: change.stream(),
                    version: 0,
                },
            ],
            entries: vec![opened, claim],
        };
        self.begin(change.id, append, &lines).await
    }

    /// Writes down a change that opens, unless the service began to move meanwhile.
    pub(super) async fn begin(
        &self,
        id: ChangeId,
        append: Append,
        lines: &[String],
    ) -> Result<String, Declined> {
        match self.0.ports.ledger.append(append).await {
            Ok(_) => {}
            Err(LedgerError::Conflict { .. }) => {
                return Err(Declined::new(
                    No::Conflict,
                    "rollout-open",
                    "somebody else began to move this service just now",
                    "look at it with `mainstay status`",
                ));
            }
            Err(error) => return Err(unavailable(error)),
        }
        self.catch_up().await.map_err(unavailable)?;
        Ok(json!({ "change": id, "plan": lines }).to_string())
    }

    fn change(
        &self,
        plan: RolloutPlan,
        request: Request,
        actor: Actor,
        now: Time,
    ) -> Result<Change, Declined> {
        let instances = plan.base.slots().count();
        let from = plan.from.as_ref().map_or("nothing", Version::as_str);
        let title = format!("{} {from} → {}", plan.service, plan.to);
        let body = serde_json::to_string(&plan)
            .map_err(|error| invalid("bad-plan", error.to_string(), "report this"))?;
        if body.len() + REASON_BYTES_MAX > mainstay_core::ledger::BODY_BYTES_MAX {
            return Err(invalid(
                "plan-too-large",
                format!("the plan has {} bytes", body.len()),
                "spread the service over fewer, or more regular, ranges of instances",
            ));
        }
        Ok(Change {
            id: (self.0.ports.next_change_id)(),
            kind: ChangeKind::Rollout,
            actor,
            reason: request.reason.chars().take(REASON_BYTES_MAX / 4).collect(),
            title,
            blast_radius: BlastRadius {
                services: vec![plan.service.clone()],
                fabrics: plan.base.fabrics.keys().cloned().collect(),
                instances: u32::try_from(instances).unwrap_or(u32::MAX),
            },
            emergency: request.emergency,
            opened_at: now,
            deadline: Some(plan.terms.max_evidence_wait),
            plan: Plan {
                kind: KIND.to_owned(),
                schema: Rollout::SCHEMA,
                body,
            },
        })
    }

    /// The plan, what it says to people, and the version of the service's stream it was made on.
    fn plan(
        &self,
        request: &Request,
        actor: &Actor,
        now: Time,
    ) -> Result<(RolloutPlan, Vec<String>, u64), Declined> {
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
        if let Some(track) = model.open(service) {
            return Err(conflict(&track.change));
        }
        if let Some(track) = model.replacing(service) {
            return Err(conflict(&track.change));
        }
        check_spec(service, spec, &request.version)?;
        let overrides = Overrides {
            batch: request.batch,
            strategy: request.strategy,
        };
        let policy = planning::policy(&model, spec, &overrides)?;
        let emergency = check_emergency(&policy, request.emergency.as_ref(), actor, now)?;
        let loads = lock(&self.0.loads);
        let figures = Figures::new(&loads, emergency.as_ref(), now);
        let mut plan = planning::plan(&model, service, spec, &request.version, &policy, now)?;
        plan.emergency.clone_from(&request.emergency);
        plan.terms.expose = exposed(request, &plan)?;
        if request.batch.is_some() {
            self.check_batch(&model, &plan, figures, now)?;
        }
        let outlook = Outlook {
            model: &model,
            spec,
            plan: &plan,
            policy: &policy,
            figures,
        };
        outlook.enforce()?;
        let lines = outlook.lines();
        let claimed = model.deployment_versions.get(service).copied().unwrap_or(0);
        Ok((plan, lines, claimed))
    }

    /// A batch asked for by hand is held against what is measured before anything begins.
    fn check_batch(
        &self,
        model: &Model,
        plan: &RolloutPlan,
        figures: Figures<'_>,
        now: Time,
    ) -> Result<(), Declined> {
        let Some(spec) = model.services.get(&plan.service) else {
            return Ok(());
        };
        let seen = self.0.ports.site.seen();
        let desired = Desired::from(&plan.base);
        let versions = plan.from.iter().cloned().chain([plan.to.clone()]);
        let carries = figures.carries(&plan.service, spec, &model.tested, versions);
        let mut findings = Vec::new();
        for fabric in plan.base.fabrics.keys() {
            let known = Known {
                service: &plan.service,
                spec,
                fabric,
                desired: &desired,
                hosts: &model.hosts,
                seen: &seen,
                demand_upper_rps: figures.demand_upper(&plan.service, fabric),
                carries: &carries,
                leased_rps: 0.0,
            };
            let names: Vec<InstanceName> = plan
                .base
                .slots()
                .filter(|it| it.slot.fabric == *fabric)
                .filter_map(|it| it.slot.instance(&plan.service).ok())
                .collect();
            let count = (plan.terms.batch.fraction() * names.len() as f64).floor() as usize;
            let taken = &names[..count.min(names.len())];
            findings.push(capacity::arithmetic(known, taken, now).finding());
        }
        findings.extend(figures.stated());
        let verdict = short(Verdict::new(
            format!("batch {}", plan.terms.batch),
            now,
            findings,
        ));
        if verdict.outcome() == mainstay_core::Outcome::Pass {
            return Ok(());
        }
        let mut declined = Declined::new(
            No::Denied,
            "batch-denied",
            verdict.sentence(),
            "leave the batch to what is measured, or add capacity",
        );
        declined.verdict = Some(Box::new(verdict));
        Err(declined)
    }

    /// Plans and opens what `kind` names.
    pub async fn propose(
        &self,
        kind: &str,
        actor: Actor,
        request: &str,
    ) -> Result<String, Declined> {
        self.catch_up().await.map_err(unavailable)?;
        self.refuse_observed(request)?;
        if kind == crate::limit::KIND {
            return self.propose_limit(actor, request).await;
        }
        if kind != KIND {
            // Restarts and what else is typed at three in the morning.
            return self.propose_action(kind, actor, request).await;
        }
        let request = serde_json::from_str(request)
            .map_err(|error| invalid("bad-request", error.to_string(), "see docs/api.md"))?;
        self.open_rollout(request, actor).await
    }

    /// The input by which an open rollout is told `verb`; refused where it would not accept it.
    pub async fn steer(
        &self,
        change: &ChangeId,
        verb: &str,
        actor: Actor,
        reason: String,
    ) -> Result<String, Declined> {
        self.catch_up().await.map_err(unavailable)?;
        let verb: Verb = serde_json::from_value(json!(verb)).map_err(|_| {
            let what = format!("`{verb}` is not pause, resume, abort, rollback or promote");
            Declined::new(No::Unknown, "unknown-verb", what, "use one of those")
        })?;
        if verb == Verb::Promote {
            self.check_freeze(change)?;
        }
        let model = self.model();
        if let Some(track) = model.actions.get(change) {
            return steer_action(&track.state, verb, actor, reason, self.now());
        }
        if let Some(track) = model.limits.get(change) {
            return steer_limit(&track.state, verb, actor, reason, self.now());
        }
        let Some(track) = model.rollouts.get(change) else {
            let what = format!("there is no rollout or action `{change}` at hand");
            return Err(Declined::new(
                No::Unknown,
                "unknown-rollout",
                what,
                "list them with `mainstay rollout history`",
            ));
        };
        let input = Input::Order {
            verb,
            actor,
            reason,
        };
        Rollout::decide(&track.state, self.now(), input.clone()).map_err(refused)?;
        serde_json::to_string(&input)
            .map_err(|error| invalid("bad-request", error.to_string(), "shorten the reason"))
    }

    /// A person's word stands in for evidence, never for a freeze's end.
    fn check_freeze(&self, change: &ChangeId) -> Result<(), Declined> {
        let service = self.model().service_of(change).cloned();
        let finding = service.and_then(|it| self.freeze_finding(change, &it, self.now()));
        match finding.filter(|it| it.outcome != Outcome::Pass) {
            None => Ok(()),
            Some(held) => Err(Declined::new(
                No::Denied,
                "frozen",
                format!("{}: {}", held.signal, held.value),
                &held.remedy,
            )),
        }
    }
}

/// The emergency that `change` was opened under, as the policy of `service` has it now.
pub(super) fn declared(model: &Model, service: &ServiceName, change: &Change) -> Option<Declared> {
    let emergency = change.emergency.as_ref()?;
    let spec = model.services.get(service)?;
    let policy = spec
        .policy
        .as_ref()
        .and_then(|name| model.policies.get(name))?;
    let (by, at) = (&change.actor, change.opened_at);
    Declared::new(&policy.emergencies, emergency, by, at).ok()
}

/// The emergency that is asked for, if one is, as `policy` has it.
pub(super) fn check_emergency(
    policy: &RolloutPolicySpec,
    wanted: Option<&Emergency>,
    actor: &Actor,
    now: Time,
) -> Result<Option<Declared>, Declined> {
    let declared = wanted.map(|wanted| Declared::new(&policy.emergencies, wanted, actor, now));
    declared.transpose().map_err(|error| {
        let remedy = "name an emergency of the service's policy, a reason, and who you are";
        invalid("bad-emergency", error.to_string(), remedy)
    })
}

/// One change at a time moves the processes of a service.
pub(super) fn conflict(open: &Change) -> Declined {
    Declined::new(
        No::Conflict,
        "rollout-open",
        format!("{} ({}) is under way", open.title, open.id),
        "wait until it has ended, or abort it",
    )
}

pub(super) fn unavailable(error: LedgerError) -> Declined {
    Declined::new(
        No::Unavailable,
        "ledger-unavailable",
        error.to_string(),
        "see the server's log",
    )
}

/// The share that is asked for, where the new version comes in place of another one, instance by instance.
fn exposed(request: &Request, plan: &RolloutPlan) -> Result<Option<Percent>, Declined> {
    let in_place = plan.terms.strategy == Strategy::Canary && plan.from.is_some();
    if request.expose.is_some() && !in_place {
        return Err(invalid(
            "bad-request",
            "a share to stop at is for rollouts in place".to_owned(),
            "leave expose out: a second set and a first release are taken back by the routes alone",
        ));
    }
    Ok(request.expose)
}

fn check_spec(
    service: &ServiceName,
    spec: &ServiceSpec,
    version: &Version,
) -> Result<(), Declined> {
    if spec.manage == Manage::Observe {
        return Err(invalid(
            "observed-only",
            format!("{service} is only observed (`manage: observe`)"),
            "declare `manage: full` and what to run",
        ));
    }
    let Some(run) = &spec.run else {
        return Err(invalid(
            "nothing-to-run",
            format!("{service} declares nothing to run"),
            "declare spec.run.artifacts",
        ));
    };
    let folder = std::path::Path::new(&run.artifacts);
    let artifact = folder.join(version.as_str()).join("run");
    // Seen from here only where server and hosts share the folder; elsewhere the agents say it.
    if folder.is_dir() && !artifact.is_file() {
        return Err(invalid(
            "artifact-missing",
            format!("there is no artifact {}", artifact.display()),
            "put the version there, or name another",
        ));
    }
    Ok(())
}

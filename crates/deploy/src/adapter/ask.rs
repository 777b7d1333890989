//! Orders of people: a restart, drain, kill or shed is planned and opened, or told something.
//!
//! Guarantees: which way an action leads follows from what is measured, never from what is asked; one change at
//! a time replaces processes of a service. Never acts: that follows from the ledger.

use mainstay_change::{Direction, Machine};
use mainstay_core::{
    Actor, Append, BlastRadius, Change, Emergency, Expected, FabricName, InstanceName, NewEntry,
    Percent, ServiceName, Span, Time,
    catalog::{Manage, RolloutPolicySpec, ServiceSpec},
    change::{OPENED, Plan},
    ports::{Declined, No},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Engine,
    propose::{REASON_BYTES_MAX, check_emergency, conflict, invalid, unavailable},
};
use crate::{
    action::{
        self, Action, ActionPlan, Input, Task, percent,
        plan::{DRAINED_FOR, HELD_FOR_MAX, SHED_FOR},
    },
    deployment::{Deployment, deployment_stream},
    model::{CLAIMED, Model},
    moves::Verb,
    plan::{ALL, Terms},
    planning::refused,
    scaling,
    slots::Slots,
};

/// Reasons printed with a plan.
const WHYS_MAX: usize = 4;

/// What is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    #[serde(default)]
    instance: Option<InstanceName>,
    #[serde(default)]
    service: Option<ServiceName>,
    #[serde(default)]
    fabric: Option<FabricName>,
    #[serde(default)]
    percent: Option<Percent>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    emergency: Option<Emergency>,
    #[serde(default, rename = "for")]
    lasts: Option<Span>,
}

/// A plan, what it says to people, and the version of the service's stream that it claims.
pub(super) struct Planned {
    pub(super) plan: ActionPlan,
    pub(super) lines: Vec<String>,
    pub(super) title: String,
    pub(super) reason: String,
    pub(super) claims: Option<u64>,
}

fn task_of(kind: &str, request: &Request) -> Result<Task, Declined> {
    let task = match kind {
        "restart" => Task::Restart,
        "kill" => Task::Kill,
        "drain" => Task::Drain,
        "shed" => {
            let Some(share) = request.percent else {
                let what = "a shed needs a share, such as `\"percent\": \"10%\"`".to_owned();
                return Err(invalid("bad-request", what, "say how much to refuse"));
            };
            let share = (share.get() * 100.0).round() as u32;
            if !(1..=ALL).contains(&share) {
                let what = format!("{} is no share to refuse", percent(share));
                let remedy = "name more than 0 % and at most 100 %; to end it, resume its change";
                return Err(invalid("bad-share", what, remedy));
            }
            Task::Shed { share }
        }
        _ => {
            return Err(Declined::new(
                No::Unknown,
                "unknown-action",
                format!("there is no action `{kind}`"),
                "use `rollout`, `restart`, `drain`, `kill`, `shed` or `limit-test`",
            ));
        }
    };
    if request.percent.is_some() && !matches!(task, Task::Shed { .. }) {
        let what = format!("a {kind} takes no percent");
        return Err(invalid("bad-request", what, "leave it out"));
    }
    Ok(task)
}

/// The service that is meant, and the one instance, if one is named.
fn subject(model: &Model, request: &Request) -> Result<(ServiceName, Option<Slots>), Declined> {
    match (&request.instance, &request.service) {
        (Some(name), None) if request.fabric.is_none() => {
            for (service, desired) in model.desired() {
                let mut slots = desired.slots.keys();
                let is_it = |it: &&crate::Slot| it.instance(&service).is_ok_and(|it| it == *name);
                if let Some(slot) = slots.find(is_it) {
                    return Ok((service.clone(), Some([slot.clone()].into_iter().collect())));
                }
            }
            Err(Declined::new(
                No::Unknown,
                "unknown-instance",
                format!("there is no instance `{name}`"),
                "list them with `mainstay get instances`",
            ))
        }
        (None, Some(service)) => Ok((service.clone(), None)),
        (Some(_), _) | (None, None) => Err(invalid(
            "bad-request",
            "name either an instance, or a service and perhaps a fabric".to_owned(),
            "see docs/api.md",
        )),
    }
}

fn check_spec<'a>(model: &'a Model, service: &ServiceName) -> Result<&'a ServiceSpec, Declined> {
    let Some(spec) = model.services.get(service) else {
        return Err(Declined::new(
            No::Unknown,
            "unknown-service",
            format!("there is no service `{service}`"),
            "list them with `mainstay get services`",
        ));
    };
    if spec.manage == Manage::Observe {
        return Err(invalid(
            "observed-only",
            format!("{service} is only observed (`manage: observe`)"),
            "declare `manage: full` and what to run",
        ));
    }
    Ok(spec)
}

impl Engine {
    /// Plans and opens the action `kind`.
    pub(super) async fn propose_action(
        &self,
        kind: &str,
        actor: Actor,
        request: &str,
    ) -> Result<String, Declined> {
        // The name is wrong before what is said about it can be.
        let request = serde_json::from_str::<Request>(request)
            .map_err(|error| invalid("bad-request", error.to_string(), "see docs/api.md"));
        let request = match request {
            Ok(request) => request,
            Err(declined) => {
                let known = ["restart", "kill", "drain", "shed"].contains(&kind);
                let blank = serde_json::from_str::<Request>("{}").map_err(|_| declined.clone())?;
                return Err(if known {
                    declined
                } else {
                    task_of(kind, &blank).err().unwrap_or(declined)
                });
            }
        };
        self.catch_up().await.map_err(unavailable)?;
        let now = self.now();
        let task = task_of(kind, &request)?;
        let planned = self.plan_action(task, &request, &actor, now)?;
        let lines = planned.lines.clone();
        let (id, append) = self.opened(planned, actor, now)?;
        self.begin(id, append, &lines).await
    }

    fn plan_action(
        &self,
        task: Task,
        request: &Request,
        actor: &Actor,
        now: Time,
    ) -> Result<Planned, Declined> {
        let model = self.model();
        let (service, one) = subject(&model, request)?;
        let spec = check_spec(&model, &service)?;
        let beside = task.replaces() && model.open(&service).is_some();
        let Some(base) = model.running(&service, beside) else {
            return Err(Declined::new(
                No::Conflict,
                "nothing-runs",
                format!("{service} runs nothing yet"),
                "wait for its first release, or start one with `mainstay rollout start`",
            ));
        };
        let targets = targets(&base, task, request, one)?;
        let dead = self.all_dead(&service, &targets, now);
        exclusive(&model, &service, task, dead.is_some())?;
        let direction = match (task, &dead) {
            (Task::Drain | Task::Shed { .. }, _) | (Task::Restart | Task::Kill, Some(_)) => {
                Direction::Restoring
            }
            (Task::Restart | Task::Kill, None) | (Task::Scale { .. }, _) => Direction::Forward,
        };
        let policy = policy(&model, spec);
        let emergency = check_emergency(&policy, request.emergency.as_ref(), actor, now)?;
        let stated = emergency.as_ref().and_then(|it| it.stated(now));
        if let (Some(stated), Task::Shed { .. }) = (&stated, task) {
            let what = format!(
                "a shed counts no capacity, and so not with {}",
                stated.value
            );
            return Err(invalid("bad-emergency", what, "leave what is stated out"));
        }
        let fabrics: Vec<FabricName> = base
            .fabrics
            .keys()
            .filter(|fabric| match &request.fabric {
                Some(only) => only == *fabric,
                None => matches!(task, Task::Shed { .. }) || targets.of(fabric).next().is_some(),
            })
            .cloned()
            .collect();
        let terms = Terms::of(&policy, spec);
        let plan = ActionPlan {
            lasts: lasts(task, request)?,
            service: service.clone(),
            task,
            direction,
            targets,
            added: Slots::default(),
            fabrics,
            base,
            beside,
            batch: terms.batch,
            verify_within: terms.verify_within,
            drain_within: terms.drain_within,
            emergency: request.emergency.clone(),
        };
        Action::open(plan.clone(), now).map_err(refused)?;
        let claims = task.replaces() && !beside;
        Ok(Planned {
            title: title(&plan, request),
            reason: request.reason.clone(),
            lines: lines(&plan, dead.as_deref())
                .into_iter()
                .chain(stated.map(|it| it.value))
                .collect(),
            claims: claims.then(|| {
                model
                    .deployment_versions
                    .get(&service)
                    .copied()
                    .unwrap_or(0)
            }),
            plan,
        })
    }

    pub(super) fn opened(
        &self,
        planned: Planned,
        actor: Actor,
        now: Time,
    ) -> Result<(mainstay_core::ChangeId, Append), Declined> {
        let Planned {
            plan,
            title,
            reason,
            claims,
            ..
        } = planned;
        let body = serde_json::to_string(&plan)
            .map_err(|error| invalid("bad-plan", error.to_string(), "report this"))?;
        if body.len() + REASON_BYTES_MAX > mainstay_core::ledger::BODY_BYTES_MAX {
            return Err(invalid(
                "plan-too-large",
                format!("the plan has {} bytes", body.len()),
                "name one fabric, or one instance",
            ));
        }
        let change = Change {
            id: (self.0.ports.next_change_id)(),
            kind: plan.task.kind(),
            actor: actor.clone(),
            reason: reason.chars().take(REASON_BYTES_MAX / 4).collect(),
            title,
            blast_radius: BlastRadius {
                services: vec![plan.service.clone()],
                fabrics: plan.fabrics.clone(),
                instances: u32::try_from(plan.targets.len() + plan.added.len()).unwrap_or(u32::MAX),
            },
            emergency: plan.emergency.clone(),
            opened_at: now,
            deadline: Some(if plan.task.replaces() {
                action::GRANT_WITHIN
            } else {
                plan.lasts
            }),
            plan: Plan {
                kind: action::KIND.to_owned(),
                schema: Action::SCHEMA,
                body,
            },
        };
        let entry = |stream, kind: &str, body: String| NewEntry {
            stream,
            kind: kind.to_owned(),
            schema: 1,
            body,
        };
        let mut entries = vec![entry(change.stream(), OPENED, json!(change).to_string())];
        let mut expected = vec![Expected {
            stream: change.stream(),
            version: 0,
        }];
        if let Some(version) = claims {
            let stream = deployment_stream(&plan.service);
            let body = json!({ "change": change.id }).to_string();
            entries.push(entry(stream.clone(), CLAIMED, body));
            expected.push(Expected { stream, version });
        }
        let append = Append {
            actor,
            at: now,
            expected,
            entries,
        };
        Ok((change.id, append))
    }
}

/// The input by which an open action is told `verb`; refused where it would not accept it.
pub(super) fn steer_action(
    state: &action::State,
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
    Action::decide(state, now, input.clone()).map_err(refused)?;
    serde_json::to_string(&input)
        .map_err(|error| invalid("bad-request", error.to_string(), "shorten the reason"))
}

/// One change at a time replaces processes of a service; shedding goes beside any, and so does killing what
/// is measured dead beside a rollout.
fn exclusive(model: &Model, service: &ServiceName, task: Task, dead: bool) -> Result<(), Declined> {
    let (sheds, kills) = match task {
        Task::Shed { .. } => (true, false),
        Task::Kill => (false, dead),
        Task::Restart | Task::Scale { .. } | Task::Drain => (false, false),
    };
    if sheds {
        return Ok(());
    }
    if let Some(track) = model.replacing(service) {
        return Err(conflict(&track.change));
    }
    match model.open(service) {
        Some(track) if !kills => Err(conflict(&track.change)),
        Some(_) | None => Ok(()),
    }
}

fn targets(
    base: &Deployment,
    task: Task,
    request: &Request,
    one: Option<Slots>,
) -> Result<Slots, Declined> {
    if let Some(fabric) = &request.fabric
        && !base.fabrics.contains_key(fabric)
    {
        return Err(Declined::new(
            No::Unknown,
            "unknown-fabric",
            format!("it has no instances in `{fabric}`"),
            "name a fabric that it runs in",
        ));
    }
    match (task, one) {
        (Task::Shed { .. }, Some(_)) => Err(invalid(
            "bad-request",
            "a shed is about a service, not an instance".to_owned(),
            "name the service; to take load off one instance, drain it",
        )),
        (Task::Shed { .. }, None) => Ok(Slots::default()),
        (Task::Restart | Task::Kill | Task::Scale { .. } | Task::Drain, Some(one)) => Ok(one),
        (Task::Restart | Task::Kill | Task::Scale { .. } | Task::Drain, None) => Ok(base
            .slots()
            .map(|it| it.slot)
            .filter(|slot| request.fabric.as_ref().is_none_or(|it| *it == slot.fabric))
            .collect()),
    }
}

fn lasts(task: Task, request: &Request) -> Result<Span, Declined> {
    let default = match task {
        Task::Drain => DRAINED_FOR,
        Task::Shed { .. } => SHED_FOR,
        Task::Restart | Task::Kill | Task::Scale { .. } => Span::ZERO,
    };
    match request.lasts {
        None => Ok(default),
        Some(span) if !task.replaces() && span > Span::ZERO && span <= HELD_FOR_MAX => Ok(span),
        Some(span) => Err(invalid(
            "bad-request",
            format!("`for` is {span}"),
            "only a drain or a shed lasts, for more than nothing and at most a day",
        )),
    }
}

fn policy(model: &Model, spec: &ServiceSpec) -> RolloutPolicySpec {
    let named = spec.policy.as_ref();
    named
        .and_then(|name| model.policies.get(name))
        .cloned()
        .unwrap_or_default()
}

fn title(plan: &ActionPlan, request: &Request) -> String {
    let whom = request
        .instance
        .as_ref()
        .map_or_else(|| plan.service.to_string(), ToString::to_string);
    let fabric = request
        .fabric
        .as_ref()
        .map_or_else(String::new, |it| format!(" in {it}"));
    match plan.task {
        Task::Restart => format!("restart {whom}{fabric}"),
        Task::Kill => format!("kill {whom}{fabric}"),
        Task::Scale { .. } => format!("scale {whom}: {}", scaling::words(plan)),
        Task::Drain => format!("drain {whom}{fabric}"),
        Task::Shed { share } => format!("shed {} of {whom}{fabric}", percent(share)),
    }
}

/// The plan for people.
fn lines(plan: &ActionPlan, dead: Option<&[String]>) -> Vec<String> {
    let fabrics: Vec<String> = plan.fabrics.iter().map(ToString::to_string).collect();
    let fabrics = fabrics.join(", ");
    let count = plan.targets.len();
    let mut lines = vec![match plan.task {
        Task::Restart | Task::Kill => format!(
            "{count} processes of {} in {fabrics} replaced by the same version, as measured capacity allows",
            plan.service
        ),
        Task::Scale { .. } => scaling::words(plan),
        Task::Drain => format!(
            "{count} instances of {} in {fabrics} out of the routes for at most {}",
            plan.service, plan.lasts
        ),
        Task::Shed { share } => format!(
            "{} of the requests to {} in {fabrics} refused for at most {}",
            percent(share),
            plan.service,
            plan.lasts
        ),
    }];
    lines.push(match (plan.direction, dead) {
        (Direction::Forward, _) => {
            "forward: freezes and guards hold it, and so does capacity".to_owned()
        }
        (Direction::Restoring, Some(dead)) => {
            let shown: Vec<&str> = dead.iter().take(WHYS_MAX).map(String::as_str).collect();
            format!(
                "restoring, because measured dead: {}; capacity alone holds it",
                shown.join("; ")
            )
        }
        (Direction::Restoring, None) => "restoring: capacity alone holds it".to_owned(),
    });
    lines
}

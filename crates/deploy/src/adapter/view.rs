//! Live views: instances, rollouts, status.
//!
//! Guarantees: every number was reported or counted; what is not known is `null`.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{
    ChangeId, FabricName, HostName, InstanceName, Outcome, ServiceName, Time, Version,
    catalog::Manage, resource::API_VERSION,
};
use mainstay_wire::{
    agent::{Found, InstanceReport},
    router::BackendReport,
};
use serde_json::{Value, json};

use super::{Engine, lock};
use crate::{
    action,
    capacity::{self, Known},
    desired::{Desired, Wanted},
    limit,
    model::{Batch, Track},
    site::{Seen, SeenHost},
    slots::{Slot, Slots},
};

/// Most rollouts in one answer.
const ROLLOUTS_MAX: usize = 200;

impl Engine {
    /// A view as JSON; `None` where there is none, or nothing under `key`.
    pub fn view(&self, name: &str, key: Option<&str>) -> Option<String> {
        let value = match (name, key) {
            ("instances", None) => Value::Array(self.instances()),
            ("instances", Some(key)) => {
                let mut all = self.instances().into_iter();
                all.find(|it| it["metadata"]["name"] == *key)?
            }
            ("rollouts", None) => {
                let model = self.model();
                let all = model.newest_first();
                all.into_iter().take(ROLLOUTS_MAX).map(rollout).collect()
            }
            ("rollouts", Some(key)) => {
                let model = self.model();
                let of = |id: &ChangeId| id.as_str() == key;
                let track = model.rollouts.values().find(|it| of(&it.change.id));
                match track {
                    Some(track) => rollout(track),
                    // Whoever follows a change need not know its kind.
                    None => one_action(&model, key)?,
                }
            }
            ("actions", None) => {
                let model = self.model();
                let limits = model.newest_limits().into_iter().map(limit_test);
                let actions = model.newest_actions().into_iter().map(action);
                let mut all: Vec<Value> = limits.chain(actions).collect();
                all.sort_by_key(|it| std::cmp::Reverse(it["openedAt"].as_i64()));
                all.truncate(ROLLOUTS_MAX);
                Value::Array(all)
            }
            ("actions", Some(key)) => {
                let model = self.model();
                one_action(&model, key)?
            }
            ("shadow", None) => Value::Array(self.shadows()),
            ("shadow", Some(key)) => {
                let mut all = self.shadows().into_iter();
                all.find(|it| it["service"] == *key)?
            }
            ("status", None) => self.status(),
            _ => return None,
        };
        Some(value.to_string())
    }

    /// Every instance that should run, with its service and its fabric.
    pub fn wanted_instances(&self) -> Vec<(InstanceName, ServiceName, FabricName)> {
        let model = self.model();
        let mut all = Vec::new();
        for (service, desired) in model.desired() {
            // A slot whose name is none was refused when it was planned.
            let named = desired.slots.keys().filter_map(|slot| {
                let name = slot.instance(&service).ok()?;
                Some((name, service.clone(), slot.fabric.clone()))
            });
            all.extend(named);
        }
        all
    }

    fn instances(&self) -> Vec<Value> {
        let seen = self.0.ports.site.seen();
        let model = self.model();
        let mut all = Vec::new();
        for (service, desired) in model.desired() {
            for (slot, wanted) in &desired.slots {
                all.push(instance(&service, slot, wanted, &seen));
            }
        }
        for (host, it) in &seen.hosts {
            let fabric = model.hosts.get(host).map(|it| &it.fabric);
            let is_observed = |it: &&Found| {
                let spec = model.services.get(&it.service);
                spec.is_some_and(|spec| spec.manage == Manage::Observe)
            };
            let found = it.found.iter().filter(is_observed);
            all.extend(found.map(|found| adopted(host, fabric, it, found)));
        }
        all
    }

    fn status(&self) -> Value {
        let now = self.now();
        let seen = self.0.ports.site.seen();
        let model = self.model();
        let rollouts = model.newest_first().into_iter();
        let actions = model.newest_actions().into_iter();
        let limits = model.newest_limits().into_iter();
        let open: Vec<Value> = (rollouts.filter(|it| it.ended_at.is_none()).map(rollout))
            .chain(actions.filter(|it| it.ended_at.is_none()).map(action))
            .chain(limits.filter(|it| it.ended_at.is_none()).map(limit_test))
            .collect();
        let desired = model.desired();
        let blocked = self.blocked(&model, &desired, &seen, now);
        let looked = Looked {
            model: &model,
            seen: &seen,
            now,
        };
        let services: Vec<Value> = desired
            .iter()
            .flat_map(|(service, desired)| {
                let fabrics = desired.weights.keys();
                fabrics.filter_map(|fabric| self.service_row(looked, service, desired, fabric))
            })
            .collect();
        // One that reports without being declared is shown too: somebody forgot to declare it.
        let hosts: BTreeSet<&HostName> = model.hosts.keys().chain(seen.hosts.keys()).collect();
        let hosts: Vec<Value> = hosts
            .into_iter()
            .map(|name| {
                let it = seen.hosts.get(name);
                json!({
                    "name": name,
                    "declared": model.hosts.contains_key(name),
                    "connected": it.is_some_and(|it| it.is_fresh(now)),
                    "reportedAt": it.map(|it| it.received_at),
                })
            })
            .collect();
        // A fabric that listens nowhere has no router to miss.
        let routed = model.fabrics.iter().filter(|(_, it)| it.listen.is_some());
        let routed = routed.map(|(name, _)| name);
        let fabrics: BTreeSet<&FabricName> = routed.chain(seen.fabrics.keys()).collect();
        let routers: Vec<Value> = fabrics
            .into_iter()
            .map(|fabric| {
                let it = seen.fabrics.get(fabric);
                json!({
                    "fabric": fabric,
                    "declared": model.fabrics.contains_key(fabric),
                    "connected": it.is_some_and(|it| it.is_fresh(now)),
                    "reportedAt": it.map(|it| it.received_at),
                    "hoarder": it.and_then(|it| it.hoarder.clone()),
                })
            })
            .collect();
        json!({
            "blocked": blocked,
            "changes": open,
            "services": services,
            "hosts": hosts,
            "routers": routers,
            "observed": self.shadows(),
        })
    }

    fn service_row(
        &self,
        looked: Looked<'_>,
        service: &ServiceName,
        desired: &Desired,
        fabric: &FabricName,
    ) -> Option<Value> {
        let Looked { model, seen, now } = looked;
        let spec = model.services.get(service)?;
        let slots = || {
            desired
                .slots
                .iter()
                .filter(|(slot, _)| slot.fabric == *fabric)
        };
        let backends: Vec<(&BackendReport, bool)> = slots()
            .filter_map(|(slot, wanted)| {
                let name = slot.instance(service).ok()?;
                let backend = seen.backend(fabric, service, name.as_str())?;
                Some((backend, backend.in_rotation && !wanted.draining))
            })
            .collect();
        let loads = lock(&self.0.loads);
        let versions: Vec<Version> = slots().map(|(_, it)| it.version.clone()).collect();
        let carries = loads.carries(service, spec, &model.tested, versions);
        let known = Known {
            service,
            spec,
            fabric,
            desired,
            hosts: &model.hosts,
            seen,
            demand_upper_rps: loads.demand_upper(service, fabric),
            carries: &carries,
            leased_rps: 0.0,
        };
        let good: f64 = backends.iter().map(|(it, _)| it.goodput_rps).sum();
        let bad: f64 = backends.iter().map(|(it, _)| it.bad_rps).sum();
        Some(json!({
            "name": service,
            "fabric": fabric,
            "instances": slots().count(),
            "serving": backends.iter().filter(|(it, _)| it.goodput_rps > 0.0).count(),
            "inRotation": backends.iter().filter(|(_, in_rotation)| *in_rotation).count(),
            "version": desired.weights.get(fabric).map(versions_of),
            "demandRps": loads.demand(service, fabric),
            "capacityRps": capacity::carried_rps(known, now),
            "errorRatio": (good + bad > 0.0).then(|| bad / (good + bad)),
            // Of percentiles no other can be made: it is that of the slowest instance.
            "worstP99Ms": backends.iter().filter_map(|(it, _)| it.p99_ms).reduce(f64::max),
        }))
    }
}

/// What one answer is made from.
#[derive(Clone, Copy)]
struct Looked<'a> {
    model: &'a crate::Model,
    seen: &'a Seen,
    now: Time,
}

fn versions_of(weights: &BTreeMap<Version, u32>) -> String {
    let shares: Vec<String> = weights
        .iter()
        .filter(|(_, weight)| **weight > 0)
        .map(|(version, weight)| match weight {
            10_000 => version.to_string(),
            weight => format!("{version} {} %", f64::from(*weight) / 100.0),
        })
        .collect();
    shares.join(", ")
}

fn instance(service: &ServiceName, slot: &Slot, wanted: &Wanted, seen: &Seen) -> Value {
    let name = slot
        .instance(service)
        .map(|it| it.to_string())
        .unwrap_or_default();
    let host = seen.instance(&name);
    let report: Option<&InstanceReport> = host.map(|(_, report)| report);
    let process = report.and_then(|it| it.process.as_ref());
    let backend = seen.backend(&slot.fabric, service, &name);
    json!({
        "apiVersion": API_VERSION,
        "kind": "Instance",
        "metadata": { "name": name },
        "spec": {
            "service": service,
            "fabric": slot.fabric,
            "host": wanted.host,
            "version": wanted.version,
            "incarnation": wanted.incarnation,
        },
        "status": {
            "state": report.map(|it| json!(it.state)["state"].clone()),
            "claimed": backend.map(|it| it.claimed),
            "measured": backend.map(|it| it.measured),
            "verdict": backend.map(|it| it.verdict),
            "evidence": backend.map(|it| it.evidence.clone()),
            "inRotation": backend.map(|it| it.in_rotation && !wanted.draining),
            "version": report.map(|it| it.version.clone()),
            "pid": process.map(|it| it.pid),
            "startedAt": process.map(|it| it.started_at),
            "exeSha256": process.map(|it| it.exe_sha256.clone()),
            "port": report.and_then(|it| it.port),
            "rssBytes": process.map(|it| it.rss_bytes),
            "openFiles": process.map(|it| it.open_files),
            "goodputRps": backend.map(|it| it.goodput_rps),
            "badRps": backend.map(|it| it.bad_rps),
            "inFlight": backend.map(|it| it.in_flight),
            "seenVersion": backend.and_then(|it| it.seen_version.clone()),
            "killedLast": report.map(|it| it.killed_last),
            "reportedAt": host.map(|(host, _)| host.received_at),
        },
    })
}

/// A process that Mainstay did not start, as an instance: what its callers get of it alone nobody measured.
fn adopted(
    host: &HostName,
    fabric: Option<&FabricName>,
    reported: &SeenHost,
    found: &Found,
) -> Value {
    let process = &found.process;
    let listens = found.port.is_none() || process.listening_port.is_some();
    json!({
        "apiVersion": API_VERSION,
        "kind": "Instance",
        "metadata": { "name": format!("{}-{host}-{}", found.service, process.pid) },
        "spec": {
            "service": found.service,
            "fabric": fabric,
            "host": host,
            "manage": Manage::Observe,
        },
        "status": {
            "state": if listens { "running" } else { "starting" },
            "pid": process.pid,
            "startedAt": process.started_at,
            "executable": found.executable,
            "exeSha256": process.exe_sha256,
            "port": process.listening_port,
            "rssBytes": process.rss_bytes,
            "openFiles": process.open_files,
            "reportedAt": reported.received_at,
        },
    })
}

fn names(service: &ServiceName, slots: &Slots) -> Vec<String> {
    slots
        .iter()
        .filter_map(|slot| slot.instance(service).ok())
        .map(|name| name.to_string())
        .collect()
}

fn batches(service: &ServiceName, batches: &[Batch]) -> Value {
    let one = |batch: &Batch| {
        json!({
            "number": batch.number,
            "fabric": batch.slots.fabrics().into_iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            "instances": names(service, &batch.slots),
            "beganAt": batch.began_at,
            "verifiedAt": batch.verified_at,
            "arithmetic": batch.arithmetic,
            "restoring": batch.restoring,
        })
    };
    batches.iter().map(one).collect()
}

fn action(track: &Track<action::State>) -> Value {
    let plan = track.state.plan();
    let progress = track.state.progress();
    json!({
        "change": track.change.id,
        "kind": track.change.kind,
        "title": track.change.title,
        "service": plan.service,
        "fabrics": plan.fabrics,
        "instances": names(&plan.service, &plan.targets),
        "direction": plan.direction,
        "state": track.standing(),
        "phase": track.state.step_words(),
        "because": track.moved.because,
        "openedAt": track.change.opened_at,
        "endedAt": track.ended_at,
        "until": track.state.until(),
        "actor": track.change.actor,
        "reason": track.change.reason,
        "emergency": track.change.emergency,
        "progress": plan.task.replaces().then(|| json!({
            "total": progress.total,
            "new": progress.new,
            "verified": progress.verified,
        })),
        "killed": names(&plan.service, track.state.killed()),
        "batches": batches(&plan.service, &track.batches),
        "verdict": track.verdicts.last(),
        "verdicts": track.verdicts,
    })
}

/// The action or limit test called `key`.
fn one_action(model: &crate::Model, key: &str) -> Option<Value> {
    let of = |id: &ChangeId| id.as_str() == key;
    let found = model.actions.values().find(|it| of(&it.change.id));
    found.map(action).or_else(|| {
        let mut limits = model.limits.values();
        limits.find(|it| of(&it.change.id)).map(limit_test)
    })
}

fn limit_test(track: &Track<limit::State>) -> Value {
    let plan = track.state.plan();
    let steps = track.state.steps().iter().map(|step| {
        let sample = step.sample.as_ref();
        json!({
            "share": step.share,
            "beganAt": step.began_at,
            "endedAt": step.ended_at,
            "goodputRps": sample.map(|it| it.goodput_rps),
            "p99Ms": sample.and_then(|it| it.p99_ms),
            "broken": sample.and_then(|it| it.broken.clone()),
        })
    });
    json!({
        "change": track.change.id,
        "kind": track.change.kind,
        "title": track.change.title,
        "service": plan.service,
        "fabrics": [&plan.slot.fabric],
        "instances": [&plan.instance],
        "direction": track.state.direction(),
        "state": track.standing(),
        "phase": track.state.step_words(),
        "because": track.moved.because,
        "openedAt": track.change.opened_at,
        "endedAt": track.ended_at,
        "until": null,
        "actor": track.change.actor,
        "reason": track.change.reason,
        "emergency": null,
        "progress": null,
        "version": plan.version,
        "share": track.state.share(),
        "steps": steps.collect::<Vec<_>>(),
        "capacityRps": track.state.best(),
        "killed": [],
        "batches": [],
        "verdict": track.verdicts.last(),
        "verdicts": track.verdicts,
    })
}

fn rollout(track: &Track) -> Value {
    let plan = track.state.plan();
    let desired = track.state.desired();
    let progress = track.state.progress();
    let worst = track.verdicts.last().map(|it| json!(it));
    json!({
        "change": track.change.id,
        "service": plan.service,
        "from": plan.from,
        "to": plan.to,
        "strategy": plan.terms.strategy,
        "state": track.standing(),
        "phase": track.state.step_words(),
        "because": track.moved.because,
        "openedAt": track.change.opened_at,
        "endedAt": track.ended_at,
        "actor": track.change.actor,
        "reason": track.change.reason,
        "emergency": track.change.emergency,
        "progress": {
            "total": progress.total,
            "new": progress.new,
            "verified": progress.verified,
        },
        "weights": desired.weights,
        "batches": batches(&plan.service, &track.batches),
        "verdict": worst,
        "failed": track.verdicts.iter().any(|it| it.outcome() == Outcome::Fail),
        "verdicts": track.verdicts,
    })
}

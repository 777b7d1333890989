//! From a declared count of instances to the plan that moves there. Pure.
//!
//! Guarantees: what stays keeps its slot and its host; the highest slots go, the lowest free ones come. A declaration
//! is answered once: what a person gave up is not asked for again. Never starts a service that runs nothing: which
//! version that would be is a release's question.

use std::collections::BTreeSet;

use mainstay_change::Direction;
use mainstay_core::{
    FabricName, HostName, ServiceName, Span,
    catalog::Manage,
    ports::{Declined, InstanceCounts, No},
};

use crate::{
    action::{ActionPlan, Task},
    deployment::{Deployment, Placed},
    model::Model,
    moves,
    plan::Terms,
    planning::{self, Overrides},
    slots::{Slot, Slots},
};

/// Instances to stop and to start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Difference {
    /// Those that run and are too many.
    pub leaving: Slots,
    /// Those that are missing.
    pub missing: Slots,
}

/// What `declared` asks for beyond, or short of, what runs.
pub fn difference(runs: &Deployment, declared: &InstanceCounts) -> Difference {
    let counts = runs.counts();
    let mut found = Difference::default();
    let fabrics: BTreeSet<&FabricName> = counts.keys().chain(declared.keys()).collect();
    for fabric in fabrics {
        let of = |counts: &InstanceCounts| counts.get(fabric).copied().unwrap_or(0);
        let wanted = of(declared) as usize;
        // Most services run what they declare, and all are looked at whenever anything is written.
        if of(&counts) as usize == wanted {
            continue;
        }
        let all = runs.slots().map(|it| it.slot);
        let all: Vec<Slot> = all.filter(|slot| slot.fabric == *fabric).collect();
        found.leaving.extend(all.iter().skip(wanted).cloned());
        let missing = wanted.saturating_sub(all.len());
        found
            .missing
            .extend(moves::free(&all, fabric).take(missing));
    }
    found
}

/// The plan by which `service` comes to run as many instances as it declares; none where nothing is to be done, or
/// something else moves it now.
pub fn plan(model: &Model, service: &ServiceName) -> Result<Option<ActionPlan>, Declined> {
    let spec = model.services.get(service);
    let Some(spec) = spec.filter(|it| it.manage == Manage::Full && it.run.is_some()) else {
        return Ok(None);
    };
    let (Some(runs), Some(declaration)) =
        (model.deployments.get(service), model.declared.get(service))
    else {
        return Ok(None);
    };
    let nothing_runs = runs.slots().next().is_none();
    let moves = model.open(service).is_some() || model.replacing(service).is_some();
    if nothing_runs || moves || runs.given_up == Some(declaration.version) {
        return Ok(None);
    }
    let Difference { leaving, missing } = difference(runs, &spec.instances);
    if leaving.is_empty() && missing.is_empty() {
        return Ok(None);
    }
    let policy = planning::policy(model, spec, &Overrides::default())?;
    let terms = Terms::of(&policy, spec);
    let touched = leaving.iter().chain(missing.iter());
    let mut fabrics: Vec<FabricName> = touched.map(|slot| slot.fabric.clone()).collect();
    fabrics.sort();
    fabrics.dedup();
    Ok(Some(ActionPlan {
        service: service.clone(),
        task: Task::Scale {
            declared: declaration.version,
        },
        direction: Direction::Forward,
        base: housed(model, runs, &missing)?,
        targets: leaving,
        added: missing,
        fabrics,
        beside: false,
        batch: terms.batch,
        verify_within: terms.verify_within,
        drain_within: terms.drain_within,
        lasts: Span::ZERO,
        emergency: None,
    }))
}

/// What runs, with hosts for fabrics where none of it was placed yet.
fn housed(model: &Model, runs: &Deployment, missing: &Slots) -> Result<Deployment, Declined> {
    let mut base = runs.clone();
    for fabric in missing.fabrics() {
        let placed: &mut Placed = base.fabrics.entry(fabric.clone()).or_default();
        if placed.hosts.is_empty() {
            placed.hosts = hosts(model, fabric);
        }
        if placed.hosts.is_empty() {
            return Err(Declined::new(
                No::Invalid,
                "no-host",
                format!("instances are declared in {fabric}, which has no host"),
                "declare a host there",
            ));
        }
    }
    Ok(base)
}

/// The hosts of a fabric.
pub(crate) fn hosts(model: &Model, fabric: &FabricName) -> Vec<HostName> {
    let hosts = model
        .hosts
        .iter()
        .filter(|(_, host)| host.fabric == *fabric);
    hosts.map(|(name, _)| name.clone()).collect()
}

/// What a plan changes, in a few words: `lax 6 → 8, iad 6 → 4`.
pub(crate) fn words(plan: &ActionPlan) -> String {
    let parts = plan.fabrics.iter().map(|fabric| {
        let before = plan.base.counts().get(fabric).copied().unwrap_or(0) as usize;
        let after = before + plan.added.of(fabric).count() - plan.targets.of(fabric).count();
        format!("{fabric} {before} → {after}")
    });
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use mainstay_core::{Actor, catalog::HostSpec};

    use super::*;
    use crate::model::Declaration;

    fn model(runs: u32, declared: &str) -> (Model, ServiceName) {
        let service: ServiceName = "shop".parse().unwrap();
        let lax: FabricName = "lax".parse().unwrap();
        let mut model = Model::default();
        for (host, fabric) in [("h1", "lax"), ("h2", "lax"), ("h3", "iad")] {
            let spec: HostSpec =
                serde_json::from_value(serde_json::json!({ "fabric": fabric })).unwrap();
            model.hosts.insert(host.parse().unwrap(), spec);
        }
        let spec = format!(r#"{{"owner":"o","run":{{"artifacts":"a"}},"instances":{declared}}}"#);
        model
            .services
            .insert(service.clone(), serde_json::from_str(&spec).unwrap());
        let declaration = Declaration {
            version: 3,
            by: Actor::verified("ana"),
        };
        model.declared.insert(service.clone(), declaration);
        let placed = [(lax.clone(), (hosts(&model, &lax), runs))].into();
        let deployment = Deployment::first("v1".parse().unwrap(), placed);
        model.deployments.insert(service.clone(), deployment);
        (model, service)
    }

    #[test]
    fn the_highest_go_the_lowest_free_come_and_a_new_fabric_gets_hosts() {
        let (model, shop) = model(4, r#"{"lax":2,"iad":2}"#);
        let plan = plan(&model, &shop).unwrap().unwrap();
        let text = |slots: &Slots| serde_json::to_string(slots).unwrap();
        assert_eq!(text(&plan.targets), r#"{"lax":[[3,4]]}"#);
        assert_eq!(text(&plan.added), r#"{"iad":[[1,2]]}"#);
        assert_eq!(words(&plan), "iad 0 → 2, lax 4 → 2");
        let host = plan.host_of(plan.added.iter().next().unwrap());
        assert_eq!(host.map(HostName::as_str), Some("h3"));
    }

    #[test]
    fn nothing_is_asked_where_it_stands_as_declared_runs_nothing_or_was_given_up() {
        let (as_declared, shop) = model(2, r#"{"lax":2}"#);
        assert_eq!(plan(&as_declared, &shop).unwrap(), None);
        let (nothing_runs, _) = model(0, r#"{"lax":2}"#);
        assert_eq!(plan(&nothing_runs, &shop).unwrap(), None);
        let (mut given_up, _) = model(4, r#"{"lax":2}"#);
        given_up.deployments.get_mut(&shop).unwrap().given_up = Some(3);
        assert_eq!(plan(&given_up, &shop).unwrap(), None);
        given_up.declared.get_mut(&shop).unwrap().version = 4;
        assert!(plan(&given_up, &shop).unwrap().is_some(), "declared anew");
    }

    #[test]
    fn a_fabric_without_a_host_is_named() {
        let (mut model, shop) = model(2, r#"{"lax":2,"iad":1}"#);
        model.hosts.retain(|_, host| host.fabric.as_str() != "iad");
        let declined = plan(&model, &shop).unwrap_err();
        assert!(declined.to_string().contains("iad"), "{declined}");
    }
}

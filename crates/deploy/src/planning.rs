//! From catalog and request to plan. Pure.
//!
//! Guarantees: the same model and request give the same plan, and a plan that is given can be opened. Looks at
//! nothing that is measured: whether it may begin is asked when it does.

use std::collections::BTreeMap;

use mainstay_change::{Machine, Refusal};
use mainstay_core::{
    FabricName, HostName, Name, Percent, ServiceName, Time, Version,
    catalog::{RolloutPolicySpec, ServiceSpec, Strategy},
    ports::{Declined, No},
};

use crate::{
    deployment::Deployment,
    model::Model,
    plan::{RolloutPlan, Terms},
    rollout::Rollout,
    scaling,
};

/// What a request puts in place of its policy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overrides {
    /// Largest share of instances replaced at once.
    pub batch: Option<Percent>,
    /// The strategy.
    pub strategy: Option<Strategy>,
}

fn invalid(code: &'static str, what: String, remedy: &str) -> Declined {
    Declined::new(No::Invalid, code, what, remedy)
}

pub(crate) fn refused(refusal: Refusal) -> Declined {
    let what = format!(
        "{} is {}; it must be {}",
        refusal.signal, refusal.value, refusal.limit
    );
    Declined::new(No::Conflict, "refused", what, &refusal.remedy)
}

/// The plan by which `service` comes to run `to`.
pub fn plan(
    model: &Model,
    service: &ServiceName,
    spec: &ServiceSpec,
    to: &Version,
    policy: &RolloutPolicySpec,
    now: Time,
) -> Result<RolloutPlan, Declined> {
    let (from, base) = base(model, service, spec, to)?;
    let sizes = base.fabrics.keys().map(|fabric| base.size(fabric));
    let terms = Terms::of(policy, spec).with_a_full_share(sizes);
    let plan = RolloutPlan {
        service: service.clone(),
        from,
        to: to.clone(),
        base,
        terms,
        emergency: None,
    };
    Rollout::open(plan.clone(), now).map_err(refused)?;
    Ok(plan)
}

/// The policy of a service, with what was asked for in its place; refused where it can never be satisfied.
pub fn policy(
    model: &Model,
    spec: &ServiceSpec,
    overrides: &Overrides,
) -> Result<RolloutPolicySpec, Declined> {
    let name: Option<&Name> = spec.policy.as_ref();
    let mut policy = match name {
        None => RolloutPolicySpec::default(),
        Some(name) => model.policies.get(name).cloned().unwrap_or_default(),
    };
    if let Some(batch) = overrides.batch {
        policy.batch = batch;
    }
    if let Some(strategy) = overrides.strategy {
        policy.strategy = strategy;
    }
    match policy.flaws().into_iter().next() {
        None => Ok(policy),
        Some(flaw) => Err(invalid(
            "policy-unsatisfiable",
            format!(
                "the policy can never be satisfied: {}: {}",
                flaw.field, flaw.what
            ),
            &flaw.remedy,
        )),
    }
}

/// The version that runs and where, or for a first release where it is to run.
fn base(
    model: &Model,
    service: &ServiceName,
    spec: &ServiceSpec,
    version: &Version,
) -> Result<(Option<Version>, Deployment), Declined> {
    let settled = model.deployments.get(service);
    let runs = settled.filter(|it| it.slots().next().is_some());
    if let Some(runs) = runs {
        if runs.version == *version {
            return Err(Declined::new(
                No::Conflict,
                "same-version",
                format!("{service} runs {version} already"),
                "name another version, or restart it",
            ));
        }
        return Ok((Some(runs.version.clone()), runs.clone()));
    }
    let mut sizes: BTreeMap<FabricName, (Vec<HostName>, u32)> = BTreeMap::new();
    for (fabric, count) in &spec.instances {
        let hosts = scaling::hosts(model, fabric);
        if hosts.is_empty() && *count > 0 {
            return Err(invalid(
                "no-host",
                format!("{service} wants {count} instances in {fabric}, which has no host"),
                "declare a host there",
            ));
        }
        sizes.insert(fabric.clone(), (hosts, *count));
    }
    let mut first = Deployment::first(version.clone(), sizes);
    first.number = settled.map_or(0, |it| it.number);
    Ok((None, first))
}

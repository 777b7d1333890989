//! What an apply or a delete takes out of production: services that run no more, hosts that leave their fabric.
//!
//! Guarantees: whoever owns what runs is asked before anything is written; its no carries the numbers. Never asks
//! where nothing leaves.

use std::collections::BTreeMap;

use mainstay_core::{
    FabricName, HostName, Kind, Name, Resource, ServiceName,
    catalog::{Manage, Spec},
    ports::InstanceCounts,
};

use crate::{App, problem::Problem};

/// Services that would run no more must serve nobody, and neither must hosts that leave their fabric.
pub(super) async fn may_let_go(
    app: &App,
    before: &BTreeMap<(Kind, Name), Resource>,
    after: &BTreeMap<(Kind, Name), Resource>,
) -> Result<(), Problem> {
    let stopped: Vec<ServiceName> = before
        .iter()
        .filter(|(key, resource)| runs(resource) && !after.get(key).is_some_and(runs))
        .filter_map(|((_, name), _)| name.as_str().parse().ok())
        .collect();
    if !stopped.is_empty() {
        app.changes.may_stop(stopped).await?;
    }
    let left: Vec<HostName> = before
        .iter()
        .filter_map(|(key, resource)| Some((key, stands_in(resource)?)))
        .filter(|(key, fabric)| after.get(key).and_then(stands_in).as_ref() != Some(fabric))
        .filter_map(|((_, name), _)| name.as_str().parse().ok())
        .collect();
    if !left.is_empty() {
        app.changes.may_leave(left).await?;
    }
    let counts = |resource: &Resource| match Spec::decode(resource.kind, &resource.spec) {
        Ok(Spec::Service(service)) => Some(service.instances),
        _ => None,
    };
    let scaled: Vec<(ServiceName, InstanceCounts)> = after
        .iter()
        .filter(|(key, resource)| runs(resource) && before.get(key).is_some_and(runs))
        .filter_map(|(key, resource)| {
            let (was, is) = (before.get(key).and_then(counts)?, counts(resource)?);
            let name = key.1.as_str().parse().ok()?;
            (was != is).then_some((name, is))
        })
        .collect();
    if !scaled.is_empty() {
        app.changes.may_scale(scaled).await?;
    }
    Ok(())
}

/// The fabric that a resource stands in, where it is a host.
fn stands_in(resource: &Resource) -> Option<FabricName> {
    match Spec::decode(resource.kind, &resource.spec) {
        Ok(Spec::Host(host)) => Some(host.fabric),
        _ => None,
    }
}

/// Whether a resource is a service whose instances are run here.
fn runs(resource: &Resource) -> bool {
    match Spec::decode(resource.kind, &resource.spec) {
        Ok(Spec::Service(service)) => service.manage == Manage::Full && service.run.is_some(),
        _ => false,
    }
}

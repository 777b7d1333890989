//! What an apply or a delete takes out of production: services that run no more, hosts that leave their fabric.
//!
//! Guarantees: whoever owns what runs is asked before anything is written; its no carries the numbers. Never asks
//! where nothing leaves.

use std::collections::BTreeMap;

use mainstay_core::{
    FabricName, HostName, Kind, Name, Resource, ServiceName,
    catalog::{Manage, Spec},
    ports::{Declined, InstanceCounts, No},
};

use crate::{
    App,
    problem::{Place, Problem},
};

/// Services that would run no more must serve nobody, and neither must hosts that leave their fabric. Each resource
/// that may not is told with its field.
pub(super) async fn may_let_go(
    app: &App,
    before: &BTreeMap<(Kind, Name), Resource>,
    after: &BTreeMap<(Kind, Name), Resource>,
) -> Result<(), Problem> {
    let mut refused = Refused::default();
    for (key, was) in before {
        let is = after.get(key);
        if let Some(fabric) = stands_in(was)
            && is.and_then(stands_in).as_ref() != Some(&fabric)
            && let Ok(host) = key.1.as_str().parse::<HostName>()
        {
            let answer = app.changes.may_leave(vec![host]).await;
            refused.note(key, "spec.fabric", answer)?;
        }
        let Some(service) = running(was, key) else {
            continue;
        };
        match is.filter(|is| runs(is)) {
            None => {
                let field = match is.map(|is| Spec::decode(is.kind, &is.spec)) {
                    Some(Ok(Spec::Service(spec))) if spec.manage != Manage::Full => "spec.manage",
                    Some(Ok(_)) => "spec.run",
                    Some(Err(_)) | None => "metadata.name",
                };
                let answer = app.changes.may_stop(vec![service]).await;
                refused.note(key, field, answer)?;
            }
            Some(is) => {
                let (had, wants) = (counts(was), counts(is));
                if had == wants {
                    continue;
                }
                let wanted = vec![(service, wants)];
                let answer = app.changes.may_scale(wanted).await;
                refused.note(key, "spec.instances", answer)?;
            }
        }
    }
    refused.end()
}

/// What may not be let go, and the first no of all.
#[derive(Default)]
struct Refused {
    places: Vec<Place>,
    first: Option<Declined>,
}

impl Refused {
    /// Takes an answer in; one that cannot be had ends the asking.
    fn note(
        &mut self,
        key: &(Kind, Name),
        field: &str,
        answer: Result<(), Declined>,
    ) -> Result<(), Problem> {
        let Err(declined) = answer else {
            return Ok(());
        };
        if declined.no == No::Unavailable {
            return Err(declined.into());
        }
        self.places.push(Place {
            resource: format!("{}/{}", key.0, key.1),
            field: field.to_owned(),
            what: declined.what.clone(),
            remedy: declined.remedy.clone(),
        });
        self.first.get_or_insert(declined);
        Ok(())
    }

    fn end(self) -> Result<(), Problem> {
        let Some(first) = self.first else {
            return Ok(());
        };
        Err(Problem::from(first).at(self.places))
    }
}

/// The service that a resource is, where its instances are run here.
fn running(resource: &Resource, key: &(Kind, Name)) -> Option<ServiceName> {
    runs(resource).then(|| key.1.as_str().parse().ok())?
}

fn counts(resource: &Resource) -> InstanceCounts {
    match Spec::decode(resource.kind, &resource.spec) {
        Ok(Spec::Service(service)) => service.instances,
        _ => InstanceCounts::default(),
    }
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

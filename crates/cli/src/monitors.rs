//! What monitors are judged over: the catalog as it is declared, and the instances that follow from it.
//!
//! Guarantees: an entity is there from its declaration on, whether anything of it runs or was ever measured; the
//! instances of a service that is only observed are known by the host and port they are scraped at, as their series
//! are. Never lists what is measured but not declared.

use std::{collections::BTreeMap, sync::Arc};

use mainstay_core::{
    FabricName, Kind, Resource, ServiceName,
    catalog::Spec,
    monitor::EntityKind,
    ports::{BoxFuture, Tables},
};
use mainstay_deploy::adapter::Engine;
use mainstay_ekg::adapter::{Catalog, Declared};
use mainstay_rules::monitor::{Entity, Monitor};
use mainstay_server::declared;

use crate::targets;

/// The catalog of a server.
pub(crate) struct Declarations {
    pub(crate) tables: Arc<dyn Tables>,
    pub(crate) engine: Engine,
}

/// The labels of each service.
type Labelled = BTreeMap<ServiceName, BTreeMap<String, String>>;

impl Catalog for Declarations {
    fn read(&self) -> BoxFuture<'_, Result<Declared, String>> {
        Box::pin(async move {
            let mut found = Declared::default();
            let mut labels = Labelled::new();
            for kind in [Kind::Fabric, Kind::Host, Kind::Service, Kind::Monitor] {
                for resource in declared(&*self.tables, kind).await? {
                    take(resource, &mut found, &mut labels)?;
                }
            }
            found.entities.extend(self.instances(&labels));
            Ok(found)
        })
    }
}

impl Declarations {
    fn instances(&self, labels: &Labelled) -> Vec<Entity> {
        let one = |name: String, service: ServiceName, fabric: Option<FabricName>| Entity {
            labels: labels.get(&service).cloned().unwrap_or_default(),
            service: Some(service),
            fabric,
            ..Entity::new(EntityKind::Instance, name)
        };
        let run = self.engine.wanted_instances().into_iter();
        let run = run.map(|(name, service, fabric)| one(name.to_string(), service, Some(fabric)));
        let observed = self.engine.observed().into_iter();
        let observed = observed.flat_map(|(service, spec)| {
            let names = targets::observed_instances(&service, &spec).into_iter();
            names.map(move |name| one(name, service.clone(), None))
        });
        run.chain(observed).collect()
    }
}

fn take(resource: Resource, found: &mut Declared, labels: &mut Labelled) -> Result<(), String> {
    let Resource {
        kind,
        metadata,
        spec,
        ..
    } = resource;
    let spec = Spec::decode(kind, &spec)
        .map_err(|error| format!("{kind}/{} cannot be read: {error}", metadata.name))?;
    let named = |kind| Entity {
        labels: metadata.labels.clone(),
        ..Entity::new(kind, metadata.name.as_str())
    };
    match spec {
        Spec::Fabric(_) => found.entities.push(named(EntityKind::Fabric)),
        Spec::Host(host) => found.entities.push(Entity {
            fabric: Some(host.fabric),
            ..named(EntityKind::Host)
        }),
        Spec::Service(_) => {
            found.entities.push(named(EntityKind::Service));
            if let Ok(name) = metadata.name.as_str().parse() {
                labels.insert(name, metadata.labels);
            }
        }
        Spec::Monitor(spec) => found.monitors.push(Monitor::new(metadata, *spec)),
        Spec::RolloutPolicy(_)
        | Spec::Guard(_)
        | Spec::Freeze(_)
        | Spec::Responder(_)
        | Spec::Schedule(_)
        | Spec::EscalationPolicy(_) => {}
    }
    Ok(())
}

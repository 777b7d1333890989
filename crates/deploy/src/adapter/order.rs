//! Orders to hosts and routers, whenever what is desired or what was seen changes.

use std::collections::BTreeMap;

use mainstay_core::{InstanceName, Time};
use mainstay_wire::{
    Generation,
    agent::{DesiredSet, InstanceReport},
    router::RouteTable,
};

use super::{Engine, lock};
use crate::compose::{Composition, Orders, compose, is_heard};

/// Shortest pause between two compositions: reports come in bursts.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

impl Engine {
    pub(super) async fn keep_ordering(self) {
        let mut folded = self.0.folded.subscribe();
        let mut changed = self.0.ports.site.changed();
        let since = self.now();
        loop {
            self.order(since);
            tokio::select! {
                result = folded.changed() => if result.is_err() { return },
                result = changed.changed() => if result.is_err() { return },
            }
            tokio::time::sleep(PAUSE).await;
            folded.mark_unchanged();
            changed.mark_unchanged();
        }
    }

    /// Composes, and sends what differs from what was sent last. `since` is when this server began to lead.
    fn order(&self, since: Time) {
        let orders = self.composed();
        let seen = self.0.ports.site.seen();
        let waited = self.now().since(since);
        let (hosts, desired, mut sought) = {
            let model = self.model();
            (model.hosts.clone(), model.desired(), model.sought())
        };
        let mut ordered = lock(&self.0.ordered);
        for (host, instances) in orders.hosts {
            let set = DesiredSet {
                generation: Generation::default(),
                sought: sought.remove(&host).unwrap_or_default(),
                instances,
            };
            if ordered.hosts.get(&host) != Some(&set) {
                let generation = self.next_generation(&mut ordered);
                ordered.hosts.insert(host.clone(), set.clone());
                let set = DesiredSet { generation, ..set };
                self.0.ports.site.order_host(&host, set);
            }
        }
        for (fabric, services) in orders.fabrics {
            if !is_heard(&hosts, &fabric, &desired, &seen, waited) {
                continue;
            }
            let before = ordered.fabrics.get(&fabric);
            if before.map(|table| &table.services) != Some(&services) {
                let table = RouteTable {
                    generation: self.next_generation(&mut ordered),
                    services,
                    protected: true,
                };
                ordered.fabrics.insert(fabric.clone(), table.clone());
                self.0.ports.site.order_fabric(&fabric, table);
            }
        }
    }

    fn composed(&self) -> Orders {
        let seen = self.0.ports.site.seen();
        let reports: BTreeMap<InstanceName, InstanceReport> = seen
            .hosts
            .into_values()
            .flat_map(|host| host.instances)
            .map(|report| (report.instance.clone(), report))
            .collect();
        let model = self.model();
        let capacity = lock(&self.0.loads).capacities(&model.services);
        compose(Composition {
            services: &model.services,
            fabrics: &model.fabrics,
            hosts: &model.hosts.keys().cloned().collect::<Vec<_>>(),
            desired: &model.desired(),
            seen: &reports,
            capacity: &capacity,
        })
    }
}

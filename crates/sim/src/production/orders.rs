//! What leaders read and order, and how orders arrive.

use std::collections::BTreeMap;

use mainstay_change::EffectId;
use mainstay_core::{ChangeId, FabricName, HostName, InstanceName, Span};
use mainstay_deploy::{
    Model,
    adapter::verify::Eyes,
    compose::{Composition, Orders, compose, is_heard},
    site::Seen,
};
use mainstay_wire::{
    Generation,
    agent::{DesiredInstance, InstanceReport},
    router::{RouteTable, ServiceRoutes},
};
use rand::RngExt;

use super::{Production, hands::Question};
use crate::{
    driver::{Leader, Sim},
    report::{Fault, Invariant, Planted},
};

/// An order that does not reach its receiver is sent again after so long.
const SEND_AGAIN_MS: i64 = 500;

/// What a leader knows beside its runtime: what it read, what it was told, what it ordered and was asked.
pub(crate) struct Mind {
    pub(super) model: Model,
    pub(super) questions: BTreeMap<(ChangeId, EffectId), Question>,
    hosts: BTreeMap<HostName, Vec<DesiredInstance>>,
    pub(super) tables: BTreeMap<FabricName, RouteTable>,
    counter: u64,
    /// Composed from these: entries folded, reports seen.
    composed: Option<(u64, u64)>,
    /// What it was told since it began: one that starts anew knows nothing.
    pub(super) seen: Seen,
    seen_reports: u64,
}

impl Mind {
    pub(super) fn new(catalog: Model) -> Self {
        Self {
            model: catalog,
            questions: BTreeMap::new(),
            hosts: BTreeMap::new(),
            tables: BTreeMap::new(),
            counter: 0,
            composed: None,
            seen: Seen::default(),
            seen_reports: 0,
        }
    }

    /// What it can look at, at `now` by its clock.
    pub(super) fn eyes(&self, now: mainstay_core::Time) -> Eyes<'_> {
        Eyes {
            model: &self.model,
            seen: &self.seen,
            tables: &self.tables,
            now,
        }
    }
}

/// An order under way.
#[derive(Clone)]
pub(crate) enum Order {
    Host(HostName, Generation, Vec<DesiredInstance>),
    Router(FabricName, RouteTable),
}

/// All that follows from what was read and told.
pub(super) fn compose_all(seen: &Seen, model: &Model) -> Orders {
    let seen: BTreeMap<InstanceName, InstanceReport> = seen
        .hosts
        .values()
        .flat_map(|host| &host.instances)
        .map(|it| (it.instance.clone(), it.clone()))
        .collect();
    let hosts: Vec<HostName> = model.hosts.keys().cloned().collect();
    compose(Composition {
        services: &model.services,
        fabrics: &model.fabrics,
        hosts: &hosts,
        desired: &model.desired(),
        seen: &seen,
        capacity: &BTreeMap::new(),
    })
}

fn next(leader: &mut Leader<Mind>) -> Generation {
    leader.mind.counter += 1;
    Generation {
        epoch: leader.epoch,
        counter: leader.mind.counter,
    }
}

impl Sim<Production> {
    /// Reads entries and reports, and orders what follows where it is not what was ordered last.
    pub(super) fn look_and_order(&mut self, leader: &mut Leader<Mind>) {
        let folded = leader.mind.model.seq() as usize;
        let entries = self.ledger.entries.get(folded..leader.read);
        for entry in entries.unwrap_or_default() {
            leader.mind.model.fold(entry);
        }
        let reports = self.scene.site.reports;
        if leader.mind.seen_reports != reports {
            leader.mind.seen_reports = reports;
            leader.mind.seen = self.scene.site.seen_since(leader.began_ms);
        }
        let basis = (leader.mind.model.seq(), reports);
        if leader.mind.composed == Some(basis) {
            return;
        }
        leader.mind.composed = Some(basis);
        let orders = compose_all(&leader.mind.seen, &leader.mind.model);
        for (host, wanted) in orders.hosts {
            if leader.mind.hosts.get(&host) != Some(&wanted) {
                let generation = next(leader);
                leader.mind.hosts.insert(host.clone(), wanted.clone());
                self.send(Order::Host(host, generation, wanted));
            }
        }
        for (fabric, services) in orders.fabrics {
            self.order_routes(leader, fabric, services);
        }
    }

    fn order_routes(
        &mut self,
        leader: &mut Leader<Mind>,
        fabric: FabricName,
        mut services: Vec<ServiceRoutes>,
    ) {
        let mind = &leader.mind;
        let desired = mind.model.desired();
        let waited = Span::from_millis((self.true_ms - leader.began_ms).unsigned_abs());
        let heard = is_heard(&mind.model.hosts, &fabric, &desired, &mind.seen, waited);
        if services.is_empty() || !heard && self.planted != Planted::RoutesUnheard {
            return;
        }
        let before = mind.tables.get(&fabric).map(|it| &it.services);
        for backend in services.iter_mut().flat_map(|it| &mut it.backends) {
            if self.planted == Planted::LimitUnsent {
                backend.limit = None;
            }
            let kept = before.into_iter().flatten().flat_map(|it| &it.backends);
            let kept = kept
                .filter(|it| it.instance == backend.instance)
                .map(|it| it.share);
            if self.planted == Planted::ShareKept {
                backend.share = kept.fold(backend.share, f64::max);
            }
        }
        if before != Some(&services) {
            let table = RouteTable {
                generation: next(leader),
                services,
                protected: true,
            };
            leader.mind.tables.insert(fabric.clone(), table.clone());
            self.send(Order::Router(fabric, table));
        }
    }

    fn send(&mut self, order: Order) {
        let at = self.true_ms + self.rng.random_range(5..300);
        if self.chance(100) {
            let late = at + self.rng.random_range(500..8_000);
            self.scene.under_way.push((late, order.clone()));
        }
        self.scene.under_way.push((at, order));
    }

    pub(super) fn deliver(&mut self) {
        let now = self.true_ms;
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.scene.under_way)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.scene.under_way = later;
        let fenced = self.planted != Planted::OldOrdersTaken;
        for (_, order) in due {
            let site = &self.scene.site;
            let reached = match &order {
                Order::Host(name, ..) => site.hosts.get(name).is_some_and(|it| it.hears(now)),
                Order::Router(name, _) => site
                    .routers
                    .get(name)
                    .is_some_and(|it| it.gone_until <= now),
            };
            if !reached {
                // Sent again whenever its receiver comes back.
                self.scene.under_way.push((now + SEND_AGAIN_MS, order));
                continue;
            }
            let (taken, older) = match &order {
                Order::Host(name, generation, wanted) => {
                    self.scene
                        .site
                        .order_host(name, *generation, wanted, fenced)
                }
                Order::Router(name, table) => {
                    self.about_to_route(name, table);
                    self.scene.site.order_router(name, table, fenced)
                }
            };
            if older {
                self.bite(Fault::LateOrder);
            }
            if older && taken {
                let what = "an order older than one that was taken took hold".to_owned();
                self.violated(Invariant::Fence, what);
            }
        }
    }
}

//! The engine over a ledger in memory, with a router that reports what it is told to and a clock that is set.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, Ordering},
};

use mainstay_change::{Direction, LEASE_EVENT, STATED_VALID_FOR};
use mainstay_core::{
    Append, Change, ChangeKind, Emergency, Entry, Finding, HostName, Kind, Measured, NewEntry,
    Outcome, Resource, Span, StreamId, Time, Version,
    catalog::Strategy,
    change::OPENED,
    ports::{BoxFuture, Grown, Growth},
    resource::APPLIED,
};
use mainstay_store::{Options, Store};
use mainstay_wire::{
    agent::DesiredSet,
    router::{BackendReport, ClaimedHealth, HealthVerdict, MeasuredHealth, RouteTable},
};
use serde_json::{Value, json};

use super::{
    load::{RATE_SECS, RATES_MIN},
    *,
};
use crate::{
    Deployment, Slots, Terms,
    evidence::Bench,
    rollout::{Input, message::Ruling},
    site::{Seen, SeenFabric},
};

/// Instances of `voyager` in `lax`.
const INSTANCES: u32 = 12;
const START: Time = Time::from_millis(1_000_000);

struct Blind;

impl Signals for Blind {
    fn eval<'a>(&'a self, _: &'a str, _: Time) -> BoxFuture<'a, Option<Measured<Vec<f64>>>> {
        Box::pin(async { None })
    }
    fn counts<'a>(
        &'a self,
        _: &'a str,
        _: Time,
        _: Time,
    ) -> BoxFuture<'a, Option<Measured<Growth>>> {
        Box::pin(async { None })
    }
}

struct At(AtomicI64);

impl Clock for At {
    fn now(&self) -> Time {
        Time::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// A site whose router reports whatever was put there.
struct Reports(Mutex<Seen>, watch::Sender<u64>);

impl Site for Reports {
    fn seen(&self) -> Seen {
        lock(&self.0).clone()
    }
    fn changed(&self) -> watch::Receiver<u64> {
        self.1.subscribe()
    }
    fn order_host(&self, _: &HostName, _: DesiredSet) {}
    fn order_fabric(&self, _: &FabricName, _: RouteTable) {}
}

/// One service of twelve instances on three hosts, each answering ten requests per second.
struct World {
    engine: Engine,
    ledger: Arc<dyn Ledger>,
    clock: Arc<At>,
    reports: Arc<Reports>,
}

fn lax() -> FabricName {
    "lax".parse().unwrap()
}

fn voyager() -> ServiceName {
    "voyager".parse().unwrap()
}

fn v1() -> Version {
    "v1".parse().unwrap()
}

fn base() -> Deployment {
    let hosts = (1..=3).map(|n| format!("h{n}").parse().unwrap()).collect();
    let mut base = Deployment::first(v1(), [(lax(), (hosts, INSTANCES))].into());
    base.number = 1;
    base
}

fn applied(kind: Kind, name: &str, spec: &Value) -> NewEntry {
    let resource = json!({
        "apiVersion": "mainstay/v1", "kind": kind, "metadata": {"name": name}, "spec": spec
    });
    let resource: Resource = serde_json::from_value(resource).unwrap();
    NewEntry {
        stream: StreamId::new(format!("resource/{kind}/{name}")),
        kind: APPLIED.to_owned(),
        schema: 1,
        body: json!(resource).to_string(),
    }
}

impl World {
    /// With what `spec` says of the service besides.
    async fn new(spec: Value) -> Self {
        let store = Arc::new(Store::memory(Options::default()).await.unwrap());
        let (newest, ledger) = (store.subscribe(), store as Arc<dyn Ledger>);
        let clock = Arc::new(At(AtomicI64::new(START.millis())));
        let reports = Arc::new(Reports(Mutex::default(), watch::Sender::new(0)));
        let engine = Engine::open(Ports {
            ledger: ledger.clone(),
            signals: Arc::new(Blind),
            site: reports.clone(),
            clock: clock.clone(),
            next_change_id: Arc::new(|| "chg-1".parse().unwrap()),
            newest,
        });
        let world = Self {
            engine: engine.await.unwrap(),
            ledger,
            clock,
            reports,
        };
        let mut service = json!({"owner": "o", "policy": "careful"});
        let more = spec.as_object().unwrap().clone();
        service.as_object_mut().unwrap().extend(more);
        let emergencies = json!({"emergencies": [{"name": "blind", "waivesEvidence": true}]});
        world
            .write(vec![
                applied(Kind::Fabric, "lax", &json!({})),
                applied(Kind::RolloutPolicy, "careful", &emergencies),
                applied(Kind::Service, "voyager", &service),
                base().entry(&voyager()).unwrap(),
            ])
            .await;
        world.report();
        world
    }

    async fn write(&self, entries: Vec<NewEntry>) {
        let append = Append {
            actor: Actor::system(),
            at: self.clock.now(),
            expected: vec![],
            entries,
        };
        self.ledger.append(append).await.unwrap();
        self.engine.catch_up().await.unwrap();
    }

    /// Every instance answers, as the router says now.
    fn report(&self) {
        let backend = |n: u32| BackendReport {
            instance: format!("voyager-lax-{n}").parse().unwrap(),
            incarnation: 0,
            seen_version: Some(v1()),
            claimed: ClaimedHealth::Ok,
            measured: MeasuredHealth::Good,
            verdict: HealthVerdict::Healthy,
            evidence: String::new(),
            in_rotation: true,
            in_flight: 0,
            oldest_in_flight: Span::ZERO,
            goodput_rps: 10.0,
            bad_rps: 0.0,
            recent_rps: 10.0,
            p99_ms: None,
            limit_broken: false,
        };
        let fabric = SeenFabric {
            connected: true,
            received_at: self.clock.now(),
            backends: [(voyager(), (1..=INSTANCES).map(backend).collect())].into(),
            ..SeenFabric::default()
        };
        lock(&self.reports.0).fabrics.insert(lax(), fabric);
    }

    /// A server takes the leadership.
    async fn lead(&self) -> Expected {
        let lead = mainstay_runtime::lead(&*self.ledger, Actor::system(), self.clock.now());
        lead.await.unwrap()
    }

    fn leads_by(&self, leadership: Expected) {
        *lock(&self.engine.0.leadership) = Some(leadership);
    }

    /// A rollout of the service is opened.
    async fn opened(&self, emergency: Option<Emergency>) -> ChangeId {
        let policy = mainstay_core::catalog::RolloutPolicySpec::default();
        let spec = self.engine.model().services[&voyager()].clone();
        let plan = crate::RolloutPlan {
            service: voyager(),
            from: Some(v1()),
            to: "v2".parse().unwrap(),
            base: base(),
            terms: Terms::of(&policy, &spec),
            emergency: emergency.clone(),
        };
        assert_eq!(plan.terms.strategy, Strategy::Canary);
        let change = Change {
            id: "chg-1".parse().unwrap(),
            kind: ChangeKind::Rollout,
            actor: Actor::unverified("ana"),
            reason: String::new(),
            title: String::new(),
            blast_radius: mainstay_core::BlastRadius::default(),
            emergency,
            opened_at: self.clock.now(),
            deadline: None,
            plan: mainstay_core::change::Plan {
                kind: crate::rollout::KIND.to_owned(),
                schema: 1,
                body: json!(plan).to_string(),
            },
        };
        let entry = NewEntry {
            stream: change.stream(),
            kind: OPENED.to_owned(),
            schema: 1,
            body: json!(change).to_string(),
        };
        self.write(vec![entry]).await;
        change.id
    }

    async fn entries(&self) -> Vec<Entry> {
        self.ledger.since(0, PAGE).await.unwrap()
    }

    /// What may be taken on the way forward, without waiting until something may.
    async fn looked(&self, change: &ChangeId) -> (Slots, Vec<Finding>) {
        let candidates = base().slots().map(|it| it.slot).collect();
        let (service, fabric) = (voyager(), lax());
        let grant =
            self.engine
                .lease_in(change, &service, &fabric, Direction::Forward, &candidates);
        let grant = grant.await.unwrap();
        let findings = self.engine.waived(change, &service, vec![grant.finding]);
        (grant.slots.iter().cloned().collect(), findings)
    }

    async fn asked(
        &self,
        change: &ChangeId,
        direction: Direction,
    ) -> Option<(Slots, Vec<Finding>)> {
        let candidates = base().slots().map(|it| it.slot).collect();
        let service = voyager();
        let lease = self
            .engine
            .lease(change, &service, 1, direction, &candidates);
        match lease.await? {
            Input::Granted {
                slots, findings, ..
            } => Some((slots, findings)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_deposed_leader_takes_no_lease_settles_nothing_and_releases_nothing() {
    let world = World::new(json!({"capacityRps": 40.0})).await;
    measure(&world, 100.0);
    let change = world.opened(None).await;
    assert!(
        world.asked(&change, Direction::Forward).await.is_none(),
        "one that never led holds nothing"
    );
    world.leads_by(world.lead().await);
    let (slots, _) = world.asked(&change, Direction::Forward).await.unwrap();
    assert_eq!(slots.len(), 1);

    let successor = world.lead().await;
    let before = world.entries().await.len();
    for direction in [Direction::Forward, Direction::Restoring] {
        assert!(world.asked(&change, direction).await.is_none());
    }
    let next = Deployment {
        number: 2,
        ..base()
    };
    let settled = world.engine.settle(&change, &voyager(), &next).await;
    assert_eq!(settled, None);
    let released = world.engine.let_go(&change, &voyager()).await;
    assert!(released.is_none());
    assert_eq!(world.entries().await.len(), before, "nothing was written");

    world.leads_by(successor);
    assert!(world.asked(&change, Direction::Restoring).await.is_some());
    let settled = world.engine.settle(&change, &voyager(), &next).await;
    assert_eq!(settled, Some(2));
    let leases = world.entries().await.into_iter();
    let leases: Vec<Entry> = leases.filter(|it| it.kind == LEASE_EVENT).collect();
    assert_eq!(leases.len(), 3, "taken, taken back, released");
}

/// Demand as measured for long enough.
fn measure(world: &World, rps: f64) {
    let labels = [("service", "voyager"), ("fabric", "lax")];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let growth = Growth {
        series: vec![Grown {
            labels: labels.into(),
            by: rps as u64 * RATE_SECS as u64,
        }],
        whole: true,
    };
    for _ in 0..RATES_MIN {
        lock(&world.engine.0.loads).offered(&growth);
    }
}

fn blind() -> Emergency {
    Emergency {
        policy: "blind".parse().unwrap(),
        reason: "no metrics".to_owned(),
        stated_demand_rps: Some(60.0),
        stated_capacity_rps: Some(20.0),
    }
}

fn value<'a>(findings: &'a [Finding], signal: &str) -> &'a str {
    let found = findings.iter().find(|it| it.signal == signal);
    &found.expect("it is among them").value
}

#[tokio::test]
async fn what_is_stated_is_counted_with_for_an_hour_and_then_what_is_measured_or_nothing() {
    let world = World::new(json!({})).await;
    world.leads_by(world.lead().await);
    let plain = world.opened(None).await;
    let (slots, _) = world.looked(&plain).await;
    assert!(slots.is_empty(), "neither demand nor capacity is known");

    let world = World::new(json!({})).await;
    world.leads_by(world.lead().await);
    let change = world.opened(Some(blind())).await;
    let (slots, findings) = world.asked(&change, Direction::Forward).await.unwrap();
    assert_eq!(slots.len(), 1);
    assert_eq!(
        value(&findings, "capacity"),
        "11 instances carry 220 rps, demand 60 rps, margin 80 rps: allowed"
    );
    let stated = value(&findings, "stated").to_owned();
    assert!(
        stated.starts_with("demand 60 rps and 20 rps an instance as stated by ana (unverified)"),
        "{stated}"
    );

    let over = START + STATED_VALID_FOR + Span::from_millis(1);
    world.clock.0.store(over.millis(), Ordering::Relaxed);
    world.report();
    let (slots, findings) = world.looked(&change).await;
    assert!(slots.is_empty(), "nothing was measured meanwhile");
    let worst = &findings[0];
    assert_eq!(
        (worst.signal.as_str(), worst.outcome),
        ("capacity", Outcome::InsufficientEvidence)
    );
    assert!(value(&findings, "stated").contains("over since"));

    measure(&world, 90.0);
    lock(&world.engine.0.loads).hold(&world.reports.seen(), &world.engine.model().services);
    let (_, findings) = world.looked(&change).await;
    let counted = value(&findings, "capacity");
    assert!(
        counted.contains("demand 103 rps") && !counted.contains("220 rps"),
        "{counted}"
    );
}

#[tokio::test]
async fn a_freeze_that_comes_while_a_rollout_runs_holds_its_gates_its_batches_and_a_persons_word() {
    let world = World::new(json!({"capacityRps": 40.0})).await;
    world.leads_by(world.lead().await);
    measure(&world, 100.0);
    let waives = Emergency {
        stated_demand_rps: None,
        stated_capacity_rps: None,
        ..blind()
    };
    let change = world.opened(Some(waives)).await;
    let bench = Bench::new(mainstay_core::Percent::new(1.0).unwrap()).unwrap();
    let ruled = async || {
        let ruled = world.engine.ruled(&change, &voyager(), &bench).await;
        ruled.unwrap()
    };
    assert_eq!(ruled().await.0, Ruling::Pass, "missing evidence is waived");

    let exception = json!([{"name": "restarts", "kinds": ["restart"]}]);
    let election = json!({"reason": "the election", "exceptions": exception});
    world
        .write(vec![applied(Kind::Freeze, "election", &election)])
        .await;
    let (ruling, verdict) = ruled().await;
    assert_eq!(ruling, Ruling::Frozen);
    let findings = &verdict.value().findings;
    assert!(value(findings, "freeze `election`").contains("the election"));
    assert!(world.asked(&change, Direction::Forward).await.is_none());
    assert!(world.asked(&change, Direction::Restoring).await.is_some());
    let promoted = async || {
        let (ana, why) = (Actor::verified("ana"), "it is good".to_owned());
        let told = world.engine.steer(&change, "promote", ana, why).await;
        told.unwrap_err().code
    };
    assert_eq!(promoted().await, "frozen");

    let exception = json!([{"name": "hotfixes", "kinds": ["rollout"], "services": ["voyager"]}]);
    let election = json!({"reason": "the election", "exceptions": exception});
    world
        .write(vec![applied(Kind::Freeze, "election", &election)])
        .await;
    assert_eq!(ruled().await.0, Ruling::Pass);
    assert!(world.asked(&change, Direction::Forward).await.is_some());
    assert_eq!(promoted().await, "refused", "it is at no gate yet");
}

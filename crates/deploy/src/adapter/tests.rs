//! The engine over a ledger in memory, with a router that reports what it is told to and a clock that is set.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, Ordering},
};

use mainstay_change::{Direction, LEASE_EVENT, STATED_VALID_FOR};
use mainstay_core::{
    Actor, Append, Change, ChangeKind, Emergency, Entry, Finding, HostName, Kind, Measured,
    NewEntry, Outcome, Resource, Span, StreamId, Time, Version,
    catalog::Strategy,
    change::OPENED,
    ports::{BoxFuture, Grown, Growth},
    resource::APPLIED,
};
use mainstay_store::{Options, Store};
use mainstay_wire::{
    agent::{DesiredSet, InstanceReport, InstanceState, ProcessFacts},
    router::{BackendReport, ClaimedHealth, HealthVerdict, MeasuredHealth, RouteTable},
};
use serde_json::{Value, json};

use super::{
    load::{RATE_SECS, RATES_MIN},
    opening::WRITTEN_AFTER,
    *,
};
use crate::{
    Deployment, Slot, Slots, Terms,
    evidence::Bench,
    model::EVENT,
    moves::{Process, Processes},
    rollout::{Effect, Event, Gate, Input, Role, message::Ruling},
    site::{Seen, SeenFabric, SeenHost},
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

    /// What happened to a rollout.
    async fn happens(&self, change: &ChangeId, events: &[Event]) {
        let entry = |event: &Event| NewEntry {
            stream: mainstay_core::change::change_stream(change),
            kind: EVENT.to_owned(),
            schema: 1,
            body: json!(event).to_string(),
        };
        self.write(events.iter().map(entry).collect()).await;
    }

    /// What the engine says to the effect of `change` that `is` the one meant.
    async fn says(&self, change: &ChangeId, is: impl Fn(&Effect) -> bool) -> Input {
        let due = {
            let model = self.engine.model();
            let state = &model.rollouts[change].state;
            let now = self.clock.now();
            <crate::rollout::Rollout as mainstay_change::Machine>::due(state, now)
        };
        let effect = due.iter().find(|it| is(it)).expect("it is due");
        let told = self
            .engine
            .perform(change.clone(), json!(effect).to_string());
        serde_json::from_str(&told.await[0]).unwrap()
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

/// A release of the same bytes where no router tells versions apart: only its start tells the old process from its
/// successor, whatever its agent calls it.
#[tokio::test]
async fn a_process_that_started_before_its_batch_is_not_taken_for_its_successor() {
    let world = World::new(json!({})).await;
    let change = world.opened(None).await;
    let slot = Slot::new(lax(), 1);
    let slots: Slots = [slot.clone()].into_iter().collect();
    let mut before = Processes::default();
    before.insert(&slot, Process(7, START));
    let at = START;
    let began = Event::Began {
        at,
        batch: 1,
        slots: slots.clone(),
        left: BTreeMap::new(),
        findings: vec![],
    };
    let replaces = Event::Replaces { at, before };
    let drained = Event::Drained { at, overdue: false };
    world.happens(&change, &[began, replaces, drained]).await;
    let reports = |pid: u32, started_at: Time| {
        let process = ProcessFacts {
            boot_id: "boot".to_owned(),
            pid,
            start_ticks: 1,
            started_at,
            exe_sha256: "same".to_owned(),
            listening_port: Some(80),
            rss_bytes: 0,
            open_files: 0,
        };
        let report = InstanceReport {
            instance: "voyager-lax-1".parse().unwrap(),
            service: voyager(),
            version: "v2".parse().unwrap(),
            incarnation: 4,
            state: InstanceState::Running,
            port: Some(80),
            process: Some(process),
            artifact_sha256: Some("same".to_owned()),
            unordered_exits: 0,
            killed_last: false,
        };
        let host = SeenHost {
            connected: true,
            received_at: world.clock.now(),
            instances: vec![report],
            ..SeenHost::default()
        };
        lock(&world.reports.0)
            .hosts
            .insert("h1".parse().unwrap(), host);
    };
    let verified = async || {
        let told = world
            .says(&change, |it| matches!(it, Effect::Observe { .. }))
            .await;
        match told {
            Input::Seen { verified, .. } => verified.value().clone(),
            other => panic!("{other:?}"),
        }
    };
    reports(7, START);
    assert!(verified().await.is_empty(), "it is the one that was there");
    reports(8, START + Span::from_millis(10));
    assert_eq!(verified().await, slots);
}

#[tokio::test]
async fn a_gate_that_waits_because_a_signal_says_nothing_is_blocked_and_the_signal_is_named() {
    let world = World::new(json!({})).await;
    let guard = json!({"expr": "sum(rate(orders_total[1m]))", "op": ">", "limit": 1});
    world
        .write(vec![applied(Kind::Guard, "orders", &guard)])
        .await;
    let change = world.opened(None).await;
    let at = START;
    let one = |ordinal| -> Slots { [Slot::new(lax(), ordinal)].into_iter().collect() };
    let surged = |ordinal, role| Event::Surged {
        at,
        slots: one(ordinal),
        role,
    };
    let seen = |ordinal| Event::Verified {
        at,
        slots: one(ordinal),
        source: "agent".to_owned(),
    };
    world
        .happens(
            &change,
            &[
                surged(13, Role::Canary),
                surged(14, Role::Control),
                seen(13),
                seen(14),
            ],
        )
        .await;
    let blocked = || -> Vec<Value> {
        let status = world.engine.view("status", None).unwrap();
        let status: Value = serde_json::from_str(&status).unwrap();
        status["blocked"].as_array().unwrap().clone()
    };
    let judged = world.says(&change, |it| {
        matches!(
            it,
            Effect::Judge {
                gate: Gate::Canary { .. },
                ..
            }
        )
    });
    judged.await;
    assert!(blocked().is_empty(), "a gate is open for a while anyway");
    let later = START + Span::from_secs(10);
    world.clock.0.store(later.millis(), Ordering::Relaxed);
    let blocked = blocked();
    let text = |field: &str| blocked[0][field].as_str().unwrap();
    assert!(
        text("because").starts_with("canary 1 % waits for evidence"),
        "{blocked:?}"
    );
    assert!(
        text("because").contains("`orders` says nothing"),
        "{blocked:?}"
    );
    assert!(
        text("remedy").contains("restore the samples of `sum(rate(orders_total[1m]))`"),
        "{blocked:?}"
    );
    assert_eq!(text("service"), "voyager");
}

#[tokio::test]
async fn a_first_release_that_cannot_be_opened_is_blocked_with_why_and_what_to_do() {
    let world = World::new(json!({})).await;
    world.leads_by(world.lead().await);
    let shop = json!({"owner": "o", "version": "v1", "instances": {"iad": 2}, "run": {"artifacts": "/nowhere"}});
    let iad = applied(Kind::Fabric, "iad", &json!({}));
    world
        .write(vec![iad, applied(Kind::Service, "shop", &shop)])
        .await;
    let opening = world.engine.clone().keep_opening();
    let told = async {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(10));
        loop {
            looks.tick().await;
            let status = world.engine.view("status", None).unwrap();
            let status: Value = serde_json::from_str(&status).unwrap();
            let blocked = status["blocked"].as_array().unwrap().clone();
            if let Some(first) = blocked.into_iter().find(|it| it["service"] == "shop") {
                return first;
            }
        }
    };
    let told = tokio::select! {
        () = opening => panic!("it goes on"),
        told = told => told,
    };
    assert_eq!(told["what"], "the first release of shop, v1");
    assert_eq!(
        told["because"],
        "shop wants 2 instances in iad, which has no host"
    );
    let remedy = told["remedy"].as_str().unwrap();
    assert!(remedy.contains("declare a host there"), "{remedy}");
}

#[tokio::test]
async fn a_first_release_that_cannot_begin_for_a_while_is_an_aborted_change_and_only_once() {
    let world = World::new(json!({})).await;
    world.leads_by(world.lead().await);
    let shop = json!({"owner": "o", "version": "v1", "instances": {"iad": 2}, "run": {"artifacts": "/nowhere"}});
    let iad = applied(Kind::Fabric, "iad", &json!({}));
    world
        .write(vec![iad, applied(Kind::Service, "shop", &shop)])
        .await;
    let at = |ms: i64| world.clock.0.store(ms, Ordering::Relaxed);
    // Each look is what an entry, or five seconds, would bring about.
    let look = || async {
        let opening = world.engine.clone().keep_opening();
        let _ = tokio::time::timeout(std::time::Duration::from_millis(50), opening).await;
    };
    let written = || async {
        let all = world.ledger.since(0, 1_000).await.unwrap();
        let ours = all
            .into_iter()
            .filter(|it| it.stream.as_str() == "change/chg-1");
        ours.map(|it| (it.kind, it.body)).collect::<Vec<_>>()
    };
    look().await;
    assert_eq!(written().await, []);
    at((START + WRITTEN_AFTER).millis());
    look().await;
    look().await;
    let entries = written().await;
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert!(
        entries[0].1.contains("first-release.refused"),
        "{entries:?}"
    );
    assert!(entries[1].1.contains("aborted"), "{entries:?}");
    assert!(
        entries[1].1.contains("iad, which has no host"),
        "{entries:?}"
    );
}

#[tokio::test]
async fn a_server_is_ready_while_it_leads_and_no_longer_once_another_one_does() {
    let world = World::new(json!({})).await;
    let refused = world.engine.ready().await.unwrap_err();
    assert_eq!(refused.code, "not-leading");
    let ready = async || {
        // What was found stands for a moment.
        *world.engine.0.stood.lock().await = None;
        world.engine.ready().await.map_err(|it| it.code)
    };
    world.leads_by(world.lead().await);
    let before = world.entries().await.len();
    assert_eq!(ready().await, Ok(()));
    assert_eq!(
        world.entries().await.len(),
        before,
        "nothing is written to find out"
    );
    world.lead().await;
    assert_eq!(ready().await, Err("not-leading"));
}

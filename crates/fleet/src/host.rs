//! One turn of an agent: take orders, look, plan, act.
//!
//! **Guarantees.** A start is written down before it happens and after; a process that cannot be looked at
//! is neither replaced nor declared gone. **Never** starts anything while its state cannot be written.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use mainstay_core::{InstanceName, Span, Time};
use mainstay_wire::agent::{
    DesiredInstance, DesiredSet, Found, FromAgent, InstanceReport, InstanceState, ProcessFacts,
};

use crate::{
    driver::{Ask, Driver, Observation, StartError, Stray},
    orders::{Taken, take},
    plan::{Life, Running, STABLE_AFTER, Step, back_off, plan, same_process},
    state::{Instance, State, StateError, Store},
};

/// How long a new process is expected to begin listening at any moment.
const STARTING_FOR: Span = Span::from_secs(5);
/// Processes of observed services that are reported; a description that fits more is too wide.
const FOUND_MAX: usize = 256;

/// What one turn found worth telling.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Snapshots, each different from the one before.
    pub(crate) reports: Vec<FromAgent>,
    /// What moved without an order.
    pub(crate) unordered: Vec<FromAgent>,
    /// Processes started in place of one that ended without an order.
    pub(crate) restarts: u64,
    /// Processes that ended without an order.
    pub(crate) exits: u64,
}

/// All of one host, behind its driver.
pub(crate) struct Host<D: Driver> {
    driver: D,
    store: Store,
    state: State<D::Handle>,
    saved: Option<State<D::Handle>>,
    facts: BTreeMap<InstanceName, ProcessFacts>,
    unseen: BTreeMap<InstanceName, String>,
    strays: BTreeSet<Stray>,
    unwritable: bool,
    last: Vec<InstanceReport>,
    found: Vec<Found>,
}

impl<D: Driver> Host<D> {
    pub(crate) fn open(store: Store, driver: D, now: Time) -> Result<Self, StateError> {
        let mut state: State<D::Handle> = store.load()?;
        for held in state.instances.values_mut() {
            held.running.life = held.running.life.clone().not_after(now);
        }
        Ok(Self {
            driver,
            store,
            saved: Some(state.clone()),
            state,
            facts: BTreeMap::new(),
            unseen: BTreeMap::new(),
            strays: BTreeSet::new(),
            unwritable: false,
            last: Vec::new(),
            found: Vec::new(),
        })
    }

    pub(crate) fn desired(&self) -> &DesiredSet {
        &self.state.desired
    }

    /// One turn. `whole` asks for a snapshot and a look for strays even if nothing changed.
    pub(crate) fn turn(&mut self, sets: Vec<DesiredSet>, now: Time, whole: bool) -> Told {
        let mut told = Told::default();
        for set in sets {
            match take(&self.state.desired, &set) {
                Ok(Taken::New) => self.state.desired = set,
                Ok(Taken::Again) => {}
                Err(refused) => tracing::warn!(%refused, "an order was refused"),
            }
        }
        self.driver.look_begins();
        self.take_over_grace();
        self.look(now, whole, &mut told);
        if whole {
            self.look_at_artifacts(now, &mut told);
            self.look_for_strays(now, &mut told);
            self.look_for_sought(now, &mut told);
        }
        // Before acting, so that an old process is reported gone before its successor appears.
        self.report(now, false, &mut told);
        if self.save(now, &mut told) {
            self.act(now, &mut told);
            self.save(now, &mut told);
        }
        self.report(now, whole, &mut told);
        told
    }

    /// Whether the state is on disk.
    fn save(&mut self, now: Time, told: &mut Told) -> bool {
        if self.saved.as_ref() == Some(&self.state) {
            return true;
        }
        match self.store.save(&self.state) {
            Ok(()) => {
                self.saved = Some(self.state.clone());
                self.unwritable = false;
                true
            }
            Err(error) => {
                self.saved = None;
                if !std::mem::replace(&mut self.unwritable, true) {
                    tell(
                        told,
                        now,
                        None,
                        format!("{error}; nothing is started or stopped until then"),
                    );
                }
                false
            }
        }
    }

    fn look(&mut self, now: Time, whole: bool, told: &mut Told) {
        for (name, instance) in &mut self.state.instances {
            self.driver.tend(name);
            if instance.running.life == Life::Launching && instance.process.is_none() {
                // The agent died between start and record.
                instance.process = self.driver.adopt(&instance.running.order);
                instance.seen_sha256 = instance
                    .process
                    .as_ref()
                    .map(|process| self.driver.started_digest(process).to_owned());
                instance.running.life = match &instance.process {
                    Some(_) => Life::Alive { since: now },
                    None => Life::Gone {
                        at: now,
                        ordered: true,
                    },
                };
            }
            let (Some(process), Some(port)) = (&instance.process, instance.port) else {
                continue;
            };
            // What is about to listen is looked at closely each time, the rest once a second.
            let young = matches!(instance.running.life, Life::Alive { since }
                if now.since(since) < STARTING_FOR);
            let facts = self.facts.get(name);
            let closely = whole
                || facts.is_none()
                || (young && facts.is_some_and(|facts| facts.listening_port.is_none()));
            match self.driver.observe(process, port, closely) {
                Observation::Still => {
                    self.unseen.remove(name);
                }
                Observation::Alive(facts) => {
                    self.unseen.remove(name);
                    let seen = Some(facts.exe_sha256.clone());
                    if instance.seen_sha256 != seen {
                        let what = format!("process {} now runs {}", facts.pid, facts.exe_sha256);
                        tell(told, now, Some(name), what);
                        instance.seen_sha256 = seen;
                    }
                    self.facts.insert(name.clone(), facts);
                }
                Observation::Gone { how } => {
                    self.unseen.remove(name);
                    self.facts.remove(name);
                    if let Some(what) = end(instance, now, &how) {
                        told.exits += 1;
                        tell(told, now, Some(name), what);
                    }
                }
                Observation::Unknown { because } => {
                    self.facts.remove(name);
                    self.unseen.insert(name.clone(), because);
                }
            }
        }
    }

    /// What lies on disk may be exchanged under a running process: its next start would run that.
    fn look_at_artifacts(&mut self, now: Time, told: &mut Told) {
        for (name, instance) in &mut self.state.instances {
            if instance.process.is_none() {
                continue;
            }
            let found = self.driver.artifact(&instance.running.order);
            let what = match &found {
                Ok(digest) => format!("its artifact on disk is now {digest}"),
                Err(error) => error.to_string(),
            };
            let found = found.ok();
            if found != instance.artifact_sha256 {
                tell(told, now, Some(name), what);
                instance.artifact_sha256 = found;
            }
        }
    }

    /// What is only observed: told when it starts, ends or runs something else.
    fn look_for_sought(&mut self, now: Time, told: &mut Told) {
        let sought = &self.state.desired.sought;
        self.found = if sought.is_empty() {
            Vec::new()
        } else {
            self.driver.seek(sought, FOUND_MAX)
        };
        for (service, what) in self.state.known.take(sought, &self.found) {
            told.unordered.push(FromAgent::Unordered {
                at: now,
                instance: None,
                service: Some(service),
                what,
            });
        }
    }

    fn look_for_strays(&mut self, now: Time, told: &mut Told) {
        let orders = self
            .state
            .instances
            .values()
            .map(|held| &held.running.order);
        let folders: BTreeSet<PathBuf> = orders
            .chain(&self.state.desired.instances)
            .map(|order| PathBuf::from(&order.artifacts))
            .collect();
        let known: Vec<D::Handle> = self
            .state
            .instances
            .values()
            .filter_map(|held| held.process.clone())
            .collect();
        let names = &self.state.instances;
        let seen: BTreeSet<Stray> = self
            .driver
            .strays(&folders, &known)
            .into_iter()
            // One that names an instance of another agent is that agent's.
            .filter(|stray| {
                let name = stray.instance.as_ref();
                name.is_none_or(|name| names.keys().any(|ours| ours.as_str() == name.as_str()))
            })
            .collect();
        for stray in seen.difference(&self.strays) {
            let what = format!(
                "process {} runs {} without an order",
                stray.pid,
                stray.exe.display()
            );
            let name = stray
                .instance
                .as_ref()
                .and_then(|name| InstanceName::new(name).ok());
            tell(told, now, name.as_ref(), what);
        }
        self.strays = seen;
    }

    /// The grace of an order counts from the newest set on, also for a process that it does not replace: one
    /// that was killed without grace gets its own again.
    fn take_over_grace(&mut self) {
        for want in &self.state.desired.instances {
            if let Some(held) = self.state.instances.get_mut(&want.instance)
                && matches!(held.running.life, Life::Alive { .. })
                && same_process(&held.running.order, want)
            {
                held.running.order.stop_grace = want.stop_grace;
            }
        }
    }

    fn act(&mut self, now: Time, told: &mut Told) {
        let running: BTreeMap<InstanceName, Running> = self
            .state
            .instances
            .iter()
            .map(|(name, held)| (name.clone(), held.running.clone()))
            .collect();
        for step in plan(&self.state.desired, &running, now) {
            match step {
                Step::Start(order) => self.start(order, now, told),
                Step::Stop(name) => self.ask(&name, Ask::Stop, now),
                Step::Kill(name) => self.ask(&name, Ask::Kill, now),
                Step::Wait(_) => {}
                Step::Forget(name) => {
                    self.state.instances.remove(&name);
                    self.facts.remove(&name);
                }
            }
        }
    }

    fn ask(&mut self, name: &InstanceName, ask: Ask, now: Time) {
        let Some(instance) = self.state.instances.get_mut(name) else {
            return;
        };
        let Some(process) = &instance.process else {
            return;
        };
        if let Err(error) = self.driver.signal(process, ask) {
            // The state stays as it is, so the next turn asks again.
            tracing::warn!(%name, %error, "a process did not get its signal");
            return;
        }
        let asked_at = match instance.running.life {
            Life::Stopping { asked_at, .. } => asked_at,
            Life::Launching | Life::Alive { .. } | Life::Gone { .. } | Life::Failed { .. } => now,
        };
        instance.killed_last = ask == Ask::Kill;
        instance.running.life = Life::Stopping {
            asked_at,
            killed_at: (ask == Ask::Kill).then_some(now),
        };
    }

    fn start(&mut self, order: DesiredInstance, now: Time, told: &mut Told) {
        let name = order.instance.clone();
        let before = self.state.instances.remove(&name);
        let given: BTreeSet<u16> = self
            .state
            .instances
            .values()
            .filter_map(|held| held.port)
            .collect();
        let mut instance = successor(before, order.clone());
        let ready = self.driver.artifact(&order).and_then(|digest| {
            instance.artifact_sha256 = Some(digest);
            self.driver.port(&order, &given)
        });
        match ready {
            Ok(port) => {
                instance.port = Some(port);
                self.state.instances.insert(name.clone(), instance);
                if self.save(now, told) {
                    let started = self.driver.start(&order, port);
                    self.started(&name, started, now, told);
                }
            }
            Err(error) => {
                self.state.instances.insert(name.clone(), instance);
                self.started(&name, Err(error), now, told);
            }
        }
    }

    fn started(
        &mut self,
        name: &InstanceName,
        started: Result<D::Handle, StartError>,
        now: Time,
        told: &mut Told,
    ) {
        let Some(instance) = self.state.instances.get_mut(name) else {
            return;
        };
        match started {
            Ok(process) => {
                let ran = self.driver.started_digest(&process).to_owned();
                if instance.artifact_sha256.as_ref() != Some(&ran) {
                    let what = format!("its artifact changed while it was started: {ran} runs");
                    tell(told, now, Some(name), what);
                }
                instance.seen_sha256 = Some(ran);
                instance.process = Some(process);
                instance.running.life = Life::Alive { since: now };
                told.restarts += u64::from(instance.unordered_exits > 0);
            }
            Err(error) => {
                instance.port = None;
                instance.running.failures_in_row += 1;
                if matches!(error, StartError::EndedAtOnce { .. }) {
                    instance.unordered_exits += 1;
                    told.exits += 1;
                    tell(told, now, Some(name), error.to_string());
                }
                let because = error.to_string();
                instance.running.life = Life::Failed { at: now, because };
            }
        }
    }

    fn report(&mut self, now: Time, whole: bool, told: &mut Told) {
        let instances: Vec<InstanceReport> = self
            .state
            .instances
            .iter()
            .map(|(name, held)| self.one(name, held))
            .collect();
        if !whole && alike(&instances, &self.last) {
            return;
        }
        self.last.clone_from(&instances);
        told.reports.push(FromAgent::Report {
            at: now,
            generation: self.state.desired.generation,
            instances,
            found: self.found.clone(),
        });
    }

    fn one(&self, name: &InstanceName, held: &Instance<D::Handle>) -> InstanceReport {
        let order = &held.running.order;
        let facts = self.facts.get(name);
        let listens = facts.is_some_and(|facts| facts.listening_port.is_some());
        let state = match (&held.running.life, self.unseen.get(name)) {
            (Life::Launching | Life::Alive { .. } | Life::Stopping { .. }, Some(because)) => {
                let because = format!("its process cannot be looked at: {because}");
                InstanceState::Waiting { because }
            }
            (Life::Alive { .. }, None) if listens => InstanceState::Running,
            (Life::Launching | Life::Alive { .. }, None) => InstanceState::Starting,
            (Life::Stopping { .. }, None) => InstanceState::Stopping,
            (Life::Gone { ordered: true, .. }, _) => InstanceState::Gone,
            (Life::Gone { ordered: false, .. }, _) => InstanceState::Waiting {
                because: format!(
                    "it exited without an order; it is started again {} later",
                    back_off(held.running.failures_in_row)
                ),
            },
            (Life::Failed { because, .. }, _) => InstanceState::Failed {
                because: because.clone(),
            },
        };
        InstanceReport {
            instance: name.clone(),
            service: order.service.clone(),
            version: order.version.clone(),
            incarnation: order.incarnation,
            state,
            port: held.port,
            process: facts.cloned(),
            artifact_sha256: held.artifact_sha256.clone(),
            unordered_exits: held.unordered_exits,
            killed_last: held.killed_last,
        }
    }
}

fn tell(told: &mut Told, at: Time, instance: Option<&InstanceName>, what: String) {
    told.unordered.push(FromAgent::Unordered {
        at,
        instance: instance.cloned(),
        service: None,
        what,
    });
}

/// Records the end of a process; what to tell, where nobody ordered it.
fn end<H>(instance: &mut Instance<H>, now: Time, how: &str) -> Option<String> {
    instance.process = None;
    instance.port = None;
    let ordered = matches!(instance.running.life, Life::Stopping { .. });
    let since = match instance.running.life {
        Life::Alive { since } => since,
        Life::Launching | Life::Stopping { .. } | Life::Gone { .. } | Life::Failed { .. } => now,
    };
    instance.running.life = Life::Gone { at: now, ordered };
    if ordered {
        instance.running.failures_in_row = 0;
        return None;
    }
    let stable = now.since(since) >= STABLE_AFTER;
    let before = if stable {
        0
    } else {
        instance.running.failures_in_row
    };
    instance.running.failures_in_row = before.saturating_add(1);
    instance.unordered_exits = instance.unordered_exits.saturating_add(1);
    Some(format!("it exited without an order: {how}"))
}

/// The record an instance starts its next process with.
fn successor<H>(before: Option<Instance<H>>, order: DesiredInstance) -> Instance<H> {
    let (unordered_exits, failures_in_row, killed_last) = before.map_or((0, 0, false), |old| {
        let was = &old.running;
        let continues =
            was.order.incarnation == order.incarnation && was.order.version == order.version;
        if continues {
            (old.unordered_exits, was.failures_in_row, old.killed_last)
        } else {
            (0, 0, old.killed_last)
        }
    });
    Instance {
        running: Running {
            order,
            life: Life::Launching,
            failures_in_row,
        },
        process: None,
        port: None,
        artifact_sha256: None,
        seen_sha256: None,
        unordered_exits,
        killed_last,
    }
}

/// Equal but for what moves all the time.
fn alike(one: &[InstanceReport], other: &[InstanceReport]) -> bool {
    let still = |report: &InstanceReport| {
        let mut report = report.clone();
        if let Some(facts) = &mut report.process {
            (facts.rss_bytes, facts.open_files) = (0, 0);
        }
        report
    };
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| still(a) == still(b))
}

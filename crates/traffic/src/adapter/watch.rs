//! What the router does without being asked: each second health checks, probes, ejections; many times a second
//! it looks whether a backend that gets more than a full share still keeps to its limit.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{Method, Request};
use mainstay_core::probe::ProbeSpec;
use mainstay_wire::router::ClaimedHealth;
use tokio::time::{Instant, timeout_at};

use super::{
    Shared,
    errand::{self, Came},
    snapshot::Snapshot,
    state::{BackendCell, Service, lock},
    upstream::{Unanswered, Upload, Upstream},
};
use crate::{EjectionInput, plan_ejections};

/// Each backend is asked once in this.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// A health check that takes longer failed.
const CHECK_WITHIN: Duration = Duration::from_secs(1);
/// A probe has the time of a user's request, but no more than this.
const PROBE_WITHIN_MAX: Duration = Duration::from_secs(10);
/// The checks of a second are spread over so many beats, so that they are no burst.
const BEATS: usize = 20;
/// How often a share above a full one is held against its limit: what broke it is undone within 100 ms, also
/// on a busy machine.
const GUARD_EVERY: Duration = Duration::from_millis(20);

/// Ends shares above a full one whose limit broke.
pub(crate) async fn guard(shared: Arc<Shared>) {
    let mut beat = tokio::time::interval(GUARD_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let snapshot = shared.snapshot.load_full();
        for service in &snapshot.services {
            let pairs = service.routes.backends.iter().zip(&service.backends);
            let guarded = pairs.filter(|(spec, _)| spec.limit.is_some() && spec.share > 1.0);
            for (_, cell) in guarded {
                cell.look(shared.now_us());
            }
        }
    }
}

pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut beat = tokio::time::interval(CHECK_EVERY / BEATS as u32);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for turn in (0..BEATS).cycle() {
        beat.tick().await;
        let snapshot = shared.snapshot.load_full();
        check_some(&shared, &snapshot, turn);
        if turn == 0 {
            for service in &snapshot.services {
                judge(service, shared.now_ms(), snapshot.protected);
            }
        }
    }
}

fn check_some(shared: &Arc<Shared>, snapshot: &Snapshot, turn: usize) {
    let all = snapshot
        .services
        .iter()
        .flat_map(|s| s.backends.iter().map(move |cell| (s, cell)));
    for (service, cell) in all.skip(turn).step_by(BEATS) {
        cell.close_stale(shared.now_us());
        if cell.checking.swap(true, Ordering::AcqRel) {
            continue;
        }
        let (routes, watched) = (&service.routes, Arc::clone(shared));
        let out = lock(&cell.tally).health.is_out();
        let check = Check {
            cell: Arc::clone(cell),
            health: routes.health.clone(),
            probes: if out { probes(service) } else { Vec::new() },
            probe_within: PROBE_WITHIN_MAX.min(Duration::from_millis(routes.timeout.millis())),
        };
        shared.tasks.spawn(async move { check.run(&watched).await });
    }
}

/// What a backend out of rotation is asked: what its service declares, else what users got answers to, never a path of
/// our own, since one that no worker has to answer says nothing.
fn probes(service: &Service) -> Vec<ProbeSpec> {
    if !service.routes.probes.is_empty() {
        return service.routes.probes.clone();
    }
    let path = service.cell.typical_path();
    vec![path.map_or_else(
        || ProbeSpec::get(&*service.routes.prefix),
        |path| ProbeSpec::get(&*path),
    )]
}

/// What became of a request of the router's own.
enum Asked {
    /// The status of the answer.
    Answered(u16),
    /// The connection was taken, and no answer came.
    Unanswered,
    /// Nobody took the connection.
    Refused,
}

struct Check {
    cell: Arc<BackendCell>,
    health: String,
    probes: Vec<ProbeSpec>,
    probe_within: Duration,
}

impl Drop for Check {
    fn drop(&mut self) {
        self.cell.checking.store(false, Ordering::Release);
    }
}

impl Check {
    async fn run(self, shared: &Shared) {
        let tally = &self.cell.tally;
        let (end, address) = (Instant::now() + CHECK_WITHIN, &self.cell.spec.address);
        let build = || {
            let request = errand::request(Method::GET, &self.health, address, end);
            request.body(Upload::Empty).ok()
        };
        let asked = self.ask(build, end).await;
        let out = {
            let health = &mut lock(tally).health;
            match asked {
                Asked::Answered(code) => health.claim(shared.now_ms(), code < 400),
                Asked::Unanswered => health.claim(shared.now_ms(), false),
                Asked::Refused => health.refused(),
            }
            health.is_out()
        };
        if out && !self.probes.is_empty() {
            let well = self.is_well().await;
            lock(tally).health.probed(shared.now_ms(), well);
        }
    }

    /// Whether each of its probes gets a good answer.
    async fn is_well(&self) -> bool {
        for probe in &self.probes {
            let end = Instant::now() + self.probe_within;
            let address = &self.cell.spec.address;
            let build = || errand::probe(probe, "ejection", address, end);
            match self.ask(build, end).await {
                Asked::Answered(code) if probe.expects(code) => {}
                Asked::Answered(_) | Asked::Unanswered | Asked::Refused => return false,
            }
        }
        true
    }

    /// What became of a request, on the kept connection if it still stands.
    async fn ask(&self, build: impl Fn() -> Option<Request<Upload>>, end: Instant) -> Asked {
        let kept = lock(&self.cell.check).take();
        if let Some(kept) = kept {
            let answer = timeout_at(end, self.ask_on(kept, build(), end)).await;
            match answer {
                Ok(Ok(code)) => return Asked::Answered(code),
                // Closed since it was used last, most likely.
                Ok(Err(_)) if Instant::now() < end => {}
                Ok(Err(_)) | Err(_) => return Asked::Unanswered,
            }
        }
        let fresh = timeout_at(end, Upstream::connect(&self.cell.spec.address, None)).await;
        let Ok(Some(fresh)) = fresh else {
            return Asked::Refused;
        };
        match timeout_at(end, self.ask_on(fresh, build(), end)).await {
            Ok(Ok(code)) => Asked::Answered(code),
            Ok(Err(_)) | Err(_) => Asked::Unanswered,
        }
    }

    async fn ask_on(
        &self,
        mut upstream: Box<Upstream>,
        request: Option<Request<Upload>>,
        end: Instant,
    ) -> Result<u16, Unanswered> {
        let request = request.ok_or(Unanswered::Broken)?;
        let (parts, came) = errand::ask(&mut upstream, request, end).await?;
        lock(&self.cell.tally).check_saw(&parts.headers);
        if came == Came::Whole && upstream.rests() && !self.cell.is_retired() {
            *lock(&self.cell.check) = Some(upstream);
        }
        Ok(parts.status.as_u16())
    }
}

fn judge(service: &Service, now: u64, protected: bool) {
    let pairs = || service.routes.backends.iter().zip(&service.backends);
    let inputs: Vec<EjectionInput> = pairs()
        .map(|(spec, cell)| {
            let mut tally = lock(&cell.tally);
            let oldest = tally.oldest_ms(now * 1_000);
            tally.health.tick(now, oldest);
            EjectionInput {
                turned_bad_ms: tally.health.turned_bad_ms(),
                out: spec.draining || tally.health.is_out(),
                capacity_rps: spec.capacity_rps,
            }
        })
        .collect();
    let owner = &service.cell;
    let plan = protected.then(|| {
        let demand = lock(&owner.retry).offered_rps(now / 1_000);
        plan_ejections(&inputs, demand, now, owner.mass.load(Ordering::Relaxed))
    });
    for index in plan.iter().flat_map(|plan| &plan.eject) {
        let cell = &service.backends[*index];
        lock(&cell.tally).health.eject();
        lock(&cell.series).ejections += 1;
    }
    owner
        .mass
        .store(plan.as_ref().is_some_and(|p| p.mass), Ordering::Relaxed);
    owner
        .shed
        .store(plan.as_ref().map_or(0, |p| p.shed), Ordering::Relaxed);
    for (_, cell) in pairs() {
        let mut tally = lock(&cell.tally);
        lock(&cell.series).flips += tally.health.take_flips();
        let share = if protected {
            tally.health.share()
        } else {
            // The routers of that day believed the health check.
            match tally.health.claimed() {
                ClaimedHealth::Ok | ClaimedHealth::Unknown => 1.0,
                ClaimedHealth::Failing | ClaimedHealth::Silent => 0.0,
            }
        };
        cell.share_permille
            .store((share * 1_000.0) as u32, Ordering::Relaxed);
    }
}

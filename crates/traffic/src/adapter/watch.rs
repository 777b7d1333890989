//! What the router does without being asked: each second health checks, probes, ejections; many times a second
//! it looks whether a backend that gets more than a full share still keeps to its limit.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::Method;
use tokio::time::Instant;

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
        cell.close_stale();
        if cell.checking.swap(true, Ordering::AcqRel) {
            continue;
        }
        let (routes, watched) = (&service.routes, Arc::clone(shared));
        let check = Check {
            cell: Arc::clone(cell),
            health: routes.health.clone(),
            probe: service
                .cell
                .typical_path()
                .map_or_else(|| routes.prefix.clone(), String::from),
            probe_within: PROBE_WITHIN_MAX.min(Duration::from_millis(routes.timeout.millis())),
        };
        shared.tasks.spawn(async move { check.run(&watched).await });
    }
}

struct Check {
    cell: Arc<BackendCell>,
    health: String,
    probe: String,
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
        let well = self.ask(&self.health, CHECK_WITHIN).await;
        let well = well.is_some_and(|code| code < 400);
        let out = {
            let mut tally = lock(tally);
            tally.health.claim(shared.now_ms(), well);
            tally.health.is_out()
        };
        if out {
            // By what users get, not by a path of our own: one that no worker has to answer says nothing.
            let well = self.ask(&self.probe, self.probe_within).await;
            let well = well.is_some_and(|code| code < 500);
            lock(tally).health.probed(shared.now_ms(), well);
        }
    }

    /// The status of the answer to a GET, on the kept connection if it still stands.
    async fn ask(&self, path: &str, within: Duration) -> Option<u16> {
        let end = Instant::now() + within;
        let answer = async {
            let kept = lock(&self.cell.check).take();
            if let Some(kept) = kept
                && let Ok(code) = self.ask_on(kept, path, end).await
            {
                return Some(code);
            }
            let fresh = Upstream::connect(&self.cell.spec.address, None).await?;
            self.ask_on(fresh, path, end).await.ok()
        };
        tokio::time::timeout_at(end, answer).await.ok().flatten()
    }

    async fn ask_on(
        &self,
        mut upstream: Box<Upstream>,
        path: &str,
        end: Instant,
    ) -> Result<u16, Unanswered> {
        let address = &self.cell.spec.address;
        let request = errand::request(Method::GET, path, address, end)
            .body(Upload::Empty)
            .map_err(|_| Unanswered::Broken)?;
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
            let failing = mainstay_wire::router::ClaimedHealth::Failing;
            f64::from(u8::from(tally.health.claimed() != failing))
        };
        cell.share_permille
            .store((share * 1_000.0) as u32, Ordering::Relaxed);
    }
}

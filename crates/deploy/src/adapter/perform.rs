//! What rollouts ask for, done.
//!
//! Each effect is a long question: it is answered as soon as there is something to say, and otherwise with
//! what is known before the runtime asks again.

use std::time::Duration;

use mainstay_change::{Direction, STATED, freeze, judge as judge_guard};
use mainstay_core::{
    ChangeId, Finding, Measured, Name, Outcome, ServiceName, Span, Time, Verdict,
    catalog::FreezeSpec, guard::Guard,
};
use tokio::time::Instant;

use super::{Engine, Gathered, lock, propose::declared};
use crate::{
    evidence::{Arms, Bench, Tick, Traffic},
    model::Model,
    moves::{Expected, Processes, Sighting, Sought},
    rollout::{DWELL, Effect, Gate, Input, Ruling},
    site::REPORT_FRESH,
    slots::Slots,
};

/// How long a question may stay open: less than the runtime waits before it asks again.
pub(super) const OPEN_FOR: Duration = Duration::from_millis(4_500);
/// How often is looked while instances move.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// One tick of the judge.
const TICK: Duration = Duration::from_secs(1);
/// Ticks not judged because the server was busy are judged together, up to this; older requests are not
/// evidence any more.
const TICK_MAX: Span = Span::from_secs(10);
/// Findings of one verdict in an entry, worst first.
const FINDINGS_MAX: usize = 8;
/// Longest value of a finding in an entry, in bytes.
const VALUE_CHARS_MAX: usize = 240;

/// What the judge is asked.
struct Asked {
    since: Time,
    gate: Gate,
    control: Slots,
    probes: bool,
}

impl Engine {
    /// Does what the rollout `change` asks for by `effect`; answers with inputs, as JSON.
    pub async fn perform(&self, change: ChangeId, effect: String) -> Vec<String> {
        let inputs = match serde_json::from_str(&effect) {
            Ok(effect) => self.answer(&change, effect).await,
            Err(error) => {
                tracing::error!(%change, %error, "an effect cannot be read");
                Vec::new()
            }
        };
        let texts = inputs.iter().filter_map(|input| {
            let text = serde_json::to_string(input);
            text.inspect_err(|error| tracing::error!(%change, %error, "an input cannot be written"))
                .ok()
        });
        texts.collect()
    }

    async fn answer(&self, change: &ChangeId, effect: Effect) -> Vec<Input> {
        let Some(service) = self.service_of(change).await else {
            return Vec::new();
        };
        match effect {
            Effect::Admit => self.admit(change, &service).await.into_iter().collect(),
            Effect::Observe {
                generation,
                starting,
                expected,
                control,
                draining,
            } => {
                let wanted = self.with_control(change, starting, expected, control);
                let current = |model: &Model| {
                    let track = model.rollouts.get(change);
                    track.is_some_and(|it| it.state.generation() <= generation)
                };
                let before = {
                    let model = self.model();
                    let track = model.rollouts.get(change);
                    track.map_or_else(Processes::default, |it| it.state.before().clone())
                };
                let sought = Sought {
                    service: &service,
                    wanted: &wanted,
                    before: &before,
                    draining: &draining,
                };
                let seen = self.observe(sought, current).await;
                seen.map(|seen| Input::Seen {
                    generation,
                    verified: seen.verified,
                    drained: seen.drained,
                    failing: seen.failing,
                })
                .into_iter()
                .collect()
            }
            Effect::Judge {
                since,
                gate,
                control,
                probes,
            } => {
                let asked = Asked {
                    since,
                    gate,
                    control,
                    probes,
                };
                let verdict = self.judge(change, &service, asked).await;
                verdict.into_iter().collect()
            }
            Effect::Lease {
                batch,
                direction,
                candidates,
            } => self
                .lease(change, &service, batch, direction, &candidates)
                .await
                .into_iter()
                .collect(),
            Effect::Settle { deployment } => self
                .settle(change, &service, &deployment)
                .await
                .map(|number| Input::Settled { number })
                .into_iter()
                .collect(),
        }
    }

    /// The service a change moves; waits until the entry that opened it was read.
    pub(super) async fn service_of(&self, change: &ChangeId) -> Option<ServiceName> {
        let mut folded = self.0.folded.subscribe();
        let deadline = Instant::now() + OPEN_FOR;
        loop {
            if let Some(service) = self.model().service_of(change) {
                return Some(service.clone());
            }
            tokio::time::timeout_at(deadline, folded.changed())
                .await
                .ok()?
                .ok()?;
        }
    }

    fn with_control(
        &self,
        change: &ChangeId,
        starting: Slots,
        expected: Expected,
        control: Slots,
    ) -> Vec<(Slots, Expected)> {
        let from = self
            .model()
            .rollouts
            .get(change)
            .and_then(|track| track.state.plan().from.clone());
        let mut wanted = vec![(starting, expected.clone())];
        if let Some(from) = from {
            let of_old = Expected {
                version: from,
                incarnation: expected.incarnation,
            };
            wanted.push((control, of_old));
        }
        wanted
    }

    fn is_current(&self, change: &ChangeId, is: impl Fn(&crate::rollout::State) -> bool) -> bool {
        self.model()
            .rollouts
            .get(change)
            .is_some_and(|track| is(&track.state))
    }

    /// What is seen of instances on the move, as soon as there is news, for as long as it is `current`.
    pub(super) async fn observe(
        &self,
        sought: Sought<'_>,
        current: impl Fn(&Model) -> bool,
    ) -> Option<Sighting> {
        let draining = sought.draining;
        let deadline = Instant::now() + OPEN_FOR;
        loop {
            let now = self.now();
            let looked = self.with_eyes(|eyes| eyes.look(sought));
            let at_rest = !draining.is_empty() && looked.drained.covers(draining);
            let news = !looked.verified.is_empty() || looked.failing.is_some() || at_rest;
            if news || Instant::now() >= deadline {
                return Some(Sighting {
                    verified: looked.measured(now),
                    drained: looked.drained,
                    failing: looked.failing,
                });
            }
            if !current(&self.model()) {
                return None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether a rollout may begin: no freeze holds it, no guard fails, and whoever has to act is there.
    async fn admit(&self, change: &ChangeId, service: &ServiceName) -> Option<Input> {
        let deadline = Instant::now() + OPEN_FOR;
        loop {
            let verdict = self.admission(change, service).await?;
            if verdict.value().outcome() == Outcome::Pass || Instant::now() >= deadline {
                return Some(Input::Admission { verdict });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn admission(
        &self,
        change: &ChangeId,
        service: &ServiceName,
    ) -> Option<Measured<Verdict>> {
        let now = self.now();
        let mut findings = vec![self.freeze_finding(change, service, now)?];
        findings.extend(self.presence(change, now)?);
        findings.extend(self.guard_findings(service, now).await);
        let findings = self.waived(change, service, findings);
        let verdict = short(Verdict::new("begin", now, findings));
        Some(Measured::observe(verdict, now, "guard"))
    }

    /// The findings as they count under the emergency that the change was opened under, if any: missing
    /// evidence may pass, with the name of who let it; a measured failure stays one. What is stated stands beside them.
    pub(super) fn waived(
        &self,
        change: &ChangeId,
        service: &ServiceName,
        findings: Vec<Finding>,
    ) -> Vec<Finding> {
        let model = self.model();
        let opened = model.change(change);
        let declared = opened.and_then(|opened| declared(&model, service, opened));
        let Some(declared) = declared else {
            return findings;
        };
        let stated = declared.stated(self.now());
        let findings = findings.into_iter().map(|it| declared.apply(it));
        findings.chain(stated).collect()
    }

    pub(super) fn freeze_finding(
        &self,
        change: &ChangeId,
        service: &ServiceName,
        now: Time,
    ) -> Option<Finding> {
        let model = self.model();
        let opened = model.change(change)?;
        let emergency = declared(&model, service, opened);
        let freezes: Vec<(Name, FreezeSpec)> = model
            .freezes
            .iter()
            .map(|(name, spec)| (name.clone(), spec.clone()))
            .collect();
        let asked = freeze::Asked {
            service,
            kind: opened.kind,
            direction: Direction::Forward,
            emergency: emergency.as_ref(),
        };
        Some(freeze::check(&freezes, asked, now))
    }

    /// Whether every agent and router that has to act is connected and was heard lately.
    pub(super) fn presence(&self, change: &ChangeId, now: Time) -> Option<Vec<Finding>> {
        let seen = self.0.ports.site.seen();
        let model = self.model();
        let mover = model.mover(change)?;
        let mut silent = Vec::new();
        for (fabric, hosts) in &mover.hosts {
            for host in hosts {
                let heard = seen.hosts.get(host).is_some_and(|it| it.is_fresh(now));
                if !heard {
                    silent.push(format!("host {host}"));
                }
            }
            let routed = model
                .fabrics
                .get(fabric)
                .is_some_and(|it| it.listen.is_some());
            let heard = seen.fabrics.get(fabric).is_some_and(|it| it.is_fresh(now));
            if routed && !heard {
                silent.push(format!("router {fabric}"));
            }
        }
        let outcome = if silent.is_empty() {
            Outcome::Pass
        } else {
            Outcome::InsufficientEvidence
        };
        Some(vec![Finding {
            signal: "presence".to_owned(),
            outcome,
            value: if silent.is_empty() {
                "every host and router reports".to_owned()
            } else {
                format!("no report from {}", silent.join(", "))
            },
            limit: format!("a report within {REPORT_FRESH}"),
            remedy: "start the agent or router, or take the host out of the catalog".to_owned(),
        }])
    }

    pub(super) async fn guard_findings(&self, service: &ServiceName, now: Time) -> Vec<Finding> {
        let guards: Vec<Guard> = {
            let model = self.model();
            let covers = |guard: &&Guard| {
                guard.spec.services.is_empty() || guard.spec.services.contains(service)
            };
            model.guards.values().filter(covers).cloned().collect()
        };
        let mut findings = Vec::with_capacity(guards.len());
        for guard in guards {
            let seen = self.0.ports.signals.eval(&guard.spec.expr, now).await;
            findings.push(judge_guard(&guard, seen.as_ref(), now));
        }
        findings
    }

    async fn judge(&self, change: &ChangeId, service: &ServiceName, asked: Asked) -> Option<Input> {
        let Asked {
            since,
            gate,
            control,
            probes,
        } = asked;
        let evidence = lock(&self.0.evidence)
            .entry(change.clone())
            .or_default()
            .gathered
            .clone();
        let deadline = Instant::now() + OPEN_FOR;
        let mut gathered = tokio::time::timeout_at(deadline, evidence.lock())
            .await
            .ok()?;
        let (arms, margin, bake) = self.arms(change, service, &control)?;
        if gathered.is_none() {
            let bench = Bench::new(margin)
                .inspect_err(|error| tracing::error!(%change, %error, "nothing can be judged"))
                .ok()?;
            *gathered = Some(Gathered {
                bench,
                until: self.now(),
            });
        }
        let gathered = gathered.as_mut()?;
        let dwell = match gate {
            Gate::Canary { .. } | Gate::Batch { .. } => DWELL,
            Gate::Bake => bake.max(DWELL),
        };
        loop {
            self.gather(service, &arms, probes, gathered).await;
            let (ruling, verdict) = self.ruled(change, service, &gathered.bench).await?;
            let decided = match ruling {
                Ruling::Harm | Ruling::SharedFailure => true,
                Ruling::Pass => verdict.observed_at() >= since + dwell,
                Ruling::Insufficient | Ruling::Frozen => false,
            };
            if decided || Instant::now() + TICK >= deadline {
                return Some(Input::Verdict { ruling, verdict });
            }
            if !self.is_current(change, |state| state.since() == since) {
                return None;
            }
            tokio::time::sleep(TICK).await;
        }
    }

    fn arms(
        &self,
        change: &ChangeId,
        service: &ServiceName,
        control: &Slots,
    ) -> Option<(Arms, mainstay_core::Percent, Span)> {
        let model = self.model();
        let plan = model.rollouts.get(change)?.state.plan();
        let young = control
            .iter()
            .filter_map(|slot| slot.instance(service).ok())
            .map(|name| name.to_string())
            .collect();
        let arms = Arms {
            canary: plan.to.to_string(),
            control: plan.from.as_ref()?.to_string(),
            young,
        };
        Some((arms, plan.terms.margin, plan.terms.bake))
    }

    /// Adds what the routers counted since the last tick; of probes only once the rollout asked for them.
    async fn gather(
        &self,
        service: &ServiceName,
        arms: &Arms,
        probes: bool,
        gathered: &mut Gathered,
    ) {
        let now = self.now();
        let oldest = now - TICK_MAX;
        let from = gathered.until.max(oldest);
        let count = async |family: &str| {
            let selector = format!("mainstay_router_{family}{{service=\"{service}\"}}");
            let counted = self.0.ports.signals.counts(&selector, from, now).await;
            counted.map(|it| it.value().clone())
        };
        let requests = count("requests_total").await;
        let buckets = count("request_duration_seconds_bucket").await;
        let clients = count("client_requests_total").await;
        let probed = if probes {
            let requests = count("probes_total").await;
            requests.zip(count("probe_duration_seconds_bucket").await)
        } else {
            None
        };
        let (Some(requests), Some(buckets)) = (requests, buckets) else {
            // The next tick counts from where this one began.
            return;
        };
        gathered.until = now;
        let probes = probed
            .as_ref()
            .map(|(requests, buckets)| Traffic { requests, buckets });
        let tick = Tick {
            clients: clients.as_ref(),
            probes,
            ..Tick::of_users(&requests, &buckets)
        };
        let observed = gathered.bench.observe(arms, tick);
        if let Err(error) = observed {
            tracing::warn!(%service, %error, "a tick of evidence was refused");
        }
    }

    pub(super) async fn ruled(
        &self,
        change: &ChangeId,
        service: &ServiceName,
        bench: &Bench,
    ) -> Option<(Ruling, Measured<Verdict>)> {
        let now = self.now();
        let ruled = bench.rule();
        let mut findings = ruled.findings;
        let guards = self.guard_findings(service, now).await;
        let mut ruling = with_guards(ruled.ruling, &guards);
        findings.extend(guards);
        let mut findings = self.waived(change, service, findings);
        if ruling == Ruling::Insufficient && findings.iter().all(|it| it.outcome == Outcome::Pass) {
            ruling = Ruling::Pass;
        }
        let freeze = self.freeze_finding(change, service, now)?;
        if freeze.outcome != Outcome::Pass && matches!(ruling, Ruling::Pass | Ruling::Insufficient)
        {
            ruling = Ruling::Frozen;
            findings.insert(0, freeze);
        }
        let step = self
            .model()
            .rollouts
            .get(change)
            .map(|track| track.state.step_words())?;
        let verdict = short(Verdict::new(step, now, findings));
        if let Some(evidence) = lock(&self.0.evidence).get_mut(change) {
            evidence.ruled = Some(verdict.clone());
        }
        Some((ruling, Measured::observe(verdict, now, "routers")))
    }
}

/// What the judge rules where guards have a say: they fail a change and never promote it. One that fails while the judge
/// has shown that both versions fail alike tells of what they share, which no rollback mends (docs/adr/0010).
fn with_guards(ruling: Ruling, guards: &[Finding]) -> Ruling {
    let worst = |outcome| guards.iter().any(|it| it.outcome == outcome);
    match ruling {
        Ruling::SharedFailure => Ruling::SharedFailure,
        Ruling::Pass | Ruling::Harm | Ruling::Insufficient | Ruling::Frozen
            if worst(Outcome::Fail) =>
        {
            Ruling::Harm
        }
        Ruling::Pass if worst(Outcome::InsufficientEvidence) => Ruling::Insufficient,
        Ruling::Pass | Ruling::Harm | Ruling::Insufficient | Ruling::Frozen => ruling,
    }
}

/// A verdict that fits an entry: the worst findings, values cut where they run on. What a person stated is never
/// left out.
pub(super) fn short(mut verdict: Verdict) -> Verdict {
    let stated = verdict.findings.iter().position(|it| it.signal == STATED);
    if let Some(at) = stated.filter(|at| *at >= FINDINGS_MAX) {
        verdict.findings.swap(at, FINDINGS_MAX - 1);
    }
    verdict.findings.truncate(FINDINGS_MAX);
    for finding in &mut verdict.findings {
        for text in [&mut finding.value, &mut finding.limit, &mut finding.remedy] {
            if text.chars().count() > VALUE_CHARS_MAX {
                *text = text.chars().take(VALUE_CHARS_MAX).chain(['…']).collect();
            }
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_fails_a_change_and_never_promotes_one_nor_blames_it_for_what_both_versions_share() {
        use Outcome::{Fail, InsufficientEvidence, Pass};
        let cases = [
            (Ruling::Pass, Pass, Ruling::Pass),
            (Ruling::Pass, InsufficientEvidence, Ruling::Insufficient),
            (Ruling::Pass, Fail, Ruling::Harm),
            (Ruling::Insufficient, Pass, Ruling::Insufficient),
            (Ruling::Insufficient, Fail, Ruling::Harm),
            (Ruling::Harm, Pass, Ruling::Harm),
            (Ruling::SharedFailure, Fail, Ruling::SharedFailure),
            (Ruling::SharedFailure, Pass, Ruling::SharedFailure),
        ];
        for (ruling, outcome, wanted) in cases {
            let guard = Finding {
                signal: "errors".to_owned(),
                value: String::new(),
                limit: String::new(),
                outcome,
                remedy: String::new(),
            };
            assert_eq!(
                with_guards(ruling, &[guard]),
                wanted,
                "{ruling:?} {outcome:?}"
            );
        }
    }
}

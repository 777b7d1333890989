//! Counts of instances, as services declare them: where another count runs, a change of its own moves there.
//!
//! Guarantees: counts that measured capacity does not allow are refused before they are declared, with the
//! arithmetic; what came to be too few only afterwards waits, and is held by the same arithmetic batch by batch. Each
//! declaration is answered once, in the name of whoever made it.

use mainstay_core::{
    Actor, Finding, InstanceName, Outcome, ServiceName, Verdict,
    ports::{Declined, InstanceCounts, No},
};

use super::{Engine, ask::Planned, load::Figures, lock, perform::short, propose::unavailable};
use crate::{
    capacity::{self, Known},
    model::Model,
    scaling,
};

impl Engine {
    /// Opens a change for every service that runs another count of instances than it declares.
    pub(super) async fn open_scales(&self) {
        let services: Vec<ServiceName> = self.model().services.keys().cloned().collect();
        for service in services {
            match self.open_scale(&service).await {
                Ok(Some(opened)) => {
                    tracing::info!(%service, %opened, "its count of instances changes");
                }
                Ok(None) => {}
                Err(declined) => {
                    tracing::info!(%service, %declined, "its count of instances does not change yet");
                }
            }
        }
    }

    async fn open_scale(&self, service: &ServiceName) -> Result<Option<String>, Declined> {
        let now = self.now();
        let (planned, actor) = {
            let model = self.model();
            let Some(plan) = scaling::plan(&model, service)? else {
                return Ok(None);
            };
            let words = scaling::words(&plan);
            let version = model.deployment_versions.get(service).copied();
            let planned = Planned {
                title: format!("scale {service}: {words}"),
                lines: vec![words],
                reason: "its declaration asks for it".to_owned(),
                claims: Some(version.unwrap_or(0)),
                plan,
            };
            let declared = model.declared.get(service);
            (
                planned,
                declared.map_or_else(Actor::system, |it| it.by.clone()),
            )
        };
        let lines = planned.lines.clone();
        let (id, append) = self.opened(planned, actor, now)?;
        self.begin(id, append, &lines).await.map(Some)
    }

    /// Refuses counts of instances that leave too little to carry measured demand.
    pub async fn may_scale(
        &self,
        wanted: &[(ServiceName, InstanceCounts)],
    ) -> Result<(), Declined> {
        self.catch_up().await.map_err(unavailable)?;
        let findings: Vec<Finding> = {
            let model = self.model();
            let all = wanted.iter();
            all.flat_map(|(service, counts)| self.too_few(&model, service, counts))
                .collect()
        };
        if findings.is_empty() {
            return Ok(());
        }
        let verdict = short(Verdict::new("scale".to_owned(), self.now(), findings));
        let mut declined = Declined::new(
            No::Denied,
            "scale-denied",
            verdict.sentence(),
            "declare more instances, or wait until demand is lower",
        );
        declined.verdict = Some(Box::new(verdict));
        Err(declined)
    }

    /// What is wrong with `counts`, by fabric. Where nothing is measured nothing is said: the change itself waits.
    fn too_few(
        &self,
        model: &Model,
        service: &ServiceName,
        counts: &InstanceCounts,
    ) -> Vec<Finding> {
        let (Some(spec), Some(runs)) =
            (model.services.get(service), model.deployments.get(service))
        else {
            return Vec::new();
        };
        let Some(desired) = model.desired().remove(service) else {
            return Vec::new();
        };
        let leaving = scaling::difference(runs, counts).leaving;
        let (now, seen) = (self.now(), self.0.ports.site.seen());
        let loads = lock(&self.0.loads);
        let figures = Figures::new(&loads, None, now);
        let versions = desired.slots.values().map(|it| it.version.clone());
        let carries = figures.carries(service, spec, &model.tested, versions);
        let mut findings = Vec::new();
        for fabric in leaving.fabrics() {
            let known = Known {
                service,
                spec,
                fabric,
                desired: &desired,
                hosts: &model.hosts,
                seen: &seen,
                demand_upper_rps: figures.demand_upper(service, fabric),
                carries: &carries,
                leased_rps: 0.0,
            };
            let names = leaving
                .of(fabric)
                .filter_map(|slot| slot.instance(service).ok());
            let names: Vec<InstanceName> = names.collect();
            let sum = capacity::arithmetic(known, &names, now);
            let needed = sum.demand_upper_rps + sum.margin_rps;
            // Fewer at once is the change's affair, batch by batch; here it is about what is left at its end.
            if sum.remaining_rps < needed {
                let mut finding = sum.finding();
                finding.outcome = Outcome::Fail;
                finding.value = format!("{service} in {fabric}: {}", finding.value);
                findings.push(finding);
            }
        }
        findings
    }
}

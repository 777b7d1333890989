//! What a plan says to people before anything begins: its gates and how long their evidence takes, its batches, and
//! what a rollback would take.
//!
//! Guarantees: every figure is measured, or called an estimate with its source, or called unknown. Refuses one thing
//! alone: under `enforce: true` a rollout in place whose rollback is not known to hold `rollbackWithin`.

use std::collections::BTreeMap;

use mainstay_core::{
    FabricName, Version,
    catalog::{RolloutPolicySpec, ServiceSpec, Strategy},
    flaw::FLIP,
    ports::Declined,
};
use mainstay_stats::sample_needed;

use super::{load::Figures, propose::invalid};
use crate::{
    capacity::domain,
    deployment::Placed,
    exposure::{Basis, Estimate, Fleet, NoData, Place, estimate, further},
    model::Model,
    pace::Pace,
    plan::{ALL, RolloutPlan},
    slots::Slot,
};

/// Share of bad requests assumed for the estimate that a plan prints.
const BASELINE: f64 = 0.001;
/// Level at which a version is shown to be no worse.
const ALPHA_SAFE: f64 = 0.05;

/// A plan, and what it is looked at with.
#[derive(Clone, Copy)]
pub(super) struct Outlook<'a> {
    pub(super) model: &'a Model,
    pub(super) spec: &'a ServiceSpec,
    pub(super) plan: &'a RolloutPlan,
    pub(super) policy: &'a RolloutPolicySpec,
    pub(super) figures: Figures<'a>,
}

impl Outlook<'_> {
    /// The plan for people.
    pub(super) fn lines(self) -> Vec<String> {
        let plan = self.plan;
        let fabrics: Vec<&FabricName> = plan.base.fabrics.keys().collect();
        let names: Vec<String> = fabrics.iter().map(ToString::to_string).collect();
        let mut lines = vec![format!(
            "{} instances of {} in {}: {} → {}",
            plan.base.slots().count(),
            plan.service,
            names.join(", "),
            plan.from.as_ref().map_or("nothing", Version::as_str),
            plan.to
        )];
        let Some(from) = &plan.from else {
            lines.push("uncontrolled: a first release has nothing to be compared with".to_owned());
            lines.push("a rollback unroutes it: there is nothing to return to".to_owned());
            return lines;
        };
        let demand = fabrics
            .iter()
            .map(|fabric| self.figures.demand(&plan.service, fabric))
            .sum();
        let steps = plan.terms.canary_steps.iter();
        lines.extend(steps.map(|step| self.gate(*step, demand)));
        match plan.terms.strategy {
            Strategy::Canary => {
                lines.push(self.batches());
                lines.extend(self.rollback(from));
            }
            Strategy::BlueGreen => {
                lines.push("a second set beside the first, then the routes".to_owned());
                lines.push(format!(
                    "a rollback takes {} s from every stage, by the routes alone: the first set is warm until the \
                     bake ends (an estimate)",
                    FLIP.secs_f64()
                ));
            }
        }
        lines.push(format!("bake for {}, then done", plan.terms.bake));
        lines.extend(self.figures.stated().map(|it| it.value));
        lines.extend(self.unmeasured(from));
        lines
    }

    fn batches(self) -> String {
        let terms = &self.plan.terms;
        let domain = format!("{:?}", self.spec.failure_domain).to_lowercase();
        let stop = terms.expose.map_or_else(String::new, |share| {
            format!("; stops for a person once {share} of the instances are moved")
        });
        format!(
            "batches of at most {}, as measured capacity allows; failure domain: {domain}{stop}",
            terms.batch
        )
    }

    /// How long the evidence of one step takes at the present traffic.
    fn gate(self, step: u32, demand: Option<f64>) -> String {
        let terms = &self.plan.terms;
        let share = f64::from(step) / f64::from(ALL);
        let percent = share * 100.0;
        let against = (1.0 - share) / share;
        let needed = sample_needed(BASELINE, terms.margin.fraction(), ALPHA_SAFE, against);
        match (needed, demand) {
            (Some(needed), Some(rps)) if rps > 0.0 => {
                let wait = needed as f64 / (rps * share);
                let longer = if wait > terms.max_evidence_wait.secs_f64() {
                    let then = if terms.probes {
                        "half-way probes are sent, and at its end a person is asked"
                    } else {
                        "and at its end a person is asked (`spec.probes` would be sent before)"
                    };
                    format!(
                        "; longer than the {} allowed: a third of the way the canary gets its full share, {then}",
                        terms.max_evidence_wait
                    )
                } else {
                    String::new()
                };
                format!(
                    "canary {percent} %: about {needed} requests, {:.1} min at {rps:.0} rps (estimate){longer}",
                    wait / 60.0
                )
            }
            (Some(needed), _) => format!(
                "canary {percent} %: about {needed} requests (estimate); traffic is not measured yet"
            ),
            (None, _) => format!("canary {percent} %: no sample shows this margin"),
        }
    }

    /// What a rollback would take, and what would hold it within what is wanted.
    fn rollback(self, from: &Version) -> Vec<String> {
        match self.estimated(from) {
            Ok(estimate) => {
                let warning = estimate.proposal().map(|it| format!("warning: {it}"));
                let said = [estimate.by_stage(), estimate.sentence()];
                said.into_iter().chain(warning).collect()
            }
            Err(missing) => vec![
                self.no_data(&missing),
                format!("warning: {}", self.remedy(&missing)),
            ],
        }
    }

    fn no_data(self, missing: &NoData) -> String {
        format!(
            "a rollback in place: no data, so that nothing bounds it to rollbackWithin, {}: {missing}",
            self.policy.rollback_within
        )
    }

    /// How to come to an estimate, or to do without.
    fn remedy(self, missing: &NoData) -> String {
        let service = &self.plan.service;
        let measure = match missing {
            NoData::Pace => {
                format!("measure a replacement with `mainstay restart {service}`")
            }
            NoData::Demand(_) => "wait until users ask for it".to_owned(),
            NoData::Capacity(_) => format!(
                "declare spec.capacityRps, or measure it with `mainstay limit-test {service}`"
            ),
        };
        format!("{measure}; or order `--strategy blue-green`, which the routes alone take back")
    }

    /// Under `enforce` a rollout in place is refused unless its rollback is estimated to hold what is wanted.
    pub(super) fn enforce(self) -> Result<(), Declined> {
        let in_place = self.plan.terms.strategy == Strategy::Canary && self.policy.enforce;
        let Some(from) = self.plan.from.as_ref().filter(|_| in_place) else {
            return Ok(());
        };
        let (what, remedy) = match self.estimated(from) {
            Ok(estimate) => match estimate.proposal() {
                None => return Ok(()),
                Some(proposal) => (estimate.sentence(), proposal),
            },
            Err(missing) => (self.no_data(&missing), self.remedy(&missing)),
        };
        Err(invalid(
            "rollback-unbounded",
            format!("spec.enforce: {what}"),
            &remedy,
        ))
    }

    fn estimated(self, from: &Version) -> Result<Estimate, NoData> {
        let (plan, tested) = (self.plan, &self.model.tested);
        let service = &plan.service;
        let carries = self
            .figures
            .carries(service, self.spec, tested, [from.clone()]);
        let fabrics = plan.base.fabrics.iter();
        estimate(&Basis {
            fleets: fabrics
                .filter(|(_, placed)| !placed.runs.is_empty())
                .map(|(fabric, placed)| (fabric.clone(), self.fleet(fabric, placed)))
                .collect::<BTreeMap<_, _>>(),
            old: from.clone(),
            old_rps: carries.get(from).copied(),
            batch: plan.terms.batch,
            expose: plan.terms.expose,
            pace: Pace::measured(self.model, service, from),
            within: self.policy.rollback_within,
        })
    }

    fn fleet(self, fabric: &FabricName, placed: &Placed) -> Fleet {
        let taken: Vec<Slot> = self.plan.base.slots().map(|it| it.slot).collect();
        let place = |slot: Slot| -> Option<Place> {
            let host = placed.host(slot.ordinal)?;
            let rule = self.spec.failure_domain;
            let domain = domain(rule, &self.model.hosts, fabric, host);
            Some((slot.instance(&self.plan.service).ok()?, domain))
        };
        let own = taken.iter().filter(|slot| slot.fabric == *fabric);
        let places: Vec<Place> = own.cloned().filter_map(place).collect();
        let free = crate::moves::free(taken.iter(), fabric);
        Fleet {
            further: free.take(further(places.len())).filter_map(place).collect(),
            demand_upper_rps: self.figures.demand_upper(&self.plan.service, fabric),
            places,
        }
    }

    /// Says where the capacity of what runs was neither declared nor measured, and how to measure it.
    fn unmeasured(self, from: &Version) -> Option<String> {
        let (service, tested) = (&self.plan.service, &self.model.tested);
        let key = (service.clone(), from.clone());
        if self.spec.capacity_rps.is_some() || tested.contains_key(&key) {
            return None;
        }
        let carries = self.figures.carries(service, self.spec, tested, [key.1]);
        let known = carries.get(from).map_or_else(
            || "nothing is known of it, so that no batch may begin".to_owned(),
            |rps| format!("the most it was seen to hold counts, {rps:.1} rps"),
        );
        Some(format!(
            "what an instance of {service} {from} carries was neither declared nor measured: {known}; measure it \
             first with `mainstay limit-test {service}`"
        ))
    }
}

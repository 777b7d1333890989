//! Who was not heard of, which service holds a router or is bad in many instances, and which instance lies.
//!
//! Guarantees: a pure function of the views and the time; each matter is told once, and again only after it
//! was otherwise.
//!
//! Example: `Heard::default().look(&fleet, &routes, now)`.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{FabricName, HostName, InstanceName, ServiceName, Time};
use mainstay_deploy::adapter::trouble::many_bad;
use mainstay_fleet::hub::FleetView;
use mainstay_traffic::hub::{FabricView, RouterView};
use mainstay_wire::router::{BackendReport, HealthVerdict};

use super::{APART_MAX, Note, SILENT_AFTER};

/// What was told and still is so.
#[derive(Debug, Default)]
pub(super) struct Heard {
    hosts: BTreeSet<HostName>,
    routers: BTreeSet<FabricName>,
    hoarders: BTreeMap<FabricName, ServiceName>,
    bad: BTreeSet<(FabricName, ServiceName)>,
    liars: BTreeMap<FabricName, BTreeSet<InstanceName>>,
}

impl Heard {
    /// What is new since the last look.
    pub(super) fn look(&mut self, fleet: &FleetView, routes: &RouterView, now: Time) -> Vec<Note> {
        let mut notes = Vec::new();
        for (host, it) in &fleet.hosts {
            if now.since(it.received_at) < SILENT_AFTER {
                self.hosts.remove(host);
            } else if self.hosts.insert(host.clone()) {
                let because = format!(
                    "its agent was last heard of at {}; its {} instances go on, unmeasured",
                    it.received_at,
                    it.instances.len()
                );
                let title = format!("host {host} is silent");
                let mut note = Note::new("agent", &title, "silent", &because, now);
                note.host = Some(host.clone());
                notes.push(note);
            }
        }
        for (fabric, it) in &routes.fabrics {
            if now.since(it.received_at) < SILENT_AFTER {
                self.routers.remove(fabric);
            } else if self.routers.insert(fabric.clone()) {
                let because = format!(
                    "it was last heard of at {}; where it still runs it keeps its last table",
                    it.received_at
                );
                let title = format!("the router of {fabric} is silent");
                let mut note = Note::new("router", &title, "silent", &because, now);
                note.fabric = Some(fabric.clone());
                notes.push(note);
            }
            notes.extend(self.hoarder(fabric, it.hoarder.as_ref(), now));
            // What a silent router said last says nothing about now.
            if !self.routers.contains(fabric) {
                notes.extend(self.many_bad(fabric, it, now));
                notes.extend(self.lying(fabric, it, now));
            }
        }
        notes
    }

    /// Services of which so many instances are measured bad that it is no matter of single ones.
    fn many_bad(&mut self, fabric: &FabricName, seen: &FabricView, now: Time) -> Vec<Note> {
        let said = |(service, backends): (&ServiceName, &Vec<BackendReport>)| {
            Some((service.clone(), many_bad(backends)?))
        };
        let bad: BTreeMap<ServiceName, String> = seen.backends.iter().filter_map(said).collect();
        self.bad
            .retain(|(of, service)| of != fabric || bad.contains_key(service));
        let new = bad.into_iter().filter_map(|(service, because)| {
            let is_new = self.bad.insert((fabric.clone(), service.clone()));
            let title = format!("{service} is bad in {fabric}");
            let mut note = Note::new("service", &title, "bad", &because, now);
            note.service = Some(service);
            note.fabric = Some(fabric.clone());
            is_new.then_some(note)
        });
        new.collect()
    }

    /// Instances that say they are well while their callers measure that they are not; one note for all where they
    /// are many.
    fn lying(&mut self, fabric: &FabricName, seen: &FabricView, now: Time) -> Vec<Note> {
        let all = seen.backends.iter();
        let all = all.flat_map(|(service, of)| of.iter().map(move |it| (service, it)));
        let lying: Vec<_> = all
            .filter(|(_, it)| it.verdict == HealthVerdict::Lying)
            .collect();
        let names = lying.iter().map(|(_, it)| it.instance.clone()).collect();
        let before = self.liars.insert(fabric.clone(), names).unwrap_or_default();
        let new: Vec<_> = lying
            .into_iter()
            .filter(|(_, it)| !before.contains(&it.instance))
            .collect();
        let told = |title: String, because: &str, service: Option<&ServiceName>| {
            let mut note = Note::new("instance", &title, "lying", because, now);
            note.service = service.cloned();
            note.fabric = Some(fabric.clone());
            note
        };
        if new.len() > APART_MAX {
            let (service, first) = new[0];
            let title = format!("{} instances lie in {fabric}", new.len());
            let because = format!("{} of {service}: {}", first.instance, first.evidence);
            return vec![told(title, &because, None)];
        }
        let one = |(service, it): (&ServiceName, &BackendReport)| {
            told(format!("{} lies", it.instance), &it.evidence, Some(service))
        };
        new.into_iter().map(one).collect()
    }

    fn hoarder(
        &mut self,
        fabric: &FabricName,
        hoarder: Option<&ServiceName>,
        now: Time,
    ) -> Option<Note> {
        let Some(service) = hoarder else {
            self.hoarders.remove(fabric);
            return None;
        };
        let before = self.hoarders.insert(fabric.clone(), service.clone());
        if before.as_ref() == Some(service) {
            return None;
        }
        let title = format!("{service} holds the router of {fabric}");
        let because =
            format!("{service} holds more than half of the connections of the router of {fabric}");
        let mut note = Note::new("hoarder", &title, "holding", &because, now);
        note.service = Some(service.clone());
        note.fabric = Some(fabric.clone());
        Some(note)
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::Span;
    use mainstay_fleet::hub::HostView;
    use mainstay_traffic::hub::FabricView;
    use mainstay_wire::{
        Generation,
        router::{ClaimedHealth, MeasuredHealth},
    };

    use super::*;

    fn views(heard_at: Time, hoarder: Option<&str>) -> (FleetView, RouterView) {
        let host = HostView {
            connected: true,
            received_at: heard_at,
            generation: Generation::default(),
            metrics_url: String::new(),
            instances: Vec::new(),
            found: Vec::new(),
        };
        let fabric = FabricView {
            connected: true,
            received_at: heard_at,
            applied: Generation::default(),
            metrics_url: String::new(),
            backends: BTreeMap::new(),
            hoarder: hoarder.map(|name| name.parse().unwrap()),
        };
        let fleet = FleetView {
            hosts: BTreeMap::from([("h1".parse().unwrap(), host)]),
        };
        let routes = RouterView {
            fabrics: BTreeMap::from([("lax".parse().unwrap(), fabric)]),
        };
        (fleet, routes)
    }

    #[test]
    fn silence_is_told_once_and_again_after_it_was_broken() {
        let mut heard = Heard::default();
        let start = Time::from_millis(1_000_000);
        let mut kinds = |heard_at: Time, now: Time| {
            let (fleet, routes) = views(heard_at, None);
            let notes = heard.look(&fleet, &routes, now);
            notes.iter().map(|note| note.kind).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        let late = start + SILENT_AFTER;
        assert_eq!(kinds(start, start + Span::from_secs(14)), none);
        assert_eq!(kinds(start, late), ["agent", "router"]);
        assert_eq!(kinds(start, late + Span::from_secs(9)), none);
        assert_eq!(kinds(late, late), none);
        assert_eq!(kinds(late, late + SILENT_AFTER), ["agent", "router"]);
    }

    fn backend(ordinal: u32, bad: bool) -> BackendReport {
        let (measured, verdict) = if bad {
            (MeasuredHealth::Bad, HealthVerdict::Lying)
        } else {
            (MeasuredHealth::Good, HealthVerdict::Healthy)
        };
        BackendReport {
            instance: format!("feed-lax-{ordinal}").parse().unwrap(),
            incarnation: 1,
            seen_version: None,
            claimed: ClaimedHealth::Ok,
            measured,
            verdict,
            evidence: "health says ok, 0 of 20 answered".to_owned(),
            in_rotation: true,
            in_flight: 0,
            oldest_in_flight: Span::ZERO,
            goodput_rps: 1.0,
            bad_rps: 2.0,
            recent_rps: 1.0,
            p99_ms: None,
            limit_broken: false,
        }
    }

    #[test]
    fn a_liar_and_a_service_bad_in_many_instances_are_told_once_until_they_are_otherwise() {
        let mut heard = Heard::default();
        let now = Time::from_millis(1_000_000);
        let mut titles = |heard_at: Time, bad: u32, of: u32| {
            let (fleet, mut routes) = views(heard_at, None);
            let backends = (0..of).map(|n| backend(n, n < bad)).collect();
            let fabric = routes.fabrics.values_mut().next().unwrap();
            fabric.backends = BTreeMap::from([("feed".parse().unwrap(), backends)]);
            let notes = heard.look(&fleet, &routes, now);
            notes.into_iter().map(|note| note.title).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(titles(now, 0, 10), none);
        assert_eq!(titles(now, 1, 10), ["feed-lax-0 lies"]);
        assert_eq!(titles(now, 1, 10), none);
        let many = [
            "feed is bad in lax",
            "feed-lax-1 lies",
            "feed-lax-2 lies",
            "feed-lax-3 lies",
        ];
        assert_eq!(titles(now, 4, 10), many);
        assert_eq!(titles(now, 4, 10), none);
        assert_eq!(titles(now, 0, 10), none);
        assert_eq!(
            titles(now, 1, 10),
            ["feed-lax-0 lies"],
            "it was well meanwhile"
        );
        assert_eq!(
            titles(now, 30, 100),
            ["29 instances lie in lax"],
            "30 % are not too many"
        );
        let late = now - SILENT_AFTER;
        let told = titles(late, 90, 100);
        assert_eq!(
            told.len(),
            2,
            "a silent router is told, not what it said: {told:?}"
        );
    }

    #[test]
    fn a_hoarder_is_told_once_and_so_is_the_next_one() {
        let mut heard = Heard::default();
        let now = Time::from_millis(1_000_000);
        let mut titles = |hoarder: Option<&str>| {
            let (fleet, routes) = views(now, hoarder);
            let notes = heard.look(&fleet, &routes, now);
            notes.into_iter().map(|note| note.title).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(titles(Some("feed")), ["feed holds the router of lax"]);
        assert_eq!(titles(Some("feed")), none);
        assert_eq!(titles(Some("graph")), ["graph holds the router of lax"]);
        assert_eq!(titles(None), none);
        assert_eq!(titles(Some("graph")).len(), 1);
    }
}

//! Who was not heard of, and which service holds a router.
//!
//! Guarantees: a pure function of the views and the time; each matter is told once, and again only after it
//! was otherwise.
//!
//! Example: `Heard::default().look(&fleet, &routes, now)`.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{FabricName, HostName, ServiceName, Time};
use mainstay_fleet::hub::FleetView;
use mainstay_traffic::hub::RouterView;

use super::{Note, SILENT_AFTER};

/// What was told and still is so.
#[derive(Debug, Default)]
pub(super) struct Heard {
    hosts: BTreeSet<HostName>,
    routers: BTreeSet<FabricName>,
    hoarders: BTreeMap<FabricName, ServiceName>,
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
        }
        notes
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
    use mainstay_wire::Generation;

    use super::*;

    fn views(heard_at: Time, hoarder: Option<&str>) -> (FleetView, RouterView) {
        let host = HostView {
            connected: true,
            received_at: heard_at,
            generation: Generation::default(),
            metrics_url: String::new(),
            instances: Vec::new(),
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

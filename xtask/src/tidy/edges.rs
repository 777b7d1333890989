//! Rooms depend on each other only along the edges in the checked-in list.
//!
//! A normal or build dependency outside the list is a finding. Dev-dependencies are free, with two
//! exceptions: `site` stands for somebody else's software and knows no room, and nothing may lean
//! on `sim` unless the list says so. Example of a line: `fleet -> core, sys, wire`.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::workspace::{Kind, Member};

/// The list, relative to the workspace's root.
pub(super) const FILE: &str = "xtask/edges.txt";
/// Rooms that `*` does not cover: none belongs in what operators run …
const OUTSIDE_WILDCARD: [&str; 3] = ["sim", "site", "siege"];
/// … and on these not even a test may lean.
const APART: [&str; 2] = ["sim", "site"];

enum Allowed {
    AllButTests,
    These(BTreeSet<String>),
}

impl Allowed {
    fn contains(&self, room: &str) -> bool {
        match self {
            Self::AllButTests => !OUTSIDE_WILDCARD.contains(&room),
            Self::These(rooms) => rooms.contains(room),
        }
    }
}

/// The room a package is: `mainstay-core` is `core`, the binary `mainstay` is `cli`.
fn room(package: &str) -> &str {
    if package == "mainstay" {
        return "cli";
    }
    package.strip_prefix("mainstay-").unwrap_or(package)
}

pub(super) fn check(members: &[Member], list: &str) -> Vec<Finding> {
    let (allowed, mut findings) = parse(list);
    let rooms: BTreeSet<&str> = members.iter().map(|member| room(&member.name)).collect();
    for (from, to) in &allowed {
        let named = match to {
            Allowed::AllButTests => BTreeSet::new(),
            Allowed::These(rooms) => rooms.clone(),
        };
        for unknown in std::iter::once(from)
            .chain(&named)
            .filter(|name| !rooms.contains(name.as_str()))
        {
            findings.push(Finding::new(
                FILE,
                format!("{unknown} is not a room of this workspace"),
                "remove it from the list, or correct its name",
            ));
        }
    }
    for member in members {
        let from = room(&member.name);
        let Some(to) = allowed.get(from) else {
            findings.push(Finding::new(
                member.manifest_path(),
                format!("room {from} is not in {FILE}"),
                format!("add a line `{from} -> nothing`, or the rooms it needs"),
            ));
            continue;
        };
        for dependency in &member.dependencies {
            let target = room(&dependency.name);
            let is_room = members.iter().any(|other| other.name == dependency.name);
            let exempt =
                dependency.kind == Some(Kind::Dev) && from != "site" && !APART.contains(&target);
            if is_room && !exempt && !to.contains(target) {
                findings.push(Finding::new(
                    member.manifest_path(),
                    format!("edge {from} -> {target} is not in {FILE}"),
                    "put what both need into core, or add the edge and defend it in the commit",
                ));
            }
        }
    }
    findings
}

fn parse(list: &str) -> (BTreeMap<String, Allowed>, Vec<Finding>) {
    let mut allowed = BTreeMap::new();
    let mut findings = Vec::new();
    for (index, line) in list.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = format!("{FILE}:{}", index + 1);
        let Some((from, to)) = line.split_once("->") else {
            findings.push(Finding::new(
                at,
                "not an edge",
                "write `from -> to, to`, or `from -> nothing`",
            ));
            continue;
        };
        let to = match to.trim() {
            "*" => Allowed::AllButTests,
            "nothing" => Allowed::These(BTreeSet::new()),
            rooms => Allowed::These(rooms.split(',').map(|to| to.trim().to_owned()).collect()),
        };
        if allowed.insert(from.trim().to_owned(), to).is_some() {
            findings.push(Finding::new(
                at,
                format!("{} has a second line", from.trim()),
                "keep one line a room",
            ));
        }
    }
    (allowed, findings)
}

#[cfg(test)]
mod tests {
    use super::super::workspace::member;
    use super::*;

    #[test]
    fn an_edge_outside_the_list_is_found_and_one_inside_is_not() {
        let members = [
            member("mainstay-core", &[]),
            member("mainstay-store", &[("mainstay-core", None)]),
            member("mainstay-change", &[("mainstay-store", None)]),
        ];
        let list = "core -> nothing\nstore -> core\nchange -> core";
        let findings = check(&members, list);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].at, "crates/mainstay-change/Cargo.toml");
        assert!(findings[0].what.contains("change -> store"));
    }

    #[test]
    fn a_dev_dependency_is_free_unless_it_is_on_the_simulator_or_from_the_site() {
        let members = [
            member("mainstay-core", &[]),
            member("mainstay-sim", &[]),
            member("mainstay-tsdb", &[("mainstay-core", Some(Kind::Dev))]),
            member("mainstay-ekg", &[("mainstay-sim", Some(Kind::Dev))]),
            member("mainstay-site", &[("mainstay-core", Some(Kind::Dev))]),
        ];
        let list =
            "core -> nothing\nsim -> nothing\ntsdb -> nothing\nekg -> nothing\nsite -> nothing";
        let found: Vec<_> = check(&members, list).into_iter().map(|f| f.what).collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].contains("ekg -> sim"));
        assert!(found[1].contains("site -> core"));
    }

    #[test]
    fn the_wildcard_covers_every_room_but_the_simulator() {
        let members = [
            member("mainstay-core", &[]),
            member("mainstay-sim", &[]),
            member(
                "mainstay",
                &[("mainstay-core", None), ("mainstay-sim", None)],
            ),
        ];
        let findings = check(&members, "core -> nothing\nsim -> nothing\ncli -> *");
        assert_eq!(findings.len(), 1);
        assert!(findings[0].what.contains("cli -> sim"));
    }

    #[test]
    fn a_room_without_a_line_and_a_line_without_a_room_are_both_found() {
        let findings = check(
            &[member("mainstay-core", &[])],
            "stats -> nothing\nnonsense",
        );
        let found: Vec<_> = findings.iter().map(|f| f.what.as_str()).collect();
        assert_eq!(
            found,
            [
                "not an edge",
                "stats is not a room of this workspace",
                "room core is not in xtask/edges.txt"
            ]
        );
    }

    #[test]
    fn the_checked_in_list_parses() {
        let (allowed, findings) = parse(include_str!("../../edges.txt"));
        assert_eq!(findings, []);
        assert!(allowed["fleet"].contains("sys"));
        assert!(!allowed["core"].contains("sys"));
    }
}

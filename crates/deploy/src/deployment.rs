//! What a service runs when no change is under way on it.
//!
//! The stream `deployment/SERVICE` holds one entry for each change that moved the service; the last one
//! says what runs where. Guarantees: an instance keeps its host as long as the list of hosts stands.
//! Never holds what was seen, only what is wanted.
//!
//! ```
//! use mainstay_deploy::Deployment;
//! let one = Deployment::first("v1".parse().unwrap(), [("lax".parse().unwrap(), (vec!["h1".parse().unwrap()], 2))].into());
//! assert_eq!(one.slots().count(), 2);
//! ```

use std::collections::BTreeMap;

use mainstay_core::{Entry, FabricName, HostName, NewEntry, ServiceName, StreamId, Version};
use serde::{Deserialize, Serialize};

use crate::slots::Slot;

/// Kind of the entries of a deployment's stream; the body is a [`Deployment`].
pub const SETTLED: &str = "deployment.settled";

/// The stream that holds what `service` runs.
pub fn deployment_stream(service: &ServiceName) -> StreamId {
    StreamId::new(format!("deployment/{service}"))
}

/// Instances that follow each other and are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Ordinal of the first.
    pub first: u32,
    /// Ordinal of the last.
    pub last: u32,
    /// What they run.
    pub version: Version,
    /// The incarnation they are in.
    pub incarnation: u64,
}

/// The instances of one fabric.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Hosts; instance `n` runs on the host at `(n − 1) mod` their number.
    pub hosts: Vec<HostName>,
    /// Instances, in order.
    pub runs: Vec<Run>,
}

impl Placed {
    /// The host of instance `ordinal`.
    pub fn host(&self, ordinal: u32) -> Option<&HostName> {
        let at = (ordinal.checked_sub(1)? as usize).checked_rem(self.hosts.len())?;
        self.hosts.get(at)
    }
}

/// What a service runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Counts the changes that moved the service.
    pub number: u64,
    /// The version measured good: where a rollback goes.
    pub version: Version,
    /// By fabric.
    pub fabrics: BTreeMap<FabricName, Placed>,
    /// Version of the service's declaration whose counts of instances a person gave up: they are not asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<u64>,
}

/// One instance as it should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing<'a> {
    /// Where.
    pub slot: Slot,
    /// On which host.
    pub host: &'a HostName,
    /// What.
    pub version: &'a Version,
    /// In which incarnation.
    pub incarnation: u64,
}

impl Deployment {
    /// The deployment before the first release: nothing runs, `version` is to come.
    pub fn first(version: Version, sizes: BTreeMap<FabricName, (Vec<HostName>, u32)>) -> Self {
        let fabrics = sizes
            .into_iter()
            .map(|(fabric, (hosts, count))| {
                let run = Run {
                    first: 1,
                    last: count,
                    version: version.clone(),
                    incarnation: 0,
                };
                let runs = (count > 0).then_some(run).into_iter().collect();
                (fabric, Placed { hosts, runs })
            })
            .collect();
        Self {
            number: 0,
            version,
            fabrics,
            given_up: None,
        }
    }
    /// How many instances it has in `fabric`.
    pub fn size(&self, fabric: &FabricName) -> u32 {
        let here = |it: &Standing<'_>| it.slot.fabric == *fabric;
        u32::try_from(self.slots().filter(here).count()).unwrap_or(u32::MAX)
    }

    /// A deployment of what is given, in runs.
    pub fn of(
        number: u64,
        version: Version,
        hosts: BTreeMap<FabricName, Vec<HostName>>,
        instances: impl IntoIterator<Item = (Slot, Version, u64)>,
    ) -> Self {
        let mut fabrics: BTreeMap<FabricName, Placed> = hosts
            .into_iter()
            .map(|(fabric, hosts)| {
                let runs = Vec::new();
                (fabric, Placed { hosts, runs })
            })
            .collect();
        for (slot, version, incarnation) in instances {
            let runs = &mut fabrics.entry(slot.fabric).or_default().runs;
            match runs.last_mut() {
                Some(run)
                    if run.last + 1 == slot.ordinal
                        && run.version == version
                        && run.incarnation == incarnation =>
                {
                    run.last = slot.ordinal;
                }
                _ => runs.push(Run {
                    first: slot.ordinal,
                    last: slot.ordinal,
                    version,
                    incarnation,
                }),
            }
        }
        Self {
            number,
            version,
            fabrics,
            given_up: None,
        }
    }
    /// Instances in each fabric, also where there is none.
    pub fn counts(&self) -> BTreeMap<FabricName, u32> {
        let count = |placed: &Placed| {
            let runs = placed.runs.iter();
            runs.map(|run| run.last + 1 - run.first).sum()
        };
        let fabrics = self.fabrics.iter();
        fabrics
            .map(|(fabric, placed)| (fabric.clone(), count(placed)))
            .collect()
    }
    /// Every instance, in the order of slots. One without a host is left out.
    pub fn slots(&self) -> impl Iterator<Item = Standing<'_>> {
        self.fabrics.iter().flat_map(|(fabric, placed)| {
            placed.runs.iter().flat_map(move |run| {
                (run.first..=run.last).filter_map(move |ordinal| {
                    Some(Standing {
                        slot: Slot::new(fabric.clone(), ordinal),
                        host: placed.host(ordinal)?,
                        version: &run.version,
                        incarnation: run.incarnation,
                    })
                })
            })
        })
    }
    /// The last deployment of a stream.
    pub fn fold(entries: &[Entry]) -> Result<Option<Self>, serde_json::Error> {
        entries
            .iter()
            .rev()
            .find(|entry| entry.kind == SETTLED)
            .map(|entry| serde_json::from_str(&entry.body))
            .transpose()
    }
    /// The entry by which `service` runs this from now on.
    pub fn entry(&self, service: &ServiceName) -> Result<NewEntry, serde_json::Error> {
        Ok(NewEntry {
            stream: deployment_stream(service),
            kind: SETTLED.to_owned(),
            schema: 1,
            body: serde_json::to_string(self)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_that_are_alike_become_one_run_and_keep_their_hosts() {
        let hosts: Vec<HostName> = vec!["h1".parse().unwrap(), "h2".parse().unwrap()];
        let lax: FabricName = "lax".parse().unwrap();
        let v1: Version = "v1".parse().unwrap();
        let instances = (1..=4).map(|n| {
            let version = if n == 3 {
                "v2".parse().unwrap()
            } else {
                v1.clone()
            };
            (Slot::new(lax.clone(), n), version, 2)
        });
        let made = Deployment::of(1, v1.clone(), [(lax.clone(), hosts)].into(), instances);
        assert_eq!(made.fabrics[&lax].runs.len(), 3);
        let seen: Vec<(u32, &str)> = made
            .slots()
            .map(|it| (it.slot.ordinal, it.host.as_str()))
            .collect();
        assert_eq!(seen, [(1, "h1"), (2, "h2"), (3, "h1"), (4, "h2")]);
        let text = serde_json::to_string(&made).unwrap();
        assert_eq!(serde_json::from_str::<Deployment>(&text).unwrap(), made);
    }
}

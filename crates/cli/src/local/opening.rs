//! From nothing to a site whose every service runs its first version.

use std::time::Duration;

use anyhow::bail;
use mainstay_core::ChangeState;
use tokio::time::Instant;

use super::{Cluster, Rollout, Site};

/// Pause between two looks at the rollouts.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Starts the platform, declares the site, and waits until the first release of every service is done.
pub(crate) async fn open(
    cluster: &mut Cluster,
    site: &Site,
    within: Duration,
    tell: impl Fn(&str),
) -> anyhow::Result<()> {
    tell("starting a server, a router for each fabric and an agent for each host");
    cluster.start().await?;
    let resources = site.resources().to_vec();
    let count = cluster.api().apply(resources, "the example site").await?;
    tell(&format!(
        "{count} resources are declared; their first releases are under way"
    ));
    let deadline = Instant::now() + within;
    loop {
        cluster.check()?;
        let rollouts = cluster.api().rollouts().await?;
        let waiting = not_yet_up(&site.services(), &rollouts)?;
        if waiting.is_empty() {
            tell("every service runs its first version");
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "the site is not up after {} s: {}",
                within.as_secs(),
                waiting.join("; ")
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What services wait for, a line each; an error where a first release failed.
fn not_yet_up(services: &[String], rollouts: &[Rollout]) -> anyhow::Result<Vec<String>> {
    let mut waiting = Vec::new();
    for service in services {
        // Newest first, so the last one is the first release.
        let Some(first) = rollouts.iter().rev().find(|it| it.service == *service) else {
            waiting.push(format!("{service}: no release yet"));
            continue;
        };
        match first.state {
            ChangeState::Done => {}
            ChangeState::Running => waiting.push(first.line()),
            ChangeState::Paused
            | ChangeState::RollingBack
            | ChangeState::RolledBack
            | ChangeState::Aborted => bail!("a first release failed: {}", first.line()),
        }
    }
    Ok(waiting)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(service: &str, state: &str) -> Rollout {
        serde_json::from_value(json!({
            "change": "chg-1", "service": service, "from": null, "to": "v1", "state": state,
            "phase": "starting",
        }))
        .unwrap()
    }

    #[test]
    fn a_site_is_up_when_the_oldest_rollout_of_every_service_is_done() {
        let services = ["feed".to_owned(), "graph".to_owned()];
        let newest_first = [rollout("feed", "running"), rollout("feed", "done")];
        let waiting = not_yet_up(&services, &newest_first).unwrap();
        assert_eq!(waiting, ["graph: no release yet"]);
        let waiting = not_yet_up(&services, &[rollout("graph", "running")]).unwrap();
        assert_eq!(waiting[1], "graph v1: running, starting");
        assert!(not_yet_up(&services, &[rollout("feed", "paused")]).is_err());
    }
}

//! `server-dies`: the server and an agent are killed in mid-batch; the rollout completes, and no user notices.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Context;
use mainstay_core::ChangeState;
use serde_json::{Value, json};

use super::{
    Ending, Options,
    defects::chosen,
    stage::{NEW, Stage, VOYAGER},
};
use crate::local::{Role, Rollout, Survivor, running_under};

/// From the order to the first batch that is under way.
const BATCH_WITHIN: Duration = Duration::from_secs(100);
/// How long server and agent are gone.
const GONE: Duration = Duration::from_secs(3);
/// From their return to the end of the rollout.
const WITHIN: Duration = Duration::from_mins(2);

pub(super) async fn play(options: &Options) -> anyhow::Result<Ending> {
    let mut stage = Stage::new(options)?;
    stage.build(NEW, &chosen(&options.defects, &[])).await?;
    stage.open(&[]).await?;
    stage.let_users_in().await?;

    let change = stage.release("the new home page").await?;
    let mid_batch = stage
        .until(&change, "a batch is under way", BATCH_WITHIN, |rollout| {
            under_way(rollout).is_some()
        })
        .await?;
    let instance = under_way(&mid_batch).context("the batch has no instance")?;
    let host = host_of(&stage, &instance).await?;
    stage.tell(&format!(
        "{instance} is being replaced: the server and the agent of {host} are killed"
    ));
    let agent = Role::Agent(host.parse()?);
    let before = processes_of_site(&stage);
    stage.cluster()?.kill(&Role::Server).await?;
    stage.cluster()?.kill(&agent).await?;
    tokio::time::sleep(GONE).await;
    let meanwhile = processes_of_site(&stage);
    stage.tell("both come back");
    stage.cluster()?.restart(&Role::Server).await?;
    stage.cluster()?.restart(&agent).await?;

    let dir = stage.dir().to_owned();
    let twice_at_most = Cell::new(0);
    let rollout = stage
        .until(&change, "the rollout is over", WITHIN, |rollout| {
            twice_at_most.set(twice_at_most.get().max(duplicates(&running_under(&dir))));
            rollout.state.is_final() || rollout.state == ChangeState::Paused
        })
        .await?;
    let duplicates_at_end = duplicates(&stage.processes());
    let versions = stage.versions().await?;
    let instances: u32 = stage.site.instances(VOYAGER)?.values().sum();
    let closed = stage.close().await?;

    let mut ending = Ending::new(
        "server-dies",
        "done, with no failed request and no instance twice",
    );
    ending.saw(&closed.report);
    ending.rolled(&rollout, &closed.report);
    ending.note("killed", json!(["server", agent.to_string()]));
    ending.note("gone_s", GONE.as_secs_f64());
    ending.note("processes_before", before);
    ending.note("processes_meanwhile", meanwhile);
    ending.note(
        "duplicate_instances",
        twice_at_most.get().max(duplicates_at_end),
    );
    ending.note("versions", json!(versions));
    ending.note("left_behind", closed.survivors.len());
    ending.must(
        rollout.state == ChangeState::Done,
        format!("the rollout is done, not {}", rollout.line()),
    );
    ending.must(closed.report.failed == 0, "no request failed");
    ending.must(
        twice_at_most.get() == 0 && duplicates_at_end == 0,
        "no instance runs twice",
    );
    ending.must(
        versions.get(NEW) == Some(&(instances as usize)) && versions.len() == 1,
        format!("all {instances} instances run {NEW}, not {versions:?}"),
    );
    Ok(ending)
}

/// An instance of the batch that is under way, if one is.
fn under_way(rollout: &Rollout) -> Option<String> {
    let batch = rollout.batches.last()?;
    if !batch["verifiedAt"].is_null() {
        return None;
    }
    let instance = batch["instances"].as_array()?.first()?;
    instance.as_str().map(str::to_owned)
}

async fn host_of(stage: &Stage, instance: &str) -> anyhow::Result<String> {
    let instances = stage.instances(VOYAGER).await?;
    let found = instances
        .iter()
        .find(|it| it["metadata"]["name"] == *instance);
    let host = found.and_then(|it: &Value| it["spec"]["host"].as_str());
    Ok(host
        .with_context(|| format!("{instance} stands on no host"))?
        .to_owned())
}

fn processes_of_site(stage: &Stage) -> usize {
    stage.processes().len()
}

/// Names that more than one process carries.
fn duplicates(processes: &[Survivor]) -> usize {
    let mut pids: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for process in processes {
        pids.entry(&process.instance)
            .or_default()
            .insert(process.pid);
    }
    pids.values().filter(|pids| pids.len() > 1).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_two_processes_carry_is_a_duplicate() {
        let process = |instance: &str, pid| Survivor {
            instance: instance.into(),
            pid,
            exe: "/x/run".into(),
        };
        let one_each = [process("a", 1), process("b", 2)];
        assert_eq!(duplicates(&one_each), 0);
        let twice = [process("a", 1), process("b", 2), process("a", 3)];
        assert_eq!(duplicates(&twice), 1);
    }
}

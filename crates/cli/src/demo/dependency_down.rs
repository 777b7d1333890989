//! `dependency-down`: what a release depends on fails, for old and new alike, so the rollout waits.
//!
//! Nothing is wrong with the release, and taking it back would mend nothing.

use std::time::Duration;

use mainstay_core::ChangeState;
use rustix::process::Signal;
use serde_json::json;

use super::{
    Ending, Options,
    defects::chosen,
    stage::{NEW, Stage},
};

/// From the order to the first user on the new version.
const CANARY_WITHIN: Duration = Duration::from_mins(1);
/// From the failure of the dependency to the pause.
const PAUSED_WITHIN: Duration = Duration::from_mins(1);
/// Seconds after the pause in which requests end that were under way, and the report is written.
const SETTLED_S: f64 = 3.5;
/// Seconds after that in which nobody may meet the new version.
const WATCHED_S: f64 = 4.0;
const WATCHED_WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn play(options: &Options) -> anyhow::Result<Ending> {
    let mut stage = Stage::new(options)?;
    stage.build(NEW, &chosen(&options.defects, &[])).await?;
    stage.open(&[]).await?;
    stage.let_users_in().await?;

    let change = stage.release("the new home page").await?;
    stage
        .until_seen("users meet the canary", CANARY_WITHIN, |report| {
            report.bad_version_requests > 0
        })
        .await?;

    // Stopped, not ended: the processes are there, and answer nobody.
    stage.tell("every instance of graph stops answering");
    let graph = stage.dir().join("artifacts").join("graph");
    let frozen = stage.processes();
    let frozen = frozen.iter().filter(|it| it.exe.starts_with(&graph));
    let frozen: Vec<_> = frozen.cloned().collect();
    for process in &frozen {
        process.signal(Signal::STOP);
    }
    let began = tokio::time::Instant::now();
    let paused = stage
        .until(&change, "the rollout pauses", PAUSED_WITHIN, |rollout| {
            rollout.state == ChangeState::Paused || rollout.state.is_final()
        })
        .await;
    let paused_after_s = began.elapsed().as_secs_f64();
    for process in &frozen {
        process.signal(Signal::CONT);
    }
    let rollout = paused?;

    stage.tell("graph answers again");
    let at_pause = stage.seen()?.unwrap_or_default();
    let settled_s = at_pause.elapsed_s + SETTLED_S;
    let settled = stage
        .until_seen("what was under way ends", WATCHED_WITHIN, |report| {
            report.elapsed_s >= settled_s
        })
        .await?;
    let watched_s = settled.elapsed_s + WATCHED_S;
    let later = stage
        .until_seen("users come after the pause", WATCHED_WITHIN, |report| {
            report.elapsed_s >= watched_s
        })
        .await?;
    let rollouts = stage.api()?.rollouts().await?;
    let rollbacks = rollouts
        .iter()
        .filter(|it| matches!(it.state, ChangeState::RollingBack | ChangeState::RolledBack));
    let rollbacks = rollbacks.count();
    let resumed = stage
        .api()?
        .steer(&change, "resume", "graph answers again")
        .await;
    let closed = stage.close().await?;

    let mut ending = Ending::new("dependency-down", "paused, with no rollback");
    ending.saw(&closed.report);
    ending.rolled(&rollout, &closed.report);
    ending.note("stopped_instances", frozen.len());
    ending.note("paused_after_s", paused_after_s);
    ending.note("rollbacks", rollbacks);
    ending.note("weights_at_pause", json!(rollout.weights));
    ending.note("resumed", resumed.is_ok());
    ending.note("left_behind", closed.survivors.len());
    ending.must(!frozen.is_empty(), "graph runs");
    ending.must(
        rollout.state == ChangeState::Paused,
        format!("the rollout is paused, not {}", rollout.line()),
    );
    ending.must(rollbacks == 0, "nothing is rolled back");
    let unrouted = rollout
        .weights
        .values()
        .all(|weights| weights.get(NEW).is_none_or(|weight| *weight == 0));
    ending.must(
        unrouted,
        "the canary gets no users while the rollout is paused",
    );
    let after = later.bad_version_requests - settled.bad_version_requests;
    ending.note("bad_version_requests_after_pause", after);
    ending.must(
        after == 0,
        format!("no user is sent to the canary after the pause, not {after}"),
    );
    if let Err(error) = resumed {
        ending.must(false, format!("a person can resume it: {error:#}"));
    }
    Ok(ending)
}

//! `bad-canary`: a release that fails a fifth of its requests is found in the canary and taken back.

use std::time::Duration;

use mainstay_core::ChangeState;
use serde_json::json;

use super::{
    Ending, Options,
    defects::{Expected, chosen, expected},
    ending::detected_s,
    stage::{NEW, OLD, Stage, VOYAGER},
};

const WITHIN: Duration = Duration::from_secs(160);
/// From the first user who met the bad version to the verdict against it, in seconds.
const DETECTED_WITHIN_S: f64 = 30.0;
/// From the verdict to the last user who met the bad version, in seconds.
const ROLLED_BACK_WITHIN_S: f64 = 30.0;
/// Users who may meet the bad version, of those who came.
const USERS_MAX: f64 = 0.01;

pub(super) async fn play(options: &Options) -> anyhow::Result<Ending> {
    let defects = chosen(&options.defects, &["errors=0.2"]);
    let expected = expected(&defects);
    let mut stage = Stage::new(options)?;
    stage.build(NEW, &defects).await?;
    stage.open(&[]).await?;
    stage.let_users_in().await?;

    let change = stage.release("the new profile page").await?;
    let rollout = stage.until_over(&change, WITHIN).await?;
    let versions = stage.versions().await?;
    let instances: u32 = stage.site.instances(VOYAGER)?.values().sum();
    let closed = stage.close().await?;
    let report = &closed.report;

    let mut ending = Ending::new("bad-canary", expected.to_string());
    ending.saw(report);
    ending.rolled(&rollout, report);
    ending.note("defects", json!(defects));
    ending.note("versions", json!(versions));
    ending.note("left_behind", closed.survivors.len());
    match expected {
        Expected::TakenBack => {
            ending.must(
                rollout.state == ChangeState::RolledBack,
                format!("the rollout is rolled back, not {}", rollout.line()),
            );
            let detected = detected_s(&rollout, report);
            ending.must(
                detected.is_some_and(|seconds| seconds <= DETECTED_WITHIN_S),
                format!("it is found within {DETECTED_WITHIN_S} s, not {detected:?}"),
            );
            let after = ending.number("exposed_after_verdict_s");
            ending.must(
                after.is_some_and(|seconds| seconds <= ROLLED_BACK_WITHIN_S),
                format!("no user meets it {ROLLED_BACK_WITHIN_S} s after the verdict"),
            );
            let share = report.bad_version_users as f64 / report.users.max(1) as f64;
            ending.must(
                share <= USERS_MAX,
                format!(
                    "at most 1 % of the users meet it, not {:.2} %",
                    share * 100.0
                ),
            );
            ending.must(
                versions.get(OLD) == Some(&(instances as usize)) && versions.len() == 1,
                format!("all {instances} instances run {OLD} again, not {versions:?}"),
            );
        }
        Expected::Done => ending.must(
            rollout.state == ChangeState::Done,
            format!("the rollout is done, not {}", rollout.line()),
        ),
        // Whatever it came to, it came to an end or to a person: that was waited for.
        Expected::Either(_) => {}
    }
    Ok(ending)
}

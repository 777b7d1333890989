//! `bad-late`: a release that works at first and goes bad with age is taken back from wherever it has got to.

use std::time::Duration;

use mainstay_core::ChangeState;
use serde_json::json;

use super::{
    Ending, Options,
    defects::{Expected, chosen, expected},
    stage::{NEW, OLD, Stage, VOYAGER},
};

const WITHIN: Duration = Duration::from_mins(3);
/// In seconds of an instance's life: the canary has passed by then, and the batches are under way.
const OWN: &str = "leak=60";
/// Requests that may fail on the way, of all.
const FAILED_MAX: f64 = 0.02;

pub(super) async fn play(options: &Options) -> anyhow::Result<Ending> {
    let defects = chosen(&options.defects, &[OWN]);
    let by_rule = expected(&defects);
    let mut stage = Stage::new(options)?;
    // Long enough that the oldest new instance goes bad while somebody still watches.
    stage
        .site
        .edit(mainstay_core::Kind::RolloutPolicy, "careful", |spec| {
            spec["bake"] = json!("1m");
        })?;
    stage.build(NEW, &defects).await?;
    stage.open(&[]).await?;
    stage.let_users_in().await?;

    let change = stage.release("a faster cache").await?;
    let rollout = stage.until_over(&change, WITHIN).await?;
    let versions = stage.versions().await?;
    let instances: u32 = stage.site.instances(VOYAGER)?.values().sum();
    let closed = stage.close().await?;
    let report = &closed.report;

    // A leak's onset is known; of other defects the general rule knows more.
    let leaks = defects.iter().any(|defect| defect.starts_with("leak="));
    let expected = if leaks { Expected::TakenBack } else { by_rule };
    let what = match expected {
        Expected::TakenBack => {
            "rolled-back, wherever it had got to, and few users noticed".to_owned()
        }
        Expected::Done | Expected::Either(_) => expected.to_string(),
    };
    let mut ending = Ending::new("bad-late", what);
    ending.saw(report);
    ending.rolled(&rollout, report);
    ending.note("defects", json!(defects));
    ending.note("versions", json!(versions));
    ending.note("left_behind", closed.survivors.len());
    if defects == [OWN] {
        ending.must(!rollout.batches.is_empty(), "it passes as a canary first");
    }
    match expected {
        Expected::TakenBack => {
            ending.must(
                rollout.state == ChangeState::RolledBack,
                format!("the rollout is rolled back, not {}", rollout.line()),
            );
            let share = report.failed as f64 / report.requests.max(1) as f64;
            ending.must(
                share <= FAILED_MAX,
                format!(
                    "at most {:.0} % of the requests fail, not {:.2} %",
                    FAILED_MAX * 100.0,
                    share * 100.0
                ),
            );
            ending.must(report.outage_s == 0, "there is no second of outage");
            ending.must(
                versions.get(OLD) == Some(&(instances as usize)) && versions.len() == 1,
                format!("all {instances} instances run {OLD} again, not {versions:?}"),
            );
        }
        Expected::Done => ending.must(
            rollout.state == ChangeState::Done,
            format!("the rollout is done, not {}", rollout.line()),
        ),
        Expected::Either(_) => {}
    }
    Ok(ending)
}

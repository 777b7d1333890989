//! `good`: a release without defects goes all the way, and no user notices.

use std::time::Duration;

use mainstay_core::ChangeState;
use serde_json::json;

use super::{
    Ending, Options,
    defects::chosen,
    stage::{NEW, Stage, VOYAGER},
};

const WITHIN: Duration = Duration::from_secs(160);

pub(super) async fn play(options: &Options) -> anyhow::Result<Ending> {
    let mut stage = Stage::new(options)?;
    stage.build(NEW, &chosen(&options.defects, &[])).await?;
    stage.open(&[]).await?;
    stage.let_users_in().await?;

    let change = stage.release("the new home page").await?;
    let rollout = stage.until_over(&change, WITHIN).await?;
    let versions = stage.versions().await?;
    let instances: u32 = stage.site.instances(VOYAGER)?.values().sum();
    let closed = stage.close().await?;

    let mut ending = Ending::new("good", "done, with no failed request");
    ending.saw(&closed.report);
    ending.rolled(&rollout, &closed.report);
    ending.note("versions", json!(versions));
    ending.note("left_behind", closed.survivors.len());
    ending.must(
        rollout.state == ChangeState::Done,
        format!("the rollout is done, not {}", rollout.line()),
    );
    ending.must(closed.report.failed == 0, "no request failed");
    ending.must(
        versions.get(NEW) == Some(&(instances as usize)) && versions.len() == 1,
        format!("all {instances} instances run {NEW}, not {versions:?}"),
    );
    Ok(ending)
}

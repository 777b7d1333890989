//! `blue-green`: a second set beside the first takes over, and the first one goes; then a set that goes bad
//! after it took over is taken out of the routes while the set before it is still warm.

use std::{collections::BTreeMap, time::Duration};

use mainstay_core::{ChangeState, Kind};
use serde_json::{Value, json};

use super::{
    Ending, Options,
    defects::chosen,
    stage::{NEW, Stage, VOYAGER},
};
use crate::local::{Report, Rollout};

const WITHIN: Duration = Duration::from_secs(100);
/// The release that goes bad.
const BAD: &str = "v3";
/// In seconds of an instance's life: the second set has taken over by then, and bakes.
const OWN: &str = "leak=50";
const BAKE: &str = "40s";
/// From the verdict to the last request that the bad set answered: a table, not processes.
const BACK_WITHIN_S: f64 = 5.0;
/// Requests that may fail until then, of all.
const FAILED_MAX: f64 = 0.02;

pub(super) async fn play(options: &Options) -> anyhow::Result<Ending> {
    let defects = chosen(&options.defects, &[OWN]);
    let mut stage = Stage::new(options)?;
    stage.site.edit(Kind::RolloutPolicy, "careful", |spec| {
        spec["strategy"] = json!("blue-green");
        spec["bake"] = json!(BAKE);
    })?;
    stage.unwanted = BAD;
    stage.build(NEW, &[]).await?;
    stage.build(BAD, &defects).await?;
    stage.open(&[]).await?;
    stage.let_users_in().await?;

    let change = stage.release("a set of its own").await?;
    let good = stage.until_over(&change, WITHIN).await?;
    let after_good = stage.versions().await?;
    let seen = stage.seen()?.unwrap_or_default();

    let change = stage.release_of(BAD, "a faster cache").await?;
    let bad = stage.until_over(&change, WITHIN).await?;
    let after_bad = stage.versions().await?;
    let instances: u32 = stage.site.instances(VOYAGER)?.values().sum();
    let all_new = |versions: &BTreeMap<String, usize>| {
        versions.len() == 1 && versions.get(NEW) == Some(&(instances as usize))
    };
    let closed = stage.close().await?;

    let mut ending = Ending::new(
        "blue-green",
        "the good set takes over with no failed request; the bad one is flipped back while it bakes",
    );
    ending.saw(&closed.report);
    ending.rolled(&bad, &closed.report);
    ending.note("defects", json!(defects));
    ending.note("good", first_half(&good, &seen));
    ending.note("versions", json!(after_bad));
    ending.note("left_behind", closed.survivors.len());
    ending.must(
        good.state == ChangeState::Done,
        format!("the good release is done, not {}", good.line()),
    );
    ending.must(
        seen.failed == 0,
        "no request fails while the good set takes over",
    );
    ending.must(
        all_new(&after_good),
        format!("all {instances} instances run {NEW}, not {after_good:?}"),
    );
    if defects == [OWN] {
        taken_back(&mut ending, &bad, &closed.report);
        ending.must(
            all_new(&after_bad),
            format!("all {instances} instances run {NEW} still, not {after_bad:?}"),
        );
    }
    Ok(ending)
}

/// What the good release came to, before the bad one was ordered.
fn first_half(rollout: &Rollout, seen: &Report) -> Value {
    json!({
        "change": rollout.change,
        "state": rollout.state,
        "requests": seen.requests,
        "failed": seen.failed,
        "verdicts": rollout.verdicts,
    })
}

fn taken_back(ending: &mut Ending, bad: &Rollout, report: &Report) {
    ending.must(
        bad.state == ChangeState::RolledBack,
        format!("the bad release is rolled back, not {}", bad.line()),
    );
    let last = bad.verdicts.last().map(|verdict| &verdict["step"]);
    ending.must(
        last == Some(&json!("baking")),
        format!("it is found after the flip, in the bake, not at {last:?}"),
    );
    let after = ending.number("exposed_after_verdict_s");
    ending.must(
        after.is_some_and(|after| after <= BACK_WITHIN_S),
        format!("{BACK_WITHIN_S} s after the verdict nobody is on it, not {after:?}"),
    );
    let share = report.failed as f64 / report.requests.max(1) as f64;
    ending.must(
        share <= FAILED_MAX && report.outage_s == 0,
        format!(
            "at most {:.0} % of the requests fail and no second is an outage, not {:.2} % and {} s",
            FAILED_MAX * 100.0,
            share * 100.0,
            report.outage_s
        ),
    );
}

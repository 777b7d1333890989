//! `storm`: one rollback in two halves takes a whole site down; under Mainstay the same order does not.
//!
//! The story that it replays: a release broke the profile page of a mobile API. Its rollback was ordered in
//! batches of 50 %, and the half that was left could not carry the load. Overloaded, the service said that it
//! was healthy, never gave back a connection, and answered to stop commands that it had stopped. The routers
//! trusted it, kept one pool for all services, and the site was gone until every process was killed by hand.
//!
//! First by a script with the practices of that day, then by Mainstay: same releases, same users, same order.
//! A user here waits for eight seconds, as people do, before giving up.

use std::{path::Path, time::Duration};

use mainstay_core::{ChangeState, Kind};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    Ending, Options,
    ending::measured,
    stage::{NEW, OLD, Stage, USERS, VOYAGER},
    that_day::ThatDay,
};
use crate::local::{Build, Load, LoadPlan, Report, Rollout, Site};

/// At this rate five instances a fabric are used to three fifths, and the two that are left are overwhelmed.
pub(super) const RATE: f64 = 300.0;
pub(super) const INSTANCES: u32 = 5;
/// What one instance of `voyager` really carries here: two workers that hold a request for 59 ms.
const CARRIES_RPS: f64 = 34.0;
/// What its owners state, in requests a second.
const STATED_RPS: f64 = CARRIES_RPS;
const WORKERS: u32 = 2;
/// The framework's two bugs, in every release of that day.
const FRAMEWORK: [&str; 3] = ["lying-health", "hang", "ignores-stop=overloaded"];
/// What the new release breaks besides.
const BROKEN_PAGE: &str = "errors=0.5,route=profile";
const BROKEN_ROUTE: &str = "/voyager/profile";
const PATIENCE: Duration = Duration::from_secs(8);

/// Before anybody does anything.
const CALM: Duration = Duration::from_secs(6);
/// How long one of the two halves is away.
const HALF_TAKES: Duration = Duration::from_secs(5);
/// While the team looks for the cause elsewhere.
const LOOKING_ELSEWHERE: Duration = Duration::from_secs(10);
/// While everybody believes in the restart.
const BELIEVING: Duration = Duration::from_secs(6);
/// After the last act, so that a recovery is seen.
const AFTERWARDS: Duration = Duration::from_secs(8);
/// Seconds of users after which the platform knows what they ask for.
const KNOWN_S: f64 = 12.0;
const DEMAND_WITHIN: Duration = Duration::from_secs(30);
/// How long the guarded rollback may take.
const GUARDED_WITHIN: Duration = Duration::from_secs(110);
/// How long the whole service hangs at the end, guarded.
const HUNG: Duration = Duration::from_secs(5);
/// Seconds that decide whether the site is down now.
const DOWN_S: usize = 3;
/// Requests to other pages that may fail while the service hangs.
const OTHERS_FAILED_MAX: f64 = 0.005;

pub(super) async fn play(options: &Options) -> anyhow::Result<Ending> {
    let outage = outage_expected(options);
    let mut ending = Ending::new(
        "storm",
        match outage {
            Some(true) => "unguarded an outage, guarded none",
            Some(false) => "no outage, unguarded or guarded: half of the instances carry the load",
            None => {
                "guarded no outage; unguarded either, since half of the instances barely carry the load"
            }
        },
    );
    let (script, day) = unguarded(options).await?;
    ending.note("unguarded", with(measured(&day), script));
    for reason in &day.void {
        ending.void(format!("unguarded: {reason}"));
    }
    match outage {
        Some(true) => ending.must(
            day.outage_s >= 5,
            format!("unguarded the site is down, not for {} s", day.outage_s),
        ),
        Some(false) => ending.must(
            day.outage_s == 0,
            format!(
                "unguarded the site stays up, not down for {} s",
                day.outage_s
            ),
        ),
        None => {}
    }
    guarded(options, &mut ending).await?;
    Ok(ending)
}

/// Whether half of the instances are overwhelmed; unknown where it is close.
fn outage_expected(options: &Options) -> Option<bool> {
    // Two thirds of the users ask for voyager, in two fabrics.
    let demand = options.rate() / 3.0;
    let left = f64::from(options.instances() / 2) * CARRIES_RPS;
    let used = demand / left.max(1.0);
    if used > 1.15 {
        Some(true)
    } else if used < 0.85 {
        Some(false)
    } else {
        None
    }
}

async fn make_releases(site: &Site) -> anyhow::Result<()> {
    site.build_all().await?;
    let framework: Vec<String> = FRAMEWORK.map(str::to_owned).to_vec();
    let good = Build::of(VOYAGER, OLD).workers(WORKERS).with(&framework);
    site.build(&good).await?;
    let bad = Build::of(VOYAGER, NEW).workers(WORKERS).with(&framework);
    site.build(&bad.with(&[BROKEN_PAGE.to_owned()])).await?;
    Ok(())
}

/// That day. Gives what the script did, and what users saw.
async fn unguarded(options: &Options) -> anyhow::Result<(Value, Report)> {
    let dir = std::env::temp_dir().join(format!("mainstay-demo-that-day-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    let played = that_day(options, &dir).await;
    if !options.keep {
        std::fs::remove_dir_all(&dir)?;
    }
    played
}

async fn that_day(options: &Options, dir: &Path) -> anyhow::Result<(Value, Report)> {
    let began = Instant::now();
    let tell = |what: &str| eprintln!("{:>6.1} s  that day: {what}", began.elapsed().as_secs_f64());
    let mut site = Site::new(dir, options.seed)?;
    site.set_instances(VOYAGER, options.instances())?;
    make_releases(&site).await?;
    let mut day = ThatDay::begin(&site, dir.to_owned(), NEW).await?;
    let fabrics = site.fabrics()?;
    let plan = LoadPlan {
        targets: fabrics.values().map(|at| format!("http://{at}")).collect(),
        rate: options.rate(),
        routes: Site::routes(),
        users: USERS,
        diurnal: None,
        patience: PATIENCE,
        bad_versions: vec![format!("{VOYAGER}={NEW}")],
        seed: options.seed,
    };
    let load = Load::start(site.binary(), &plan, dir)?;
    tokio::time::sleep(CALM).await;

    tell("the profile page is broken: rollback in batches of 50 %");
    let mut batches = Vec::new();
    for half in [0, 1] {
        let size = day.deploy_half(&site, half, OLD, HALF_TAKES).await?;
        batches.push(size);
        tell(&format!("batch of {size} reported as done"));
    }
    tokio::time::sleep(Duration::from_secs(DOWN_S as u64)).await;
    let mut acts = vec!["rollback"];
    if is_down(load.report()?.as_ref()) {
        tell("the site is down; health checks say OK, so the cause is looked for elsewhere");
        tokio::time::sleep(LOOKING_ELSEWHERE).await;
        tell("restart ordered; the tool reports success");
        day.restart_all(&site, OLD).await?;
        acts.push("restart");
        tokio::time::sleep(BELIEVING).await;
    }
    if is_down(load.report()?.as_ref()) {
        tell("still down: every process is killed by hand");
        day.kill_and_start_all(&site, OLD).await?;
        acts.push("kill");
    }
    tokio::time::sleep(AFTERWARDS).await;
    let report = load.stop().await?;
    let script = json!({
        "acts": acts,
        "batches": batches,
        "restarts_believed": day.restarts_believed,
        "restarts_true": day.restarts_true,
        "others_failed": others(&report).1,
    });
    day.end().await;
    tell(&format!(
        "{} of {} requests failed, {} s of outage",
        report.failed, report.requests, report.outage_s
    ));
    Ok((script, report))
}

/// Whether most requests of the last seconds failed.
fn is_down(report: Option<&Report>) -> bool {
    let Some(report) = report else {
        return false;
    };
    // Requests that still wait are in no second yet: whoever waits this long is not served.
    let planned = (report.elapsed_s - PATIENCE.as_secs_f64()).max(0.0) as usize;
    let last = |counts: &[u32]| -> u32 {
        let end = counts.len().min(planned + DOWN_S);
        counts[end.saturating_sub(DOWN_S)..end].iter().sum()
    };
    let requests = last(&report.per_second.requests);
    let failed = last(&report.per_second.failed);
    requests > 0 && failed * 2 > requests
}

/// The same order, under Mainstay.
async fn guarded(options: &Options, ending: &mut Ending) -> anyhow::Result<()> {
    let mut stage = Stage::new(options)?;
    stage.patience = PATIENCE;
    stage.site.edit(Kind::Service, VOYAGER, |spec| {
        spec["version"] = json!(NEW);
        spec["capacityRps"] = json!(STATED_RPS);
    })?;
    // A quarter of the users on one instance of six is more than its share; and people wait for this one.
    stage.site.edit(Kind::RolloutPolicy, "careful", |spec| {
        spec["canarySteps"] = json!(["1%", "5%"]);
        spec["maxEvidenceWait"] = json!("45s");
        spec["bake"] = json!("5s");
    })?;
    make_releases(&stage.site).await?;
    stage.open_as_made().await?;
    stage.let_users_in().await?;
    let enough = (options.rate() * KNOWN_S) as u64;
    stage
        .until_seen("the demand is known", DEMAND_WITHIN, |report| {
            report.requests >= enough
        })
        .await?;

    stage.tell("the profile page is broken: rollback in batches of 50 %, as an emergency");
    let order = json!({
        "batch": "50%",
        "emergency": {"policy": "site-down", "reason": "the profile page is broken"},
    });
    let api = stage.api()?;
    let asked = api
        .rollout(VOYAGER, OLD, "back to what worked", order)
        .await;
    let (change, answer) = match asked {
        Ok(opened) => (opened.change, opened.plan),
        Err(error) => (None, vec![format!("{error:#}")]),
    };
    for line in &answer {
        stage.tell(&format!("answer: {line}"));
    }
    let refused = answer.iter().any(|line| line.contains("refused"));
    let change = if let Some(change) = change {
        change
    } else {
        let order = json!({
            "emergency": {"policy": "site-down", "reason": "the profile page is broken"},
        });
        let opened = api.rollout(VOYAGER, OLD, "back to what worked", order);
        let change = opened.await?.change;
        change.ok_or_else(|| anyhow::anyhow!("the rollback was not opened"))?
    };
    let rollout = stage.until_over(&change, GUARDED_WITHIN).await?;
    let versions = stage.versions().await?;
    tokio::time::sleep(CALM).await;
    let before = stage.seen()?.unwrap_or_default();

    stage.tell("all of voyager hangs: other pages must keep answering");
    let voyager = stage.dir().join("artifacts").join(VOYAGER);
    let hung: Vec<_> = stage
        .processes()
        .into_iter()
        .filter(|it| it.exe.starts_with(&voyager))
        .collect();
    for process in &hung {
        process.signal(rustix::process::Signal::STOP);
    }
    tokio::time::sleep(HUNG).await;
    let during = stage.seen()?.unwrap_or_default();
    let hoarders = stage.api()?.status().await?["routers"].clone();
    for process in &hung {
        process.signal(rustix::process::Signal::CONT);
    }
    let closed = stage.close().await?;

    ending.must(refused, "the batch of 50 % is refused");
    must_hold(ending, &rollout, &before, options);
    let (others_before, failed_before) = others(&before);
    let (others_during, failed_during) = others(&during);
    let asked = others_during.saturating_sub(others_before);
    let failed = failed_during.saturating_sub(failed_before);
    ending.must(
        failed as f64 <= OTHERS_FAILED_MAX * asked as f64,
        format!("other pages answer while voyager hangs: {failed} of {asked} failed"),
    );
    let script = json!({
        "answer": answer,
        "refused": refused,
        "versions": versions,
        "while_hung": {"instances": hung.len(), "others": asked, "others_failed": failed, "routers": hoarders},
        "left_behind": closed.survivors.len(),
        "rollout": {"change": rollout.change, "state": rollout.state, "because": rollout.because},
        "batches": rollout.batches,
        "verdicts": rollout.verdicts,
    });
    ending.note("guarded", with(measured(&before), script));
    for reason in &closed.report.void {
        ending.void(format!("guarded: {reason}"));
    }
    Ok(())
}

fn must_hold(ending: &mut Ending, rollout: &Rollout, report: &Report, options: &Options) {
    ending.must(
        rollout.state == ChangeState::Done,
        format!("the guarded rollback is done, not {}", rollout.line()),
    );
    ending.must(
        report.outage_s == 0,
        format!(
            "guarded the site stays up, not down for {} s",
            report.outage_s
        ),
    );
    let largest = rollout.batches.iter();
    let largest = largest.filter_map(|batch| batch["instances"].as_array().map(Vec::len));
    let largest = largest.max().unwrap_or(0);
    ending.must(
        largest < (options.instances() as usize).max(2),
        format!("no batch takes half of the instances, not {largest}"),
    );
    let broken = report.routes.get(BROKEN_ROUTE).copied().unwrap_or_default();
    let failed = report.failed - broken.failed;
    ending.must(
        failed * 100 <= report.requests,
        format!("at most 1 % of the requests fail besides those of the broken page, not {failed}"),
    );
}

/// Requests to pages of other services, and those that failed.
fn others(report: &Report) -> (u64, u64) {
    let others = report
        .routes
        .iter()
        .filter(|(route, _)| !route.starts_with("/voyager/"));
    others.fold((0, 0), |(requests, failed), (_, counts)| {
        (requests + counts.requests, failed + counts.failed)
    })
}

fn with(mut fields: Map<String, Value>, more: Value) -> Value {
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    Value::Object(fields)
}

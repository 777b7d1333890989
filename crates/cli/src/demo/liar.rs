//! `liar`: an instance that says it is well while its callers get nothing, and that ignores its stop.
//!
//! One instance is overwhelmed from aside. Its health check goes on saying OK, and its workers are lost. What
//! counts is what its callers measure: it is reported as lying and gets no more requests, and no other
//! instance is punished. Its restart is true when the old process is seen gone, which takes SIGKILL.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use super::{
    Ending, Options,
    defects::chosen,
    stage::{Stage, VOYAGER},
};
use crate::local::direct;

/// More than workers and queue of one instance together take.
const OVERWHELMING: usize = 90;
/// How long whoever overwhelms it waits for answers that do not come.
const PATIENCE: Duration = Duration::from_secs(3);
/// From the overload to the verdict.
const FOUND_WITHIN: Duration = Duration::from_secs(30);
/// From the order to restart to a new process that serves.
const RESTARTED_WITHIN: Duration = Duration::from_mins(1);
/// Grace of a stop in the example, in seconds; a process that ignores its stop is killed after it.
const STOP_GRACE_S: f64 = 4.0;
/// Requests that may fail on the way, of all.
const FAILED_MAX: f64 = 0.01;
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn play(options: &Options) -> anyhow::Result<Ending> {
    let defects = chosen(&options.defects, &["lying-health", "hang", "ignores-stop"]);
    let has = |name: &str| defects.iter().any(|defect| defect == name);
    let (lies, deaf) = (has("lying-health") && has("hang"), has("ignores-stop"));
    let mut stage = Stage::new(options)?;
    stage.open(&defects).await?;
    stage.let_users_in().await?;

    let victim = Seen::any(&stage).await?;
    stage.tell(&format!("{} is overwhelmed from aside", victim.name));
    let within = if lies { FOUND_WITHIN } else { PATIENCE * 2 };
    let (overwhelmed, found) = tokio::join!(
        overwhelm(victim.port()?),
        found_lying(&stage, &victim.name, within)
    );
    overwhelmed?;

    let mut ending = Ending::new(
        "liar",
        match (lies, deaf) {
            (true, true) => "lying, out of rotation, restarted after SIGKILL",
            (true, false) => "lying, out of rotation, restarted",
            (false, _) => "an instance that recovers is not called a liar",
        },
    );
    ending.note("instance", victim.name.clone());
    ending.note("defects", json!(defects));
    ending.note("found_lying", found.is_some());
    ending.must(
        found.is_some() == lies,
        format!(
            "found lying: {lies}, since it {} lie",
            if lies { "does" } else { "does not" }
        ),
    );
    if let Some((found, found_after_s)) = &found {
        stage.tell(&format!("it is found lying: {}", found.text("evidence")));
        ending.note("detected_s", *found_after_s);
        ending.note("claimed", found.text("claimed"));
        ending.note("measured", found.text("measured"));
        ending.note("evidence", found.text("evidence"));
        let others = Seen::all(&stage).await?;
        let others = others
            .iter()
            .filter(|it| it.name != victim.name && !it.in_rotation());
        let others: Vec<&str> = others.map(|it| it.name.as_str()).collect();
        ending.must(
            others.is_empty(),
            format!("no other instance is taken out, not {others:?}"),
        );
    }
    let restart = restart(&stage, &victim).await?;
    stage.tell("it is restarted");
    ending.note(
        "restart",
        json!({"old_pid": restart.old_pid, "new_pid": restart.new_pid,
        "old_gone_s": restart.old_gone_s, "reported_s": restart.reported_s}),
    );
    ending.must(
        restart.old_gone_s <= restart.reported_s,
        "the new process counts only once the old one is gone",
    );
    if deaf {
        ending.must(
            restart.old_gone_s >= STOP_GRACE_S * 0.9,
            format!(
                "the old process goes by SIGKILL, after its grace, not {:.1} s",
                restart.old_gone_s
            ),
        );
    }
    let closed = stage.close().await?;
    ending.saw(&closed.report);
    ending.note("batches", json!([]));
    ending.note("verdicts", json!([]));
    ending.note("left_behind", closed.survivors.len());
    let share = closed.report.failed as f64 / closed.report.requests.max(1) as f64;
    ending.must(
        share <= FAILED_MAX,
        format!(
            "at most 1 % of the requests fail, not {:.2} %",
            share * 100.0
        ),
    );
    ending.must(closed.report.outage_s == 0, "there is no second of outage");
    Ok(ending)
}

/// An instance as the platform sees it.
struct Seen {
    name: String,
    status: Value,
}

impl Seen {
    async fn all(stage: &Stage) -> anyhow::Result<Vec<Self>> {
        let instances = stage.instances(VOYAGER).await?;
        let seen = instances.into_iter().map(|instance| Self {
            name: instance["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            status: instance["status"].clone(),
        });
        Ok(seen.collect())
    }

    async fn any(stage: &Stage) -> anyhow::Result<Self> {
        let all = Self::all(stage).await?;
        all.into_iter()
            .find(Self::in_rotation)
            .context("no instance is in rotation")
    }

    async fn named(stage: &Stage, name: &str) -> anyhow::Result<Self> {
        let all = Self::all(stage).await?;
        all.into_iter()
            .find(|it| it.name == name)
            .with_context(|| format!("{name} is not listed"))
    }

    fn in_rotation(&self) -> bool {
        self.status["inRotation"] == true
    }

    fn port(&self) -> anyhow::Result<u16> {
        let port = self.status["port"].as_u64();
        Ok(u16::try_from(port.context("it has no port")?)?)
    }

    fn pid(&self) -> Option<i32> {
        self.status["pid"]
            .as_i64()
            .and_then(|pid| i32::try_from(pid).ok())
    }

    fn text(&self, field: &str) -> String {
        self.status[field].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends more requests at once than an instance can take, past its router.
async fn overwhelm(port: u16) -> anyhow::Result<()> {
    let http = direct(PATIENCE)?;
    let mut requests = JoinSet::new();
    for _ in 0..OVERWHELMING {
        let request = http.get(format!("http://127.0.0.1:{port}/{VOYAGER}/home"));
        requests.spawn(request.send());
    }
    while let Some(answered) = requests.join_next().await {
        // Most time out: that is the point.
        let _ = answered?;
    }
    Ok(())
}

/// Waits until the instance is reported as lying and gets no requests.
/// Gives it, and after how many seconds.
async fn found_lying(stage: &Stage, name: &str, within: Duration) -> Option<(Seen, f64)> {
    let began = Instant::now();
    while began.elapsed() < within {
        if let Ok(seen) = Seen::named(stage, name).await
            && seen.text("verdict").eq_ignore_ascii_case("lying")
            && !seen.in_rotation()
        {
            return Some((seen, began.elapsed().as_secs_f64()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    None
}

/// A restart as it was seen from outside, in seconds after the order.
struct Restart {
    old_pid: i32,
    new_pid: i32,
    /// When the kernel no longer knew the old process.
    old_gone_s: f64,
    /// When the platform said that another process serves.
    reported_s: f64,
}

async fn restart(stage: &Stage, victim: &Seen) -> anyhow::Result<Restart> {
    let old_pid = victim.pid().context("it has no process")?;
    let began = Instant::now();
    stage
        .api()?
        .act("restart", &json!({"instance": victim.name}))
        .await?;
    let mut old_gone_s = None;
    loop {
        let seconds = began.elapsed().as_secs_f64();
        // The view first: what it says was true before the kernel is asked.
        let seen = Seen::named(stage, &victim.name).await?;
        if old_gone_s.is_none() && !stage.processes().iter().any(|it| it.pid == old_pid) {
            old_gone_s = Some(seconds);
        }
        if let Some(new_pid) = seen.pid().filter(|pid| *pid != old_pid)
            && seen.in_rotation()
        {
            return Ok(Restart {
                old_pid,
                new_pid,
                // Still there, though another one is said to serve.
                old_gone_s: old_gone_s.unwrap_or(f64::INFINITY),
                reported_s: seconds,
            });
        }
        if began.elapsed() > RESTARTED_WITHIN {
            bail!(
                "{} was not restarted within {} s",
                victim.name,
                RESTARTED_WITHIN.as_secs()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

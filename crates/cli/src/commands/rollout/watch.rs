//! `watch`: follows a change until it ends, waits for a person, or the watcher goes.
//!
//! Guarantees: Ctrl-C ends the watching and never the change, and says so; a server that goes away is
//! waited for, as long as the watcher likes; the exit code tells how it ended. Never steers anything.

use std::{process::ExitCode, time::Duration};

use mainstay_core::{ChangeState, Outcome};
use serde_json::{Value, json};

use super::{fetch::one, live::Screen, progress::Rollout};
use crate::{
    args::{Format, Global},
    client::{Client, ClientError},
    output, ports,
    style::{self, Style},
};

/// How often the server is asked.
const EVERY: Duration = Duration::from_secs(1);
/// After how long without an answer it counts as away.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Exit code: rolled back or aborted.
const WENT_BACK: u8 = 1;
/// Exit code: paused for a person.
const PAUSED: u8 = 3;
/// Exit code: the watcher went; as shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

/// Follows `change`.
pub(crate) async fn watch(
    global: &Global,
    client: &Client,
    change: &str,
) -> anyhow::Result<ExitCode> {
    // Whoever asks for a server that was never there learns that at once.
    let mut last = one(client, change).await?;
    let mut screen = Screen::new(global.output);
    let interrupted = tokio::select! {
        ended = follow(client, change, &mut last, &mut screen) => { ended?; false }
        pressed = tokio::signal::ctrl_c() => { pressed?; true }
    };
    let (rollout, raw) = last;
    if interrupted {
        eprintln!(
            "\nstopped watching; {change} goes on without you\n  watch again: mainstay rollout watch \
             {change}"
        );
    } else if rollout.state == ChangeState::Paused {
        let lines = unblock(&rollout, &blocked(client, change).await);
        for line in lines {
            match global.output {
                Format::Table => output::print(&line)?,
                Format::Json | Format::Yaml => eprintln!("{line}"),
            }
        }
    }
    output::value(global.output, &raw)?;
    Ok(match rollout.state {
        _ if interrupted => ExitCode::from(INTERRUPTED),
        ChangeState::Done => ExitCode::SUCCESS,
        ChangeState::RolledBack | ChangeState::Aborted => ExitCode::from(WENT_BACK),
        ChangeState::Paused => ExitCode::from(PAUSED),
        // `follow` does not end in these.
        ChangeState::Running | ChangeState::RollingBack => ExitCode::from(2),
    })
}

/// Shows `last` and what comes after it, until the change stands still.
async fn follow(
    client: &Client,
    change: &str,
    last: &mut (Rollout, Value),
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    screen.show(&last.0, ports::now())?;
    while !stands_still(last.0.state) {
        ticks.tick().await;
        match answer(client, change).await {
            Some(Ok(found)) => {
                *last = found;
                screen.show(&last.0, ports::now())?;
            }
            Some(Err(error)) if !error.is_away() => return Err(error.into()),
            Some(Err(_)) | None => screen.away(&last.0, ports::now())?,
        }
    }
    Ok(())
}

/// `None` where nothing came in time.
async fn answer(client: &Client, change: &str) -> Option<Result<(Rollout, Value), ClientError>> {
    tokio::time::timeout(ANSWER_WITHIN, one(client, change))
        .await
        .ok()
}

/// Whether watching ends here: nothing more happens, or not before a person says so.
pub(super) fn stands_still(state: ChangeState) -> bool {
    state.is_final() || state == ChangeState::Paused
}

/// What `status` says blocks the change; nothing where it cannot be asked.
async fn blocked(client: &Client, change: &str) -> Vec<Value> {
    let status = tokio::time::timeout(ANSWER_WITHIN, client.get::<Value>("/api/v1/views/status"));
    let Ok(Ok(status)) = status.await else {
        return Vec::new();
    };
    let all = status["blocked"].as_array().cloned().unwrap_or_default();
    all.into_iter()
        .filter(|one| one["change"] == json!(change))
        .collect()
}

/// What a paused change waits for, and what a person can say.
pub(super) fn unblock(rollout: &Rollout, blocked: &[Value]) -> Vec<String> {
    let mut lines = vec![format!("{} is paused for a person.", rollout.change)];
    if !rollout.because.is_empty() {
        lines.push(format!("  because: {}", style::clean(&rollout.because)));
    }
    let findings = rollout.verdict.iter().flat_map(|verdict| &verdict.findings);
    let unmet = findings.filter(|finding| finding.outcome != Outcome::Pass);
    lines.extend(unmet.map(|finding| format!("  {}", output::finding(finding, Style::PLAIN))));
    for one in blocked {
        if let Some(remedy) = one["remedy"].as_str().filter(|text| !text.is_empty()) {
            lines.push(format!("  to unblock: {}", style::clean(remedy)));
        }
    }
    for (verb, what) in [
        ("resume", "go on"),
        ("rollback", "go back"),
        ("abort", "end it"),
    ] {
        lines.push(format!(
            "  {what:<8} mainstay rollout {verb} {}",
            rollout.change
        ));
    }
    lines
}

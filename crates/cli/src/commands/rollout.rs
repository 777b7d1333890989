//! `rollout start|watch|status|pause|resume|abort|rollback|promote|history`.
//!
//! Guarantees: a service stands for its newest rollout, and for a person's word for the open one; which
//! change was meant is always printed. Never decides whether a rollout may go on: the server does.

mod fetch;
mod live;
mod progress;
mod seen;
#[cfg(test)]
mod tests;
mod watch;

use std::process::ExitCode;

use mainstay_core::{Name, ServiceName};
use serde_json::{Value, json};

use crate::{
    args::{Global, RolloutCommand, RolloutStart, Steer},
    client::Client,
    output, ports,
    style::{self, Style},
};
use fetch::{Wanted, decode, resolve};
use progress::Rollout;
pub(crate) use watch::watch;

pub(crate) async fn run(global: &Global, command: RolloutCommand) -> anyhow::Result<ExitCode> {
    match command {
        RolloutCommand::Start(order) => return start(global, &order).await,
        RolloutCommand::Watch { target } => {
            let client = Client::new(global)?;
            let change = resolve(&client, &target, Wanted::Newest).await?;
            return watch(global, &client, &change).await;
        }
        RolloutCommand::Status { target: Some(one) } => status(global, one).await?,
        RolloutCommand::Status { target: None } => open(global).await?,
        RolloutCommand::Pause(to) => steer(global, "pause", &to).await?,
        RolloutCommand::Resume(to) => steer(global, "resume", &to).await?,
        RolloutCommand::Abort(to) => steer(global, "abort", &to).await?,
        RolloutCommand::Rollback(to) => steer(global, "rollback", &to).await?,
        RolloutCommand::Promote(to) => steer(global, "promote", &to).await?,
        RolloutCommand::History { service, limit } => {
            history(global, service.as_ref(), limit).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn order(order: &RolloutStart) -> anyhow::Result<Value> {
    let mut body = json!({
        "service": order.service,
        "version": order.version,
        "reason": order.reason,
        "dryRun": order.dry_run,
    });
    if let Some(emergency) = order.emergency.body(&order.reason)? {
        body["emergency"] = emergency;
    }
    if let Some(batch) = &order.batch {
        body["batch"] = json!(batch);
    }
    if let Some(share) = &order.expose {
        body["expose"] = json!(share);
    }
    if let Some(strategy) = order.strategy {
        body["strategy"] = json!(strategy.as_str());
    }
    Ok(body)
}

async fn start(global: &Global, start: &RolloutStart) -> anyhow::Result<ExitCode> {
    let client = Client::new(global)?;
    let answer: Value = client
        .post("/api/v1/actions/rollout", &order(start)?)
        .await?;
    let change = answer["change"].as_str();
    if start.watch
        && let Some(change) = change
    {
        let people = matches!(global.output, crate::args::Format::Table);
        for line in plan(&answer) {
            if people {
                output::print(&line)?;
            } else {
                // Standard output is kept for the one value at the end.
                eprintln!("{line}");
            }
        }
        return watch(global, &client, change).await;
    }
    if output::value(global.output, &answer)? {
        return Ok(ExitCode::SUCCESS);
    }
    plan(&answer)
        .iter()
        .try_for_each(|line| output::print(line))?;
    match change {
        Some(change) => output::print(&format!(
            "change {change}\nfollow it: mainstay rollout watch {change}"
        ))?,
        None if start.dry_run => output::print("nothing was opened (dry run)")?,
        None => output::print("nothing was opened")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn plan(answer: &Value) -> Vec<String> {
    let lines = answer["plan"].as_array().map_or(&[][..], Vec::as_slice);
    let text = lines.iter().filter_map(Value::as_str).map(style::clean);
    text.collect()
}

async fn steer(global: &Global, verb: &str, to: &Steer) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    // What is done can still be rolled back; all else is for what is open.
    let wanted = if verb == "rollback" {
        Wanted::Newest
    } else {
        Wanted::Open
    };
    let change = resolve(&client, &to.target, wanted).await?;
    let answer: Value = client
        .post(
            &format!("/api/v1/changes/{change}/{verb}"),
            &json!({ "reason": to.reason }),
        )
        .await?;
    if !output::value(global.output, &answer)? {
        output::print(&format!(
            "{verb} told to {change}\nfollow it: mainstay rollout watch {change}"
        ))?;
    }
    Ok(())
}

/// `rollout status CHANGE|SERVICE`.
async fn status(global: &Global, target: Name) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let found = fetch(&client, &[target]).await?;
    for raw in &found {
        if !output::value(global.output, raw)? {
            described(raw)?;
        }
    }
    Ok(())
}

/// As `describe` shows one.
pub(crate) fn described(raw: &Value) -> anyhow::Result<()> {
    let (rollouts, _) = decode(std::slice::from_ref(raw))?;
    rollouts
        .iter()
        .flat_map(|one| progress::block(one, ports::now(), Style::of_stdout(), usize::MAX))
        .try_for_each(|line| output::print(&line))
}

async fn open(global: &Global) -> anyhow::Result<()> {
    let all: Vec<Value> = Client::new(global)?.get("/api/v1/views/rollouts").await?;
    let (rollouts, last) = decode(&all)?;
    let open: Vec<&Rollout> = rollouts
        .iter()
        .filter(|one| !one.state.is_final())
        .collect();
    let raw: Vec<&Value> = all
        .iter()
        .zip(&rollouts)
        .filter(|(_, one)| !one.state.is_final())
        .map(|(raw, _)| raw)
        .collect();
    if output::value(global.output, &json!(raw))? {
        return Ok(());
    }
    if open.is_empty() {
        let last = last.map_or_else(String::new, |last| {
            format!(
                "; the last, {} ({}), is {}",
                last.title(),
                last.change,
                output::word(&last.state)
            )
        });
        return output::print(&format!("no rollout is open{last}"));
    }
    table(open.into_iter())
}

async fn history(
    global: &Global,
    service: Option<&ServiceName>,
    limit: usize,
) -> anyhow::Result<()> {
    let mut all: Vec<Value> = Client::new(global)?.get("/api/v1/views/rollouts").await?;
    if let Some(service) = service {
        all.retain(|one| one["service"] == json!(service));
    }
    all.truncate(limit);
    if output::value(global.output, &json!(all))? {
        return Ok(());
    }
    if all.is_empty() {
        let of = service.map_or_else(String::new, |service| format!(" of {service}"));
        return output::print(&format!("no rollout{of} yet"));
    }
    let (rollouts, _) = decode(&all)?;
    let now = ports::now();
    let rows: Vec<Vec<String>> = rollouts
        .iter()
        .map(|one| {
            let took = one
                .opened_at
                .map(|opened| output::short(one.ended_at.unwrap_or(now).since(opened)));
            vec![
                one.change.clone(),
                one.opened_at
                    .map_or_else(|| "-".to_owned(), |at| output::to_second(at).to_string()),
                one.title(),
                Style::of_stdout().word(&output::word(&one.state)),
                took.unwrap_or_else(|| "-".to_owned()),
                one.actor
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |actor| style::clean(&actor.id)),
                style::clean(&one.because),
            ]
        })
        .collect();
    output::table(
        &[
            "CHANGE", "OPENED", "ROLLOUT", "STATE", "TOOK", "BY", "BECAUSE",
        ],
        &rows,
    )
}

/// The table of `get rollouts` and `rollout status`.
fn table<'a>(rollouts: impl Iterator<Item = &'a Rollout>) -> anyhow::Result<()> {
    let (now, style) = (ports::now(), Style::of_stdout());
    let rows: Vec<Vec<String>> = rollouts.map(|one| progress::row(one, now, style)).collect();
    output::table(&progress::HEADER, &rows)
}

/// The rollouts of these names, each a change's or a service's, or the newest of all.
pub(crate) async fn fetch(client: &Client, names: &[Name]) -> anyhow::Result<Vec<Value>> {
    if names.is_empty() {
        return Ok(client.get("/api/v1/views/rollouts").await?);
    }
    let mut list = Vec::with_capacity(names.len());
    for name in names {
        let change = resolve(client, name, Wanted::Newest).await?;
        list.push(fetch::one(client, &change).await?.1);
    }
    Ok(list)
}

/// As `get` shows them.
pub(crate) fn listed(all: &[Value]) -> anyhow::Result<()> {
    if all.is_empty() {
        eprintln!("no rollouts yet; start one with `mainstay rollout start SERVICE VERSION`");
        return Ok(());
    }
    table(decode(all)?.0.iter())
}

/// A rollout as every listed thing is written.
pub(crate) fn resource(rollout: &Value) -> Value {
    const SPEC: [&str; 6] = ["service", "from", "to", "strategy", "reason", "actor"];
    let fields = rollout.as_object().cloned().unwrap_or_default();
    let (spec, status): (serde_json::Map<_, _>, serde_json::Map<_, _>) = fields
        .into_iter()
        .filter(|(name, _)| name != "change")
        .partition(|(name, _)| SPEC.contains(&name.as_str()));
    json!({
        "apiVersion": mainstay_core::resource::API_VERSION,
        "kind": "Rollout",
        "metadata": { "name": rollout["change"] },
        "spec": spec,
        "status": status,
    })
}

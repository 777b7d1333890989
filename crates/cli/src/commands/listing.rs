//! `get` and `describe`: what is declared, and what is measured.
//!
//! Guarantees: as JSON, `get` prints one array whatever was pointed at, `describe` one object or, of several
//! things, an array. Never prints a part: everything is fetched first.

use mainstay_core::{Kind, Name};
use serde_json::Value;

use super::{instances, resources, rollout};
use crate::{
    args::{Format, Global, Listed, Pointed, Pointing},
    client::Client,
    output,
};

pub(crate) async fn get(global: &Global, what: &Pointing<Listed>) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let mut lists = Vec::new();
    for Pointed { kind, names } in what.all()? {
        lists.push((kind, fetch(&client, kind, &names).await?));
    }
    if global.output != Format::Table {
        let written = lists.iter().flat_map(|(kind, list)| {
            list.iter().map(|raw| match kind {
                Listed::Rollouts => rollout::resource(raw),
                Listed::Declared(_) | Listed::Instances => raw.clone(),
            })
        });
        output::value(global.output, &written.collect())?;
        return Ok(());
    }
    for (place, (kind, list)) in lists.iter().enumerate() {
        apart(place)?;
        match kind {
            Listed::Declared(kind) => resources::table(*kind, list)?,
            Listed::Instances => instances::table(list)?,
            Listed::Rollouts => rollout::listed(list)?,
        }
    }
    Ok(())
}

pub(crate) async fn describe(global: &Global, what: &Pointing<Listed>) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let mut things = Vec::new();
    for Pointed { kind, names } in what.by_name()? {
        for name in names {
            let found = fetch(&client, kind, std::slice::from_ref(&name)).await?;
            things.extend(found.into_iter().map(|raw| (kind, name.clone(), raw)));
        }
    }
    let raw: Vec<&Value> = things.iter().map(|(_, _, raw)| raw).collect();
    if output::one_or_all(global.output, &raw)? {
        return Ok(());
    }
    let is_service = |kind: &Listed| *kind == Listed::Declared(Kind::Service);
    let blocked: Vec<Value> = if things.iter().any(|(kind, ..)| is_service(kind)) {
        let mut status: Value = client.get("/api/v1/views/status").await?;
        let blocked = status["blocked"].take();
        blocked.as_array().cloned().unwrap_or_default()
    } else {
        Vec::new()
    };
    for (place, (kind, name, raw)) in things.iter().enumerate() {
        apart(place)?;
        match kind {
            Listed::Declared(declared) => {
                let of_it = |one: &&Value| is_service(kind) && one["service"] == *name.as_str();
                let its: Vec<Value> = blocked.iter().filter(of_it).cloned().collect();
                resources::described(*declared, name, raw, &its)?;
            }
            Listed::Instances => instances::described(raw)?,
            Listed::Rollouts => rollout::described(raw)?,
        }
    }
    Ok(())
}

async fn fetch(client: &Client, kind: Listed, names: &[Name]) -> anyhow::Result<Vec<Value>> {
    match kind {
        Listed::Declared(kind) => resources::fetch(client, kind, names).await,
        Listed::Instances => instances::fetch(client, names).await,
        Listed::Rollouts => rollout::fetch(client, names).await,
    }
}

/// An empty line between two blocks.
fn apart(place: usize) -> anyhow::Result<()> {
    if place == 0 {
        Ok(())
    } else {
        output::print("")
    }
}

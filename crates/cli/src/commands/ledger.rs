//! `ledger verify`, `ledger show` and `ledger rebuild`.

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, bail};
use mainstay_core::{Hash, ledger::Broken};
use mainstay_store::{Options, StoreError};
use serde_json::{Value, json};

use crate::{
    args::{Format, Global, Kept, LedgerCommand},
    client::{Client, parameters},
    config::Config,
    output, ports,
};

pub(crate) async fn run(global: &Global, command: LedgerCommand) -> anyhow::Result<ExitCode> {
    match command {
        LedgerCommand::Verify {
            data_dir: Some(data_dir),
        } => {
            anyhow::ensure!(
                data_dir.join("mainstay.db").exists(),
                "there is no ledger in {}",
                data_dir.display()
            );
            let answer = match walked(&data_dir).await {
                Ok((entries, head)) => json!({ "holds": true, "entries": entries, "head": head }),
                Err(error) => match error.downcast_ref::<Broken>() {
                    Some(broken) => json!({ "holds": false, "broken": broken }),
                    None => return Err(error),
                },
            };
            report(global.output, &answer)
        }
        LedgerCommand::Verify { data_dir: None } => {
            let answer: Value = Client::new(global)?.get("/api/v1/ledger/verify").await?;
            report(global.output, &answer)
        }
        LedgerCommand::Rebuild(kept) => {
            let tables = rebuilt(&kept).await?;
            output::print(&format!("rebuilt: {}", tables.join(", ")))?;
            Ok(ExitCode::SUCCESS)
        }
        LedgerCommand::Show {
            since,
            stream,
            limit,
        } => {
            let (since, limit) = (since.to_string(), limit.to_string());
            let mut pairs = vec![("since", since.as_str()), ("limit", limit.as_str())];
            pairs.extend(stream.as_deref().map(|stream| ("stream", stream)));
            let path = format!("/api/v1/ledger{}", parameters(&pairs));
            let entries: Vec<Value> = Client::new(global)?.get(&path).await?;
            show(global.output, &entries)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Folds the ledger into each of its tables anew; their names.
async fn rebuilt(kept: &Kept) -> anyhow::Result<Vec<&'static str>> {
    let store = match (&kept.data_dir, &kept.config) {
        (Some(data_dir), _) => ports::open_data_dir(data_dir).await?,
        (None, Some(file)) => {
            let config = Config::read(file)?;
            let url = config.store.url.as_ref().with_context(|| {
                let file = file.display();
                format!("{file} names no [store] url: name the server's --data-dir instead")
            })?;
            ports::open_postgres(url).await?
        }
        (None, None) => bail!("name the server's --data-dir or --config"),
    };
    let tables = Options::default().projections;
    for table in &tables {
        store.rebuild(table.name()).await?;
    }
    store.close().await;
    Ok(tables.iter().map(|table| table.name()).collect())
}

/// The whole chain of a data directory; a broken one is an error that holds a [`Broken`], also where the
/// database already failed to open because of it.
async fn walked(data_dir: &Path) -> anyhow::Result<(u64, Hash)> {
    let store = ports::open_data_dir(data_dir).await?;
    let walked = store.verify().await;
    store.close().await;
    walked.map_err(|error| match error {
        StoreError::Broken(broken) => broken.into(),
        other => other.into(),
    })
}

fn report(format: Format, answer: &Value) -> anyhow::Result<ExitCode> {
    let holds = answer["holds"] == json!(true);
    if !output::value(format, answer)? {
        let line = if holds {
            format!(
                "ok: {} entries, head {}",
                answer["entries"],
                answer["head"].as_str().unwrap_or_default()
            )
        } else {
            let broken = &answer["broken"];
            format!(
                "broken at entry {}: {}",
                broken["seq"],
                broken["what"].as_str().unwrap_or_default()
            )
        };
        output::print(&line)?;
    }
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn show(format: Format, entries: &[Value]) -> anyhow::Result<()> {
    if output::value(format, &json!(entries))? {
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            vec![
                entry["seq"].to_string(),
                output::time(&entry["at"]),
                text(&entry["actor"]["id"]),
                text(&entry["kind"]),
                text(&entry["stream"]),
                text(&entry["hash"]).chars().take(12).collect(),
            ]
        })
        .collect();
    output::table(&["SEQ", "AT", "ACTOR", "KIND", "STREAM", "HASH"], &rows)
}

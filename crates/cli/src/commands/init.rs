//! `mainstay init`: a first catalog, drafted from an existing Prometheus.
//!
//! Guarantees: every service it drafts is only observed; each guess says in a comment what it was guessed
//! from; no file that exists is written without `--overwrite`, and none at all if one may not be. Never
//! applies anything and never writes to the Prometheus it asks.
//!
//! ```text
//! mainstay init --prometheus http://127.0.0.1:9090 --out catalog
//! mainstay apply -f catalog --dry-run
//! ```

mod draft;
mod survey;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::json;

use crate::{args::Global, output};

/// What `init` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The Prometheus to ask, such as `http://127.0.0.1:9090`; Mainstay itself answers too.
    #[arg(long)]
    prometheus: String,
    /// The directory for the drafted files.
    #[arg(long, default_value = "catalog")]
    out: PathBuf,
    /// Replace files that exist.
    #[arg(long)]
    overwrite: bool,
}

pub(crate) async fn init(global: &Global, args: &Init) -> anyhow::Result<()> {
    let survey = survey::survey(&args.prometheus).await?;
    let draft = draft::draft(&survey);
    if draft.services.is_empty() {
        bail!(
            "{} scrapes nothing that could be a service\n  remedy: see {}/targets",
            args.prometheus,
            args.prometheus.trim_end_matches('/')
        );
    }
    write(args, &draft.files)?;
    let services: Vec<_> = draft
        .services
        .iter()
        .map(|it| json!({ "service": it.name, "instances": it.instances, "countedBy": it.counted_by, "missing": it.missing }))
        .collect();
    let files: Vec<_> = draft.files.iter().map(|(name, _)| name).collect();
    let all = json!({ "out": args.out, "files": files, "services": services });
    if output::value(global.output, &all)? {
        return Ok(());
    }
    let rows: Vec<Vec<String>> = draft
        .services
        .iter()
        .map(|it| {
            vec![
                it.name.clone(),
                it.instances.to_string(),
                it.counted_by.clone(),
                it.missing.join("; "),
            ]
        })
        .collect();
    let header = [
        "SERVICE",
        "INSTANCES",
        "REQUESTS COUNTED BY",
        "STILL MISSING",
    ];
    for line in output::lines(&header, &rows) {
        output::print(&line)?;
    }
    let out = args.out.display();
    output::print(&format!(
        "\nwrote {} files to {out}; nothing was applied, and nothing will be acted upon\n\
         next:\n  \
         1. fill in `owner` and read the comments: $EDITOR {out}/*.yaml\n  \
         2. mainstay apply -f {out} --dry-run\n  \
         3. mainstay apply -f {out} --reason 'first look'\n  \
         4. mainstay status        # a verdict appears when two versions serve at once",
        draft.files.len()
    ))
}

fn write(args: &Init, files: &[(String, String)]) -> anyhow::Result<()> {
    let path = |name: &String| args.out.join(name);
    let there: Vec<String> = files
        .iter()
        .map(|(name, _)| path(name))
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if !there.is_empty() && !args.overwrite {
        bail!(
            "{} exist already, and nothing was written\n  remedy: name another directory with --out, or \
             give --overwrite",
            there.join(", ")
        );
    }
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make {}", args.out.display()))?;
    for (name, text) in files {
        let path = path(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

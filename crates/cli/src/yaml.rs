//! Reads resources from YAML files; an error names file, line, column, what was expected, and the remedy.
//!
//! Guarantees: a position stands once in a message, and counts from the first line of the file. Each resource keeps
//! where it was written, so that what a server says of one of its fields can be told with that place.
//!
//! Example: `site.yaml:12:9: unknown field `replicas`…`.

mod written;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use mainstay_core::{
    Kind, Metadata, Resource,
    catalog::{FabricSpec, FreezeSpec, HostSpec, RolloutPolicySpec, ServiceSpec},
    escalation::EscalationPolicySpec,
    guard::GuardSpec,
    monitor::MonitorSpec,
    oncall::{ResponderSpec, ScheduleSpec},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_saphyr::{MessageFormatter as _, UserMessageFormatter};

use crate::style;
pub(crate) use written::Written;

/// Largest file read, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Deserialize)]
struct Header {
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read only so that an error carries its line")]
struct Document<Spec> {
    api_version: String,
    kind: Kind,
    metadata: Metadata,
    spec: Spec,
}

/// What a document of a file is made of, for whoever wrote another one.
fn shape() -> String {
    let kinds = Kind::ALL.map(Kind::as_str).join(", ");
    format!(
        "a document has apiVersion, kind, metadata and spec, and kind is one of {kinds}; `---` stands between two"
    )
}

/// All resources of all paths, in the order in which kinds refer to each other, each with where it was written.
pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<(Resource, Written)>> {
    let mut resources = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin()
                .take(FILE_BYTES_MAX)
                .read_to_string(&mut text)
                .context("cannot read standard input")?;
            resources.extend(documents_of("standard input", &text)?);
            continue;
        }
        for file in files(path)? {
            let text = read_file(&file)?;
            resources.extend(documents_of(&file.display().to_string(), &text)?);
        }
    }
    if resources.is_empty() {
        let paths: Vec<String> = paths.iter().map(|it| it.display().to_string()).collect();
        bail!("no resource in {}\n  remedy: {}", paths.join(", "), shape());
    }
    let place = |kind| Kind::ALL.iter().position(|known| *known == kind);
    resources.sort_by_key(|(resource, _)| place(resource.kind));
    Ok(resources)
}

fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in
        std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?
    {
        let file = entry?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
        {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(file: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(file)
        .with_context(|| format!("cannot read {}", file.display()))?
        .len();
    if size > FILE_BYTES_MAX {
        bail!(
            "{} has {size} bytes; at most {FILE_BYTES_MAX} are read\n  remedy: divide it",
            file.display()
        );
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The resources of one text, whose documents are divided by `---`.
pub(crate) fn parse(file: &str, text: &str) -> anyhow::Result<Vec<Resource>> {
    let all = documents_of(file, text)?;
    Ok(all.into_iter().map(|(resource, _)| resource).collect())
}

fn documents_of(file: &str, text: &str) -> anyhow::Result<Vec<(Resource, Written)>> {
    let documents = documents(text).into_iter();
    documents
        .map(|(lines_before, document)| {
            let written = Written::new(file, lines_before, document);
            Ok((parse_one(&written)?, written))
        })
        .collect()
}

/// Each document with the number of lines before it.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut documents = vec![(0, String::new())];
    for (number, line) in text.lines().enumerate() {
        if line.trim_end() == "---" {
            documents.push((number + 1, String::new()));
        } else if let Some((_, document)) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    let has_content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    documents.retain(|(_, document)| document.lines().any(has_content));
    documents
}

fn parse_one(written: &Written) -> anyhow::Result<Resource> {
    let wrong = |error: &serde_saphyr::Error, remedy: &str| {
        let place = error.location().map(|at| (at.line(), at.column()));
        // Without its place, which stands before it.
        let message = UserMessageFormatter.format_message(error.without_snippet());
        let message = style::clean(&message);
        anyhow::anyhow!("{}: {message}\n  remedy: {remedy}", written.at(place))
    };
    let document = written.text();
    let header: Header =
        serde_saphyr::from_str(document).map_err(|error| wrong(&error, &shape()))?;
    let read = match header.kind {
        Kind::Fabric => typed::<FabricSpec>(document),
        Kind::Host => typed::<HostSpec>(document),
        Kind::Service => typed::<ServiceSpec>(document),
        Kind::RolloutPolicy => typed::<RolloutPolicySpec>(document),
        Kind::Guard => typed::<GuardSpec>(document),
        Kind::Freeze => typed::<FreezeSpec>(document),
        Kind::Monitor => typed::<MonitorSpec>(document),
        Kind::EscalationPolicy => typed::<EscalationPolicySpec>(document),
        Kind::Responder => typed::<ResponderSpec>(document),
        Kind::Schedule => typed::<ScheduleSpec>(document),
    };
    let kind = header.kind.as_str().to_lowercase();
    let explained = format!("`mainstay explain {kind}` lists the fields and what each may be");
    read.and_then(|()| serde_saphyr::from_str(document))
        .map_err(|error| wrong(&error, &explained))
}

fn typed<Spec: DeserializeOwned>(document: &str) -> Result<(), serde_saphyr::Error> {
    serde_saphyr::from_str::<Document<Spec>>(document).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FABRIC: &str = "apiVersion: mainstay/v1\nkind: Fabric\nmetadata: {name: lax}\nspec: {}\n";

    #[test]
    fn several_documents_are_read_from_one_file() {
        let text = format!(
            "# first\n---\n{FABRIC}---\n{}",
            FABRIC.replace("lax", "iad")
        );
        let names: Vec<String> = parse("site.yaml", &text)
            .unwrap()
            .iter()
            .map(|resource| resource.metadata.name.to_string())
            .collect();
        assert_eq!(names, ["lax", "iad"]);
    }

    #[test]
    fn an_unknown_field_is_named_with_file_and_line_of_its_document() {
        let service = "apiVersion: mainstay/v1\nkind: Service\nmetadata: {name: feed}\nspec:\n  owner: feed\n  replicas: {lax: 3}\n";
        let error = parse("site.yaml", &format!("{FABRIC}---\n{service}"))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("site.yaml:11:"), "{error}");
        assert!(
            error.contains("replicas") && error.contains("instances"),
            "{error}"
        );
        assert!(
            error.ends_with(
                "remedy: `mainstay explain service` lists the fields and what each may be"
            ),
            "{error}"
        );
        assert!(!error.contains("line "), "its place stands once: {error}");
    }

    #[test]
    fn what_is_no_document_of_ours_is_told_with_what_one_is_made_of() {
        for (text, place) in [
            (
                "apiVersion: mainstay/v1\nkind: Pod\nmetadata: {name: a}\nspec: {}\n",
                "a.yaml:2:",
            ),
            ("kind: Fabric\nspec: {a: [}\n", "a.yaml:2:"),
            ("- one\n", "a.yaml:1:"),
        ] {
            let error = parse("a.yaml", text).unwrap_err().to_string();
            assert!(error.starts_with(place), "{error}");
            assert!(!error.contains("line "), "its place stands once: {error}");
            assert!(error.contains("kind is one of Fabric, Host"), "{error}");
        }
    }

    #[test]
    fn a_wrong_duration_says_how_to_write_one() {
        let service = "apiVersion: mainstay/v1\nkind: Service\nmetadata: {name: feed}\nspec: {owner: feed, timeout: fast}\n";
        let error = parse("a.yaml", service).unwrap_err().to_string();
        assert!(
            error.starts_with("a.yaml:4:") && error.contains("`fast` is not a duration"),
            "{error}"
        );
    }
}

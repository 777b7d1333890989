//! Reads resources from YAML files; an error names file, line, column and what was expected.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use mainstay_core::{
    Kind, Metadata, Resource,
    catalog::{FabricSpec, FreezeSpec, HostSpec, RolloutPolicySpec, ServiceSpec},
    guard::GuardSpec,
    monitor::MonitorSpec,
};
use serde::{Deserialize, de::DeserializeOwned};

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

/// All resources of all paths, in the order in which kinds refer to each other.
pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Resource>> {
    let mut resources = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin()
                .take(FILE_BYTES_MAX)
                .read_to_string(&mut text)
                .context("cannot read standard input")?;
            resources.extend(parse("standard input", &text)?);
            continue;
        }
        for file in files(path)? {
            let text = read_file(&file)?;
            resources.extend(parse(&file.display().to_string(), &text)?);
        }
    }
    if resources.is_empty() {
        bail!(
            "no resource in {}",
            paths
                .iter()
                .map(|p| p.display().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    let place = |kind| Kind::ALL.iter().position(|known| *known == kind);
    resources.sort_by_key(|resource| place(resource.kind));
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
            "{} has {size} bytes; at most {FILE_BYTES_MAX} are read",
            file.display()
        );
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The resources of one text, whose documents are divided by `---`.
pub(crate) fn parse(file: &str, text: &str) -> anyhow::Result<Vec<Resource>> {
    documents(text)
        .into_iter()
        .map(|(first_line, document)| parse_one(file, first_line, &document))
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

fn parse_one(file: &str, first_line: usize, document: &str) -> anyhow::Result<Resource> {
    let at = |error: serde_saphyr::Error| {
        let message = error.without_snippet().to_string();
        match error.location() {
            Some(place) => anyhow::anyhow!(
                "{file}:{}:{}: {message}",
                first_line as u64 + place.line(),
                place.column()
            ),
            None => anyhow::anyhow!("{file}:{}: {message}", first_line + 1),
        }
    };
    let header: Header = serde_saphyr::from_str(document).map_err(at)?;
    match header.kind {
        Kind::Fabric => typed::<FabricSpec>(document),
        Kind::Host => typed::<HostSpec>(document),
        Kind::Service => typed::<ServiceSpec>(document),
        Kind::RolloutPolicy => typed::<RolloutPolicySpec>(document),
        Kind::Guard => typed::<GuardSpec>(document),
        Kind::Freeze => typed::<FreezeSpec>(document),
        Kind::Monitor => typed::<MonitorSpec>(document),
    }
    .map_err(|error| {
        let kind = header.kind.as_str().to_lowercase();
        let remedy = format!("`mainstay explain {kind}` says what its fields may be");
        anyhow::anyhow!("{}\n  remedy: {remedy}", at(error))
    })?;
    serde_saphyr::from_str(document).map_err(at)
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

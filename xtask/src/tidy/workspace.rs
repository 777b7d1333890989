//! The workspace as the rules see it: its crates, the crates it pulls in, and its Rust sources.
//!
//! Read once, then plain data; a rule's test builds the same structures in memory. Packages that
//! only other operating systems need are not part of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

const PLATFORM: &str = "x86_64-unknown-linux-gnu";
/// Deeper than any source tree a person keeps; a deeper one is a loop or a checked-in build.
const DEPTH_MAX: usize = 16;
/// Ten times what this workspace is expected to reach.
const FILES_MAX: usize = 10_000;

/// Everything the rules look at.
pub(super) struct Workspace {
    pub(super) root: PathBuf,
    pub(super) members: Vec<Member>,
    pub(super) external: Vec<External>,
    pub(super) files: Vec<SourceFile>,
}

/// A crate of this workspace.
pub(super) struct Member {
    pub(super) name: String,
    /// Folder, relative to the workspace's root.
    pub(super) folder: String,
    pub(super) manifest: String,
    pub(super) dependencies: Vec<Dependency>,
}

impl Member {
    pub(super) fn manifest_path(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }
}

/// A direct dependency, as the manifest declares it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) rename: Option<String>,
    pub(super) kind: Option<Kind>,
}

/// What a dependency is for; absent in the metadata for a normal one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Dev,
    Build,
}

/// A crate from outside the workspace.
pub(super) struct External {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) licence: Option<String>,
}

/// One `.rs` file; its path is relative to the workspace's root, with `/`.
pub(super) struct SourceFile {
    pub(super) path: String,
    pub(super) text: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

/// Reads the workspace that contains the current directory.
pub(super) fn load() -> anyhow::Result<Workspace> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--filter-platform"])
        .arg(PLATFORM)
        .output()
        .context("start cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("decode cargo metadata")?;
    let root = metadata.workspace_root;
    let (ours, others): (Vec<_>, Vec<_>) = metadata
        .packages
        .into_iter()
        .partition(|package| metadata.workspace_members.contains(&package.id));
    let mut members = Vec::with_capacity(ours.len());
    let mut files = Vec::new();
    for package in ours {
        let folder = package
            .manifest_path
            .parent()
            .context("a manifest without a folder")?;
        read_sources(&root, folder, 0, &mut files)?;
        members.push(Member {
            folder: relative(&root, folder),
            manifest: std::fs::read_to_string(&package.manifest_path)
                .with_context(|| format!("read {}", package.manifest_path.display()))?,
            name: package.name,
            dependencies: package.dependencies,
        });
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let external = others
        .into_iter()
        .map(|package| External {
            name: package.name,
            version: package.version,
            licence: package.license,
        })
        .collect();
    Ok(Workspace {
        root,
        members,
        external,
        files,
    })
}

fn read_sources(
    root: &Path,
    folder: &Path,
    depth: usize,
    files: &mut Vec<SourceFile>,
) -> anyhow::Result<()> {
    ensure!(
        depth <= DEPTH_MAX,
        "{}: folders nest deeper than {DEPTH_MAX}",
        folder.display()
    );
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Links are not followed: what they point to is checked where it lives.
        let kind = entry.file_type()?;
        if kind.is_dir() && name != "target" && !name.starts_with('.') {
            read_sources(root, &path, depth + 1, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|end| end == "rs") {
            ensure!(
                files.len() < FILES_MAX,
                "more than {FILES_MAX} source files"
            );
            files.push(SourceFile {
                path: relative(root, &path),
                text: std::fs::read_to_string(&path)
                    .with_context(|| format!("read {}", path.display()))?,
            });
        }
    }
    Ok(())
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
pub(super) fn member(name: &str, dependencies: &[(&str, Option<Kind>)]) -> Member {
    Member {
        name: name.to_owned(),
        folder: format!("crates/{name}"),
        manifest: String::new(),
        dependencies: dependencies
            .iter()
            .map(|(name, kind)| Dependency {
                name: (*name).to_owned(),
                rename: None,
                kind: *kind,
            })
            .collect(),
    }
}

#[cfg(test)]
pub(super) fn file(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

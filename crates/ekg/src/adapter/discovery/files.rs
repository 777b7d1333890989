//! Files that list targets, in JSON or YAML.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::{LIST_BYTES_MAX, Listed};
use crate::job::Group;

/// The label that says which file named a target.
const FILE_LABEL: &str = "__meta_filepath";

/// What the files list that `patterns` name.
pub(super) fn read_all(patterns: &[PathBuf]) -> BTreeMap<String, Listed> {
    let paths = patterns.iter().flat_map(|pattern| matching(pattern));
    paths
        .map(|path| (path.display().to_string(), read(&path)))
        .collect()
}

/// The files that a path names; where its last part holds a `*`, those that exist.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    let Some((before, after)) = name.split_once('*') else {
        return vec![pattern.to_owned()];
    };
    let folder = pattern.parent().filter(|it| !it.as_os_str().is_empty());
    let entries = fs::read_dir(folder.unwrap_or(Path::new(".")))
        .into_iter()
        .flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let fits = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        let rest = name.strip_prefix(before);
        rest.is_some_and(|rest| rest.ends_with(after))
    };
    paths.filter(fits).collect()
}

fn read(path: &Path) -> Listed {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let mut bounded = file.take(LIST_BYTES_MAX + 1);
    bounded
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > LIST_BYTES_MAX {
        return Err(format!("it is over the limit of {LIST_BYTES_MAX} bytes"));
    }
    // JSON is YAML.
    let groups: Vec<Group> = serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
    let named = groups.into_iter().map(|mut group| {
        let file = path.display().to_string();
        group.labels.entry(FILE_LABEL.to_owned()).or_insert(file);
        group
    });
    Ok(named.collect())
}

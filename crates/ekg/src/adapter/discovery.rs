//! Follows a job's targets: those of its configuration, and those of its files, which are read again and again.
//!
//! Guarantees: a file that cannot be read, or is none, leaves what it listed before, and the log says so once for
//! each new reason; a set of targets that did not change wakes nobody. Files are at most [`FILE_BYTES_MAX`].

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use mainstay_core::Span;
use tokio::{sync::watch, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{Pools, Target};
use crate::job::{Group, Job};

/// Bytes of one file: some hundred thousand targets.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The shortest time between two looks at the files.
const LOOK_EVERY_MIN: Span = Span::from_secs(1);
/// The label that says which file named a target.
const FILE_LABEL: &str = "__meta_filepath";

/// What a file listed, or why it lists nothing.
type Listed = Result<Vec<Group>, String>;

/// Finds a job's targets.
pub struct Discovery {
    job: Job,
    pools: Pools,
    /// What each file listed when it last could be read.
    known: BTreeMap<PathBuf, Vec<Group>>,
    /// What was last said of each file that could not be.
    said: BTreeMap<PathBuf, String>,
}

impl Discovery {
    /// One for `job`, which tells `pools` what relabeling dropped.
    pub fn new(job: Job, pools: Pools) -> Self {
        Self {
            job,
            pools,
            known: BTreeMap::new(),
            said: BTreeMap::new(),
        }
    }

    /// Keeps `targets` up to date until `stop`.
    pub async fn run(mut self, targets: watch::Sender<Vec<Target>>, stop: CancellationToken) {
        let every = self.job.files().iter().map(|it| it.refresh_interval).min();
        let Some(every) = every else {
            self.follow(&targets);
            return stop.cancelled().await;
        };
        let mut ticks = tokio::time::interval(every.max(LOOK_EVERY_MIN).duration());
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let paths: Vec<PathBuf> = self
                .job
                .files()
                .iter()
                .flat_map(|it| it.files.clone())
                .collect();
            match spawn_blocking(move || read_all(&paths)).await {
                Ok(read) => self.learn(read),
                Err(error) => tracing::error!(%error, "reading files of targets died"),
            }
            self.follow(&targets);
        }
    }

    fn learn(&mut self, read: BTreeMap<PathBuf, Listed>) {
        self.known.retain(|path, _| read.contains_key(path));
        for (path, listed) in read {
            match listed {
                Ok(groups) => {
                    self.said.remove(&path);
                    self.known.insert(path, groups);
                }
                Err(error) => {
                    if self.said.get(&path) != Some(&error) {
                        let file = path.display();
                        tracing::warn!(%file, error, "a file of targets cannot be read");
                        self.said.insert(path, error);
                    }
                }
            }
        }
    }

    fn follow(&self, targets: &watch::Sender<Vec<Target>>) {
        let groups = self.job.fixed().iter().chain(self.known.values().flatten());
        let found = self.job.targets(groups);
        targets.send_if_modified(|now| {
            let differs = *now != found.targets;
            if differs {
                for error in &found.refused {
                    tracing::warn!(job = self.job.name(), error, "not scraped");
                }
                *now = found.targets;
            }
            differs
        });
        self.pools.drop_targets(self.job.name(), found.dropped);
    }
}

fn read_all(patterns: &[PathBuf]) -> BTreeMap<PathBuf, Listed> {
    let paths = patterns.iter().flat_map(|pattern| matching(pattern));
    paths.map(|path| (path.clone(), read(&path))).collect()
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
    let mut bounded = file.take(FILE_BYTES_MAX + 1);
    bounded
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is over the limit of {FILE_BYTES_MAX} bytes"));
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

//! The parts on a disk, when an engine is opened.
//!
//! Guarantees: what the manifest lists is there, or is told to be damaged or gone; the file of a part that cannot be
//! read stays where it is, so that a copy can take its place. What the manifest does not list is removed. Without a
//! manifest that can be read, parts themselves say what they hold, and nothing is removed; samples that were deleted,
//! and whose parts were not written anew since, are back then.

use std::{io, sync::Arc};

use mainstay_wal::Disk;

use crate::{
    ReadError,
    manifest::{Found, Manifest},
    part::{self, IMPORTED, Part},
};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) manifest: Manifest,
    /// Those that can be read, the ones with older generations first.
    pub(crate) live: Vec<Arc<Part>>,
    /// What is wrong with the others.
    pub(crate) damaged: Vec<ReadError>,
}

impl Parts {
    pub(crate) fn load(disk: &dyn Disk) -> io::Result<Self> {
        let names = disk.list()?;
        let ids: Vec<u64> = names.iter().filter_map(|name| part::id(name)).collect();
        let mut parts = Self::default();
        match Manifest::read(disk)? {
            Found::Whole(manifest) => {
                remove_unlisted(disk, &ids, &manifest);
                parts.manifest = manifest;
                parts.open_listed(disk, &ids);
            }
            Found::Nothing if ids.is_empty() => {
                // So that a manifest that is missing later is told from one that was never there.
                if let Err(error) = parts.manifest.write(disk) {
                    tracing::warn!(%error, "the first manifest cannot be written yet");
                }
            }
            Found::Nothing => parts.gather(disk, &ids),
            Found::Damaged => {
                parts.damaged.push(ReadError::Damaged {
                    part: "manifest".to_owned(),
                    offset: 0,
                    what: "its text",
                });
                parts.gather(disk, &ids);
            }
        }
        // Numbers of files that are there are never given out again.
        let free = ids.iter().max().map_or(0, |last| last + 1);
        parts.manifest.next_part = parts.manifest.next_part.max(free);
        Ok(parts)
    }

    fn open_listed(&mut self, disk: &dyn Disk, ids: &[u64]) {
        for id in self.manifest.parts.clone() {
            match Part::open(disk, id) {
                Ok(part) => {
                    part.bury(&self.manifest.graves);
                    self.live.push(Arc::new(part));
                }
                Err(error) => {
                    self.damaged.push(error);
                    if !ids.contains(&id) {
                        // Moved away: told once.
                        self.manifest.replace(&[id], None);
                    }
                }
            }
        }
    }

    /// Takes of all parts those that hold the most, so that each generation is there once.
    fn gather(&mut self, disk: &dyn Disk, ids: &[u64]) {
        let mut opened = Vec::new();
        let mut unreadable = Vec::new();
        for id in ids {
            match Part::open(disk, *id) {
                Ok(part) => opened.push(part),
                Err(error) => {
                    self.damaged.push(error);
                    unreadable.push(*id);
                }
            }
        }
        opened.sort_by_key(|part| {
            let (first, last) = part.meta().generations;
            (first, std::cmp::Reverse(last))
        });
        for part in opened {
            let (first, last) = part.meta().generations;
            if part.meta().generations == IMPORTED {
                // Those that were merged may be there twice: equal samples are read once.
                self.manifest.parts.insert(0, part.id());
                self.live.insert(0, Arc::new(part));
                continue;
            }
            if first >= self.manifest.next_generation {
                self.manifest.next_generation = last + 1;
                self.manifest.parts.push(part.id());
                self.live.push(Arc::new(part));
            }
        }
        self.manifest.parts.extend(unreadable);
    }
}

/// What was being written when the process died, and what was merged since.
fn remove_unlisted(disk: &dyn Disk, ids: &[u64], manifest: &Manifest) {
    for id in ids.iter().filter(|id| !manifest.parts.contains(id)) {
        let name = part::name(*id);
        if let Err(error) = disk.remove(&name) {
            tracing::warn!(part = name, %error, "a part that is not needed cannot be removed");
        }
    }
}

//! Copies brought back into an empty data directory.
//!
//! Guarantees: every byte is held against the digest in the listing, and read as the engine reads it; what is missing or
//! is not what was uploaded is named, and everything else is there. One that broke off is begun anew in the same folder,
//! where parts that came whole are taken as they are. The folder is an engine's only at the end.

use bytes::Bytes;
use mainstay_core::Time;
use mainstay_tsdb::Restored;
use mainstay_wal::Disk;
use sha2::{Digest as _, Sha256};

use super::{
    listings::{parsed, text, versions},
    store::{Store, StoreError},
};
use crate::{
    copy::{Entry, Listing, part_object},
    place::Place,
};

/// Bytes of a file that are read at once.
const PIECE_BYTES: usize = 1 << 20;

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What is there.
    pub restored: Restored,
    /// Parts that are not, and why.
    pub without: Vec<(String, String)>,
    /// Whose copies they are.
    pub server: String,
    /// When the listing was written.
    pub at: Option<Time>,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It holds none.
    #[error("there are no copies at {0}")]
    Nothing(String),
    /// None is so old.
    #[error("the oldest listing at {url} is of {oldest}: what was there before is gone")]
    TooEarly {
        /// Where.
        url: String,
        /// The oldest time there is.
        oldest: Time,
    },
    /// A listing cannot be read.
    #[error("{object} is no listing of this version: {why}")]
    Listing {
        /// Which.
        object: String,
        /// Why not.
        why: String,
    },
    /// The folder is in use.
    #[error("the folder to restore into holds `{0}` already: name one that holds nothing")]
    NotEmpty(String),
    /// The disk.
    #[error(
        "{file} cannot be written: {error}; make room, and restore into the same directory again"
    )]
    Disk {
        /// Which file.
        file: String,
        /// Why not.
        error: std::io::Error,
    },
    /// What came back cannot be put together.
    #[error(transparent)]
    Engine(#[from] mainstay_tsdb::RestoreError),
}

impl From<(String, String)> for RestoreError {
    fn from((object, why): (String, String)) -> Self {
        Self::Listing { object, why }
    }
}

/// Brings the copies at `place` back into `disk`: those of the newest listing, or of the newest that was written at `at` or
/// before; `tell` hears of each part. Blocks while it writes: for whoever does nothing else.
pub async fn restore(
    place: &Place,
    at: Option<Time>,
    disk: &dyn Disk,
    tell: &mut dyn FnMut(&str),
) -> Result<Report, RestoreError> {
    let store = Store::open(place)?;
    let listing = chosen(&store, place, at).await?;
    let there = disk.list().map_err(|error| on_disk(".", error))?;
    let is_ours = |name: &&String| listing.parts.iter().any(|it| it.mark.name == **name);
    if let Some(name) = there.iter().find(|name| !is_ours(name)) {
        return Err(RestoreError::NotEmpty(name.clone()));
    }
    let mut without = Vec::new();
    for (number, entry) in listing.parts.iter().enumerate() {
        let name = &entry.mark.name;
        let is_there = there.contains(name);
        let brought = if is_there && is_whole(disk, entry) {
            Ok(())
        } else {
            bring(&store, entry, disk, is_there).await?
        };
        let count = format!("{} of {}: {name}", number + 1, listing.parts.len());
        match brought {
            Ok(()) => tell(&count),
            Err(why) => {
                tell(&format!("{count} is left out: {why}"));
                without.push((name.clone(), why));
            }
        }
    }
    let (restored, damaged) = mainstay_tsdb::assemble(disk, &listing.manifest)?;
    for (name, error) in damaged {
        if !without.iter().any(|(known, _)| *known == name) {
            without.push((name, error.to_string()));
        }
    }
    Ok(Report {
        restored,
        without,
        server: listing.server,
        at: Some(Time::from_millis(listing.at_ms)),
    })
}

async fn chosen(store: &Store, place: &Place, at: Option<Time>) -> Result<Listing, RestoreError> {
    let mut oldest = None;
    for version in versions(store).await?.into_iter().rev() {
        let listing = parsed(version, &text(store, version).await?)?;
        let written = Time::from_millis(listing.at_ms);
        if at.is_none_or(|at| written <= at) {
            return Ok(listing);
        }
        oldest = Some(written);
    }
    let url = place.url().to_owned();
    Err(match oldest {
        Some(oldest) => RestoreError::TooEarly { url, oldest },
        None => RestoreError::Nothing(url),
    })
}

fn on_disk(file: &str, error: std::io::Error) -> RestoreError {
    RestoreError::Disk {
        file: file.to_owned(),
        error,
    }
}

/// Whether a file that is there has the bytes that were uploaded.
fn is_whole(disk: &dyn Disk, entry: &Entry) -> bool {
    let read = || -> std::io::Result<String> {
        let file = disk.open(&entry.mark.name)?;
        let (len, mut at, mut digest) = (file.len()?, 0, Sha256::new());
        let mut bytes = vec![0; PIECE_BYTES];
        while at < len {
            let count = usize::try_from(len - at).unwrap_or(PIECE_BYTES);
            let piece = &mut bytes[..count.min(PIECE_BYTES)];
            file.read_at(at, piece)?;
            digest.update(&*piece);
            at += piece.len() as u64;
        }
        Ok(mainstay_core::hex(&digest.finalize()))
    };
    read().is_ok_and(|digest| digest == entry.sha256)
}

/// Brings one part; the inner error is the part's own, and says why there is none.
async fn bring(
    store: &Store,
    entry: &Entry,
    disk: &dyn Disk,
    is_there: bool,
) -> Result<Result<(), String>, RestoreError> {
    let name = &entry.mark.name;
    let told = |error| on_disk(name, error);
    if is_there {
        disk.remove(name).map_err(told)?;
    }
    let object = part_object(&entry.sha256);
    let mut file = disk.create(name).map_err(told)?;
    let (mut digest, mut bytes, mut failed) = (Sha256::new(), 0_u64, None);
    let mut take = |piece: Bytes| {
        digest.update(&piece);
        bytes += piece.len() as u64;
        failed = file.append(&piece).err();
        failed.is_none() && bytes <= entry.mark.bytes
    };
    let streamed = store.stream(&object, &mut take).await;
    if let Some(error) = failed {
        return Err(told(error));
    }
    let why = match streamed {
        Err(error) if error.is_missing() => Some(format!("{object} is missing")),
        Err(error) => return Err(error.into()),
        Ok(()) => {
            let same = mainstay_core::hex(&digest.finalize()) == entry.sha256;
            let wrong = || format!("{object} is not what was uploaded: its digest differs");
            (!same).then(wrong)
        }
    };
    if let Some(why) = why {
        drop(file);
        disk.remove(name).map_err(told)?;
        return Ok(Err(why));
    }
    file.sync().map_err(told)?;
    Ok(Ok(()))
}

//! Listings in a store.
//!
//! Guarantees: one that cannot be read is named with why; none is taken for another.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    copier::CopyError,
    store::{Store, StoreError},
};
use crate::copy::{Entry, FORMAT, LISTINGS, Listing, listing_object, version_in};

/// Bytes of a listing: enough for a million parts.
const LISTING_BYTES_MAX: usize = 512 << 20;

/// The listing that counts, and what is known of those before it.
#[derive(Debug, Default)]
pub(super) struct Remote {
    pub(super) newest: Option<Listing>,
    /// Older ones: when they were written, and what they name.
    pub(super) known: BTreeMap<u64, (i64, BTreeSet<String>)>,
}

impl Remote {
    /// Its parts.
    pub(super) fn entries(&self) -> &[Entry] {
        self.newest.as_ref().map_or(&[], |it| &it.parts)
    }

    /// Its number; zero where there is none.
    pub(super) fn version(&self) -> u64 {
        self.newest.as_ref().map_or(0, |it| it.version)
    }

    /// This one counts now.
    pub(super) fn take(&mut self, listing: Listing) {
        let digests = listing.parts.iter().map(|it| it.sha256.clone());
        let known = (listing.at_ms, digests.collect());
        self.known.insert(listing.version, known);
        self.newest = Some(listing);
    }
}

/// Numbers of the listings that are there.
pub(super) async fn versions(store: &Store) -> Result<BTreeSet<u64>, StoreError> {
    let objects = store.list(LISTINGS).await?;
    let last = |name: &str| version_in(name.rsplit('/').next()?);
    Ok(objects.iter().filter_map(|it| last(&it.name)).collect())
}

/// What is wrong with a listing.
pub(super) type Unlisted = (String, String);

/// A listing in its text.
pub(super) fn parsed(version: u64, text: &[u8]) -> Result<Listing, Unlisted> {
    let object = listing_object(version);
    let told = |why: String| (object.clone(), why);
    let listing: Listing = serde_json::from_slice(text).map_err(|error| told(error.to_string()))?;
    if listing.format != FORMAT || listing.version != version {
        return Err(told(format!("its form is {}", listing.format)));
    }
    Ok(listing)
}

/// The text of a listing.
pub(super) async fn text(store: &Store, version: u64) -> Result<Vec<u8>, StoreError> {
    store
        .read(&listing_object(version), LISTING_BYTES_MAX)
        .await
}

/// A listing that must be there.
pub(super) async fn read(store: &Store, version: u64) -> Result<Listing, CopyError> {
    let text = text(store, version).await?;
    parsed(version, &text).map_err(|(object, why)| CopyError::Listing { object, why })
}

/// The one that counts.
pub(super) async fn newest(store: &Store) -> Result<Remote, CopyError> {
    let mut remote = Remote::default();
    if let Some(version) = versions(store).await?.last() {
        remote.take(read(store, *version).await?);
    }
    Ok(remote)
}

//! A store, spoken with.
//!
//! Guarantees: an object that was begun and not ended is not there. What fails is tried again a few times at once, and
//! told after that with the object's name. Keys are in no error and in no log.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    RetryConfig, WriteMultipart, aws::AmazonS3Builder, local::LocalFileSystem, path::Path,
};

use crate::place::{Keys, Kind, Place};

/// Bytes of one request of an upload.
pub(super) const CHUNK_BYTES: usize = 8 << 20;
/// Requests of an upload that are under way at once.
pub(super) const CHUNKS_AT_ONCE: usize = 2;
/// How long one request may take.
const REQUEST_WITHIN: Duration = Duration::from_mins(2);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Attempts at a request before whoever asked hears that it failed, and how long they may take.
const RETRIES: usize = 3;
const RETRY_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of a file that holds keys.
const KEYS_BYTES_MAX: u64 = 64 << 10;
/// Characters of what a store says that are told.
const TOLD_CHARS: usize = 600;
/// Objects of one kind that are looked at.
const OBJECTS_MAX: usize = 1_000_000;

/// Why a store does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It says no, or nothing.
    #[error("{object}: {why}")]
    Object {
        /// Which object, or which of its folders.
        object: String,
        /// What it said.
        why: String,
        /// Whether there is no such object.
        missing: bool,
    },
    /// It cannot be spoken with as it is configured.
    #[error("{url} cannot be opened: {why}")]
    Place {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// An object is larger than it may be.
    #[error("{object} has more than {limit} bytes")]
    TooLarge {
        /// Which.
        object: String,
        /// The limit.
        limit: usize,
    },
    /// There are too many objects.
    #[error("{0} has more than {OBJECTS_MAX} objects: name a place that holds nothing else")]
    TooMany(String),
}

impl StoreError {
    /// Whether there is no such object.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Object { missing: true, .. })
    }
}

/// See the module.
#[derive(Clone)]
pub(super) struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    folder: Option<PathBuf>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// An object and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    /// Its name, without the place's prefix.
    pub(super) name: String,
    pub(super) bytes: u64,
}

impl Store {
    pub(super) fn open(place: &Place) -> Result<Self, StoreError> {
        let wrong = |why: String| StoreError::Place {
            url: place.url().to_owned(),
            why,
        };
        match &place.kind {
            Kind::Folder(folder) => {
                let made = std::fs::create_dir_all(folder);
                made.map_err(|error| wrong(format!("the folder cannot be made: {error}")))?;
                let inner = LocalFileSystem::new_with_prefix(folder);
                let inner = inner.map_err(|error| wrong(error.to_string()))?;
                Ok(Self {
                    inner: Arc::new(inner.with_fsync(true)),
                    prefix: Path::default(),
                    folder: Some(folder.clone()),
                })
            }
            Kind::Bucket { name, prefix } => {
                let inner = bucket(place, name).map_err(wrong)?;
                let prefix = Path::parse(prefix).map_err(|error| wrong(error.to_string()))?;
                Ok(Self {
                    inner: Arc::new(inner),
                    prefix,
                    folder: None,
                })
            }
        }
    }

    fn path(&self, object: &str) -> Path {
        let pieces = object.split('/');
        pieces.fold(self.prefix.clone(), Path::join)
    }

    /// Length of an object, if it is there.
    pub(super) async fn length(&self, object: &str) -> Result<Option<u64>, StoreError> {
        match self.inner.head(&self.path(object)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed(object, source)),
        }
    }

    /// All of an object of at most `limit` bytes.
    pub(super) async fn read(&self, object: &str, limit: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.stream(object, &mut |piece| {
            bytes.extend_from_slice(&piece);
            bytes.len() <= limit
        })
        .await?;
        if bytes.len() > limit {
            let object = object.to_owned();
            return Err(StoreError::TooLarge { object, limit });
        }
        Ok(bytes)
    }

    /// Shows an object piece by piece, until `take` says that it is enough.
    pub(super) async fn stream(
        &self,
        object: &str,
        take: &mut (dyn FnMut(Bytes) -> bool + Send),
    ) -> Result<(), StoreError> {
        let got = self.inner.get(&self.path(object)).await;
        let mut pieces = got.map_err(|source| failed(object, source))?.into_stream();
        while let Some(piece) = pieces.next().await {
            if !take(piece.map_err(|source| failed(object, source))?) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes an object, whether it is there or not.
    pub(super) async fn put(&self, object: &str, bytes: Bytes) -> Result<(), StoreError> {
        let path = self.path(object);
        let put = self.inner.put(&path, bytes.into()).await;
        put.map(|_| ()).map_err(|source| failed(object, source))
    }

    /// Writes an object that must not be there; whether it was not.
    pub(super) async fn create(&self, object: &str, bytes: Bytes) -> Result<bool, StoreError> {
        let how = PutOptions::from(PutMode::Create);
        let path = self.path(object);
        match self.inner.put_opts(&path, bytes.into(), how).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(source) => Err(failed(object, source)),
        }
    }

    /// Begins an object that is given in pieces; it is there once that is ended.
    pub(super) async fn begin(&self, object: &str) -> Result<WriteMultipart, StoreError> {
        let begun = self.inner.put_multipart(&self.path(object)).await;
        let begun = begun.map_err(|source| failed(object, source))?;
        Ok(WriteMultipart::new_with_chunk_size(begun, CHUNK_BYTES))
    }

    /// Objects below `folder`, in no order.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError> {
        let below = if folder.is_empty() {
            self.prefix.clone()
        } else {
            self.path(folder)
        };
        let shown = if folder.is_empty() {
            "the place"
        } else {
            folder
        };
        let mut listed = self.inner.list(Some(&below));
        let mut objects = Vec::new();
        while let Some(meta) = listed
            .try_next()
            .await
            .map_err(|source| failed(shown, source))?
        {
            if objects.len() >= OBJECTS_MAX {
                return Err(StoreError::TooMany(shown.to_owned()));
            }
            let rest = meta.location.prefix_match(&self.prefix);
            let Some(pieces) = rest.map(|it| it.map(|one| one.as_ref().to_owned())) else {
                continue;
            };
            let pieces: Vec<String> = pieces.collect();
            objects.push(Object {
                name: pieces.join("/"),
                bytes: meta.size,
            });
        }
        Ok(objects)
    }

    /// Removes an object; one that is not there is no error.
    pub(super) async fn remove(&self, object: &str) -> Result<(), StoreError> {
        match self.inner.delete(&self.path(object)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(failed(object, source)),
        }
    }

    /// Removes what an upload left behind whose process died, where that is to be seen: in a folder. Only for whoever alone
    /// writes there.
    pub(super) fn sweep(&self, folder: &str) {
        let Some(root) = &self.folder else { return };
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let draft = name.rsplit_once('#').filter(|(_, number)| {
                !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit())
            });
            if draft.is_some()
                && let Err(error) = std::fs::remove_file(entry.path())
            {
                tracing::warn!(%name, %error, "what an upload left behind stays");
            }
        }
    }
}

pub(super) fn failed(object: &str, source: object_store::Error) -> StoreError {
    StoreError::Object {
        object: object.to_owned(),
        why: told(&source.to_string()),
        missing: matches!(source, object_store::Error::NotFound { .. }),
    }
}

/// What a store says, without what it repeats of the keys.
fn told(text: &str) -> String {
    let mut end = text.len();
    for word in ["<AWSAccessKeyId>", "<StringToSign>", "<CanonicalRequest>"] {
        end = text.find(word).map_or(end, |at| at.min(end));
    }
    let text = text.get(..end).unwrap_or_default().chars();
    text.take(TOLD_CHARS)
        .collect::<String>()
        .trim_end()
        .to_owned()
}

fn bucket(place: &Place, name: &str) -> Result<impl ObjectStore + use<>, String> {
    let retries = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES,
        retry_timeout: RETRY_WITHIN,
    };
    let how = ClientOptions::new()
        .with_timeout(REQUEST_WITHIN)
        .with_connect_timeout(CONNECT_WITHIN);
    let mut builder = AmazonS3Builder::from_env()
        .with_client_options(how)
        .with_bucket_name(name)
        .with_retry(retries);
    if let Some(endpoint) = &place.endpoint {
        let plain = endpoint.starts_with("http://");
        builder = builder.with_endpoint(endpoint).with_allow_http(plain);
    }
    if let Some(region) = &place.region {
        builder = builder.with_region(region);
    }
    if let Some(file) = &place.credentials_file {
        let told = |why: &dyn fmt::Display| format!("the keys in {}: {why}", file.display());
        let length = std::fs::metadata(file).map_err(|error| told(&error))?.len();
        if length > KEYS_BYTES_MAX {
            return Err(told(&"the file is too long"));
        }
        let text = std::fs::read_to_string(file).map_err(|error| told(&error))?;
        let none = "it has no aws_access_key_id and aws_secret_access_key";
        let keys = Keys::read(&text).ok_or_else(|| told(&none))?;
        builder = builder
            .with_access_key_id(keys.id)
            .with_secret_access_key(keys.secret);
        if let Some(session) = keys.session {
            builder = builder.with_token(session);
        }
    }
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_repeats_of_the_keys_is_not_told() {
        let said =
            "403: <Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>alice</AWSAccessKeyId>";
        assert_eq!(told(said), "403: <Error><Code>SignatureDoesNotMatch</Code>");
        assert_eq!(told("no answer"), "no answer");
        assert_eq!(told(&"x".repeat(2 * TOLD_CHARS)).len(), TOLD_CHARS);
    }
}

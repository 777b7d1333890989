//! One part on its way into a store.
//!
//! Guarantees: what is sent is what was checked: its digest is computed once more on the way, and where it differs the
//! object does not come to be.

use std::sync::Arc;

use bytes::Bytes;
use mainstay_tsdb::SealedPart;
use object_store::WriteMultipart;
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use super::{
    copier::CopyError,
    store::{CHUNK_BYTES, CHUNKS_AT_ONCE, Store, failed},
};

/// The SHA-256 of a part that is whole. May block.
pub(super) fn checked(part: &SealedPart) -> Result<String, CopyError> {
    part.check().map_err(CopyError::Read)?;
    let (mut digest, mut at) = (Sha256::new(), 0);
    while at < part.bytes() {
        let piece = piece(part, at)?;
        digest.update(&piece);
        at += piece.len() as u64;
    }
    Ok(mainstay_core::hex(&digest.finalize()))
}

fn piece(part: &SealedPart, at: u64) -> Result<Vec<u8>, CopyError> {
    let left = part.bytes().saturating_sub(at);
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
    let mut piece = vec![0; count];
    let read = part.read_at(at, &mut piece);
    read.map_err(|error| CopyError::Disk {
        part: part.name().to_owned(),
        error,
    })?;
    Ok(piece)
}

/// Sends a part's bytes, which are there as a whole or not at all.
pub(super) async fn send(
    store: &Store,
    part: SealedPart,
    object: &str,
    sha256: &str,
) -> Result<(), CopyError> {
    let part = Arc::new(part);
    if part.bytes() <= CHUNK_BYTES as u64 {
        let held = Arc::clone(&part);
        let bytes = spawn_blocking(move || piece(&held, 0)).await??;
        if mainstay_core::hex(&Sha256::digest(&bytes)) != sha256 {
            return Err(CopyError::Changed(part.name().to_owned()));
        }
        store.put(object, Bytes::from(bytes)).await?;
        return Ok(());
    }
    let mut upload = store.begin(object).await?;
    match send_pieces(&mut upload, &part, object, sha256).await {
        Ok(()) => {
            let ended = upload.finish().await;
            ended.map_err(|source| failed(object, source))?;
            Ok(())
        }
        Err(error) => {
            // What was begun and not ended is never there; an error changes nothing about that.
            let _ = upload.abort().await;
            Err(error)
        }
    }
}

async fn send_pieces(
    upload: &mut WriteMultipart,
    part: &Arc<SealedPart>,
    object: &str,
    sha256: &str,
) -> Result<(), CopyError> {
    let (mut digest, mut at) = (Sha256::new(), 0);
    while at < part.bytes() {
        let held = Arc::clone(part);
        let bytes = spawn_blocking(move || piece(&held, at)).await??;
        digest.update(&bytes);
        at += bytes.len() as u64;
        let room = upload.wait_for_capacity(CHUNKS_AT_ONCE).await;
        room.map_err(|source| failed(object, source))?;
        upload.put(Bytes::from(bytes));
    }
    if mainstay_core::hex(&digest.finalize()) != sha256 {
        return Err(CopyError::Changed(part.name().to_owned()));
    }
    Ok(())
}

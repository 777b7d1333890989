//! Bodies packed with gzip, unpacked to a bound.
//!
//! Guarantees: never more than the limit and one byte is unpacked, whatever the body claims.

use std::io::{self, Read as _};

/// Why a body is not unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GzipError {
    /// More than is unpacked.
    #[error("it unpacks to more than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// Not gzip, or cut off.
    #[error("not gzip: {0}")]
    Broken(#[from] io::Error),
}

/// What is in `body`, if that is at most `limit` bytes.
pub(crate) fn unpack(body: &[u8], limit: usize) -> Result<Vec<u8>, GzipError> {
    let mut plain = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(body)
        .take(most)
        .read_to_end(&mut plain)?;
    if plain.len() > limit {
        return Err(GzipError::TooLong { limit });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_small_body_that_unpacks_to_too_much_is_refused() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&vec![b'#'; 100_000]).unwrap();
        let bomb = packer.finish().unwrap();
        assert!(bomb.len() < 1_000);
        assert!(matches!(
            unpack(&bomb, 99_999),
            Err(GzipError::TooLong { limit: 99_999 })
        ));
        assert_eq!(unpack(&bomb, 100_000).unwrap().len(), 100_000);
        assert!(matches!(unpack(b"no gzip", 10), Err(GzipError::Broken(_))));
    }
}

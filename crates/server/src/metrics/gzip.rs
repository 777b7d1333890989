//! Answers packed with gzip, for clients that take it.
//!
//! Guarantees: packing happens where the answer is computed, on a thread that may block; what is too short to gain
//! from it goes as it is. Every answer that could have been packed says so in `Vary`.

use std::{convert::Infallible, io::Write as _};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use flate2::{Compression, write::GzEncoder};

/// Bytes below which an answer fits into a packet or two anyway.
const PACKED_FROM: usize = 1_024;

/// What a client takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepts {
    gzip: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Accepts {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let values = parts.headers.get_all(header::ACCEPT_ENCODING);
        let codings = values.iter().filter_map(|value| value.to_str().ok());
        let gzip = codings.flat_map(|it| it.split(',')).any(wants_gzip);
        Ok(Self { gzip })
    }
}

/// One coding of the list, such as `gzip;q=0.5`; with `q=0` it is refused.
fn wants_gzip(coding: &str) -> bool {
    let mut parts = coding.split(';').map(str::trim);
    let named = parts
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
    let refused = |quality: &str| quality.parse().is_ok_and(|quality: f64| quality == 0.0);
    named && !parts.any(|it| it.strip_prefix("q=").is_some_and(refused))
}

/// A body and the headers that tell how it is packed.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Accepts {
    pub(crate) fn pack(self, text: String) -> Packed {
        let mut headers = HeaderMap::new();
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if !self.gzip || text.len() < PACKED_FROM {
            return Packed {
                headers,
                bytes: text.into_bytes(),
            };
        }
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing into memory does not fail; if it did, the text goes as it is.
        let packed = packer
            .write_all(text.as_bytes())
            .and_then(|()| packer.finish());
        let bytes = packed.map_or_else(
            |_| text.into_bytes(),
            |packed| {
                let gzip = HeaderValue::from_static("gzip");
                headers.insert(header::CONTENT_ENCODING, gzip);
                packed
            },
        );
        Packed { headers, bytes }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn only_who_takes_gzip_gets_it() {
        for (coding, wanted) in [
            ("gzip", true),
            (" GZIP;q=0.3", true),
            ("gzip;q=0", false),
            ("br", false),
        ] {
            assert_eq!(wants_gzip(coding), wanted, "{coding}");
        }
    }

    #[test]
    fn what_is_packed_reads_back_and_what_is_short_is_not_packed() {
        let long = "up 1\n".repeat(1_000);
        let packed = Accepts { gzip: true }.pack(long.clone());
        assert_eq!(packed.headers[header::CONTENT_ENCODING], "gzip");
        let mut read = String::new();
        let mut unpacker = flate2::read::GzDecoder::new(packed.bytes.as_slice());
        unpacker.read_to_string(&mut read).unwrap();
        assert_eq!(read, long);
        for (gzip, text) in [(true, "short".to_owned()), (false, long)] {
            let plain = Accepts { gzip }.pack(text.clone());
            assert_eq!(plain.bytes, text.as_bytes());
            assert_eq!(plain.headers.get(header::CONTENT_ENCODING), None);
        }
    }
}

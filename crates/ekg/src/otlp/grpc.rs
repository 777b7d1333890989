//! One message in a call of gRPC: its frame, and how a call ends.
//!
//! Guarantees: exactly one whole message is taken, packed or not, and never copied. Never reads HTTP: whoever does has
//! bounded the body, and hands the headers on. (A call has one message each way here, which needs five bytes of gRPC.
//! The library made for it unpacks a message before it looks at how large that becomes.)
//!
//! ```text
//! 00 0000002a ExportMetricsServiceRequest…   not packed, 42 bytes
//! ```

use std::fmt::Write as _;

/// The flag of a packed message, and its length.
const HEAD_BYTES: usize = 5;

/// What frames a body cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Shorter than the head of a frame, or than that says.
    #[error("the call's body ends after {has} bytes, its message needs {needs}")]
    Short {
        /// Bytes that came.
        has: usize,
        /// Bytes that the frame is to have.
        needs: usize,
    },
    /// A second message, or garbage.
    #[error("{0} bytes follow the message: this call takes one message")]
    More(usize),
    /// A flag that nobody has given a meaning.
    #[error("the frame's first byte is {0}: 0 is a plain message, 1 a packed one")]
    Flag(u8),
    /// Packed, and the headers do not say how.
    #[error("the message is packed, but `grpc-encoding` does not say `gzip`")]
    Unsaid,
}

/// The message of a call, and whether it is packed; `encoding` is the header `grpc-encoding`.
pub(crate) fn unframe<'a>(body: &'a [u8], encoding: &str) -> Result<(&'a [u8], bool), FrameError> {
    let short = |needs| FrameError::Short {
        has: body.len(),
        needs,
    };
    let (head, rest) = body
        .split_first_chunk::<HEAD_BYTES>()
        .ok_or_else(|| short(HEAD_BYTES))?;
    let [flag, length @ ..] = *head;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let message = rest
        .get(..length)
        .ok_or_else(|| short(length.saturating_add(HEAD_BYTES)))?;
    match rest.len() - length {
        0 => {}
        more => return Err(FrameError::More(more)),
    }
    match flag {
        0 => Ok((message, false)),
        1 if encoding.eq_ignore_ascii_case("gzip") => Ok((message, true)),
        1 => Err(FrameError::Unsaid),
        other => Err(FrameError::Flag(other)),
    }
}

/// A plain message in its frame; an answer is short.
pub(crate) fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(HEAD_BYTES + message.len());
    framed.push(0);
    framed.extend(length.to_be_bytes());
    framed.extend(message);
    framed
}

/// A text as `grpc-message` has it: printable ASCII, the rest and `%` in hexadecimal.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            // Writing to a text cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_out_of_its_frame_as_it_went_in() {
        for message in [&b""[..], b"message"] {
            assert_eq!(unframe(&frame(message), ""), Ok((message, false)));
        }
        let mut packed = frame(b"packed");
        packed[0] = 1;
        assert_eq!(unframe(&packed, "gzip"), Ok((&b"packed"[..], true)));
        assert_eq!(unframe(&packed, "identity"), Err(FrameError::Unsaid));
    }

    #[test]
    fn frames_that_hold_too_little_too_much_or_nothing_known_are_refused() {
        let framed = frame(b"message");
        for cut in 0..framed.len() {
            let needs = if cut < HEAD_BYTES {
                HEAD_BYTES
            } else {
                framed.len()
            };
            let short = FrameError::Short { has: cut, needs };
            assert_eq!(unframe(&framed[..cut], ""), Err(short));
        }
        let twice = framed.repeat(2);
        assert_eq!(unframe(&twice, ""), Err(FrameError::More(12)));
        assert_eq!(unframe(&[7, 0, 0, 0, 0], ""), Err(FrameError::Flag(7)));
        let endless = [0, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(
            unframe(&endless, ""),
            Err(FrameError::Short { .. })
        ));
    }

    #[test]
    fn a_message_for_people_keeps_to_what_headers_may_hold() {
        assert_eq!(percent_encoded("50% in\n\u{e4}"), "50%25 in%0A%C3%A4");
    }
}

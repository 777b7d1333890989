//! Answers in the encoding that was asked in: `ExportMetricsServiceResponse`, and `google.rpc.Status` for a failure.
//!
//! ```text
//! {"partialSuccess": {"rejectedDataPoints": "2", "errorMessage": "2 out-of-order"}}
//! ```

use serde_json::json;

use super::Encoding;

/// A failure's code, as gRPC numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    InvalidArgument,
    /// More than is taken at once.
    ResourceExhausted,
    /// More than the sender's share.
    OverLimit,
    Unimplemented,
    Internal,
    Unavailable,
}

impl Status {
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::InvalidArgument => 3,
            Self::ResourceExhausted | Self::OverLimit => 8,
            Self::Unimplemented => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
        }
    }

    /// The body that says it.
    pub(crate) fn body(self, encoding: Encoding, message: &str) -> Vec<u8> {
        match encoding {
            Encoding::Protobuf => {
                let mut body = number(1, u64::from(self.number()));
                body.extend(text(2, message.as_bytes()));
                body
            }
            Encoding::Json => json!({ "code": self.number(), "message": message })
                .to_string()
                .into_bytes(),
        }
    }
}

/// The answer to what was taken, of which `rejected` points were not.
pub(crate) fn partial(encoding: Encoding, rejected: u64, why: &str) -> Vec<u8> {
    let all = rejected == 0 && why.is_empty();
    match encoding {
        Encoding::Protobuf if all => Vec::new(),
        Encoding::Protobuf => {
            let mut partial = number(1, rejected);
            partial.extend(text(2, why.as_bytes()));
            text(1, &partial)
        }
        Encoding::Json if all => b"{}".to_vec(),
        Encoding::Json => {
            // Numbers of 64 bits are texts in protobuf's JSON.
            let partial =
                json!({ "rejectedDataPoints": rejected.to_string(), "errorMessage": why });
            json!({ "partialSuccess": partial })
                .to_string()
                .into_bytes()
        }
    }
}

fn number(field: u64, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(&mut bytes, field << 3);
    varint(&mut bytes, value);
    bytes
}

/// A text, or a message within.
fn text(field: u64, inner: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(inner.len() + 8);
    varint(&mut bytes, field << 3 | 2);
    varint(&mut bytes, inner.len() as u64);
    bytes.extend_from_slice(inner);
    bytes
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Reader;

    #[test]
    fn an_answer_reads_back_in_either_encoding() {
        assert_eq!(partial(Encoding::Protobuf, 0, ""), b"");
        assert_eq!(partial(Encoding::Json, 0, ""), b"{}");
        let why = "w".repeat(200);
        let answer = partial(Encoding::Protobuf, 300, &why);
        let field = Reader::new(&answer).field().unwrap().unwrap();
        let mut inner = field.message().unwrap();
        assert_eq!(inner.field().unwrap().unwrap().unsigned(), Ok(300));
        assert_eq!(inner.field().unwrap().unwrap().text(), Ok(why.as_str()));
        let status = Status::InvalidArgument.body(Encoding::Protobuf, "no");
        assert_eq!(status, b"\x08\x03\x12\x02no");
        let status = Status::Unavailable.body(Encoding::Json, "no");
        assert_eq!(status, br#"{"code":14,"message":"no"}"#);
    }
}

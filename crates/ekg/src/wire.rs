//! Protobuf messages, read field by field without copying.
//!
//! Guarantees: nothing is read past the message, nothing is allocated, and an error names its byte in the
//! whole message, however deep it was found. A field of the wrong kind is refused, not skipped: it is a
//! mistake of whoever sends. Groups, which no protocol here uses, are refused too.
//!
//! ```text
//! 0a 03 66 6f 6f    field 1 (a text): "foo"
//! ```
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub(crate) mod put;

/// Bytes of the longest number.
const VARINT_BYTES_MAX: usize = 10;

/// A refusal with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {kind}")]
pub struct WireError {
    /// The byte, counted from zero.
    pub at: usize,
    /// What is wrong there.
    pub kind: WireErrorKind,
}

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireErrorKind {
    /// It ends too early.
    #[error("the message ends inside a field")]
    Cut,
    /// A number that never ends.
    #[error("a number of more than {VARINT_BYTES_MAX} bytes")]
    Varint,
    /// A field with a number that none can have.
    #[error("no field has the number {0}")]
    Number(u64),
    /// A group, or a kind that does not exist.
    #[error("a field of the unknown kind {0}")]
    Kind(u8),
    /// A known field of another kind.
    #[error("field {field} is not {expected}")]
    Expected {
        /// The field's number.
        field: u32,
        /// What it should be.
        expected: &'static str,
    },
    /// A text that is none.
    #[error("field {0} is not UTF-8")]
    NotUtf8(u32),
    /// More than a limit allows.
    #[error("more than {limit} {what}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// The rest of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    /// Its number.
    pub(crate) number: u32,
    at: usize,
    value: Value<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Bits64(u64),
    Bits32,
    Bytes(Reader<'a>),
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self {
            rest: message,
            at: 0,
        }
    }

    /// The next field, or nothing at the message's end.
    pub(crate) fn field(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let at = self.at;
        let wrong = |kind| WireError { at, kind };
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|n| (1..1 << 29).contains(n));
        let number = number.ok_or_else(|| wrong(WireErrorKind::Number(tag >> 3)))?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Bits64(u64::from_le_bytes(self.array()?)),
            2 => Value::Bytes(self.delimited()?),
            5 => {
                self.array::<4>()?;
                Value::Bits32
            }
            kind => return Err(wrong(WireErrorKind::Kind(kind as u8))),
        };
        Ok(Some(Field { number, at, value }))
    }

    /// A message with its length before it, as in a stream of messages.
    pub(crate) fn delimited(&mut self) -> Result<Self, WireError> {
        let cut = self.wrong(WireErrorKind::Cut);
        let length = usize::try_from(self.varint()?).map_err(|_| cut)?;
        let inner = Self {
            rest: self.rest.get(..length).ok_or(cut)?,
            at: self.at,
        };
        self.skip(length);
        Ok(inner)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// An error at this place.
    pub(crate) fn wrong(&self, kind: WireErrorKind) -> WireError {
        WireError { at: self.at, kind }
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for (read, byte) in self.rest.iter().enumerate().take(VARINT_BYTES_MAX) {
            value |= u64::from(byte & 0x7f) << (7 * read);
            if *byte < 0x80 {
                self.skip(read + 1);
                return Ok(value);
            }
        }
        Err(self.wrong(if self.rest.len() < VARINT_BYTES_MAX {
            WireErrorKind::Cut
        } else {
            WireErrorKind::Varint
        }))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let found = self.rest.first_chunk::<N>().copied();
        let found = found.ok_or_else(|| self.wrong(WireErrorKind::Cut))?;
        self.skip(N);
        Ok(found)
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or(&[]);
        self.at += bytes;
    }
}

impl<'a> Field<'a> {
    /// An error at this field.
    pub(crate) fn wrong(&self, kind: WireErrorKind) -> WireError {
        WireError { at: self.at, kind }
    }

    fn not(&self, expected: &'static str) -> WireError {
        self.wrong(WireErrorKind::Expected {
            field: self.number,
            expected,
        })
    }

    /// A nested message.
    pub(crate) fn message(&self) -> Result<Reader<'a>, WireError> {
        match self.value {
            Value::Bytes(inner) => Ok(inner),
            Value::Varint(_) | Value::Bits64(_) | Value::Bits32 => Err(self.not("a message")),
        }
    }

    pub(crate) fn text(&self) -> Result<&'a str, WireError> {
        match self.value {
            Value::Bytes(inner) => std::str::from_utf8(inner.rest)
                .map_err(|_| self.wrong(WireErrorKind::NotUtf8(self.number))),
            Value::Varint(_) | Value::Bits64(_) | Value::Bits32 => Err(self.not("a text")),
        }
    }

    pub(crate) fn double(&self) -> Result<f64, WireError> {
        match self.value {
            Value::Bits64(bits) => Ok(f64::from_bits(bits)),
            Value::Varint(_) | Value::Bits32 | Value::Bytes(_) => Err(self.not("a double")),
        }
    }

    pub(crate) fn unsigned(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            Value::Bits64(_) | Value::Bits32 | Value::Bytes(_) => Err(self.not("a number")),
        }
    }

    /// Eight bytes.
    pub(crate) fn fixed(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Bits64(bits) => Ok(bits),
            Value::Varint(_) | Value::Bits32 | Value::Bytes(_) => Err(self.not("eight bytes")),
        }
    }

    /// Numbers of eight bytes, packed or one by one.
    pub(crate) fn each_fixed(&self, mut each: impl FnMut(u64)) -> Result<(), WireError> {
        let Value::Bytes(mut packed) = self.value else {
            each(self.fixed()?);
            return Ok(());
        };
        while !packed.is_empty() {
            each(u64::from_le_bytes(packed.array()?));
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> Result<&'a [u8], WireError> {
        self.message().map(|inner| inner.rest)
    }

    /// An error at this field if there are more than `limit` of something.
    pub(crate) fn within(
        &self,
        count: usize,
        limit: usize,
        what: &'static str,
    ) -> Result<(), WireError> {
        if count > limit {
            return Err(self.wrong(WireErrorKind::Limit { what, limit }));
        }
        Ok(())
    }

    /// A number in two's complement.
    pub(crate) fn signed(&self) -> Result<i64, WireError> {
        self.unsigned().map(|value| value as i64)
    }

    /// Numbers, packed or one by one.
    pub(crate) fn each_unsigned(
        &self,
        mut each: impl FnMut(u64) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let Value::Bytes(mut packed) = self.value else {
            return each(self.unsigned()?);
        };
        while !packed.is_empty() {
            each(packed.varint()?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;

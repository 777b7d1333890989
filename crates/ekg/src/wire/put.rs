//! Protobuf messages, written.
//!
//! Guarantees: what is written here is read back by [`Reader`](super::Reader). A field of its default is left out
//! where the caller leaves it out, nowhere else.
//!
//! ```text
//! put.text(1, "foo")    0a 03 66 6f 6f
//! ```

/// A message being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Put {
    bytes: Vec<u8>,
}

impl Put {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The fields of another message too.
    pub(crate) fn append(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes);
    }

    pub(crate) fn unsigned(&mut self, number: u32, value: u64) {
        self.tag(number, 0);
        varint(&mut self.bytes, value);
    }

    /// In two's complement.
    pub(crate) fn signed(&mut self, number: u32, value: i64) {
        self.unsigned(number, value as u64);
    }

    pub(crate) fn double(&mut self, number: u32, value: f64) {
        self.tag(number, 1);
        self.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, number: u32, value: &[u8]) {
        self.tag(number, 2);
        varint(&mut self.bytes, value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    pub(crate) fn text(&mut self, number: u32, value: &str) {
        self.bytes(number, value.as_bytes());
    }

    pub(crate) fn message(&mut self, number: u32, message: &Self) {
        self.bytes(number, &message.bytes);
    }

    /// Numbers, packed.
    pub(crate) fn packed(&mut self, number: u32, values: &[u32]) {
        let mut packed = Vec::with_capacity(values.len());
        for value in values {
            varint(&mut packed, u64::from(*value));
        }
        self.bytes(number, &packed);
    }

    fn tag(&mut self, number: u32, kind: u64) {
        varint(&mut self.bytes, u64::from(number) << 3 | kind);
    }
}

/// Seven bits a byte, the lowest first.
pub(crate) fn varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Reader;

    #[test]
    fn what_is_written_reads_back() {
        let mut inner = Put::default();
        inner.signed(2, -5);
        let mut put = Put::default();
        put.text(1, "foo");
        put.double(3, -0.0);
        put.unsigned(15, u64::MAX);
        put.message(16, &inner);
        put.packed(17, &[1, 300]);
        let bytes = put.into_bytes();
        assert_eq!(bytes[..5], [0x0a, 3, b'f', b'o', b'o']);
        let mut reader = Reader::new(&bytes);
        let mut next = || reader.field().unwrap().unwrap();
        assert_eq!(next().text(), Ok("foo"));
        assert_eq!(next().double().unwrap().to_bits(), (-0.0_f64).to_bits());
        assert_eq!(next().unsigned(), Ok(u64::MAX));
        let mut message = next().message().unwrap();
        assert_eq!(message.field().unwrap().unwrap().signed(), Ok(-5));
        let mut found = Vec::new();
        let each = |value| {
            found.push(value);
            Ok(())
        };
        next().each_unsigned(each).unwrap();
        assert_eq!(found, [1, 300]);
    }
}

//! Protobuf messages, written field by field.

#[derive(Clone, Default)]
pub(crate) struct Message(pub(crate) Vec<u8>);

impl Message {
    fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    pub(crate) fn uint(self, field: u64, value: u64) -> Self {
        self.varint(field << 3).varint(value)
    }

    /// In zigzag.
    pub(crate) fn sint(self, field: u64, value: i64) -> Self {
        self.uint(field, (value << 1 ^ value >> 63) as u64)
    }

    pub(crate) fn double(self, field: u64, value: f64) -> Self {
        let mut message = self.varint(field << 3 | 1);
        message.0.extend(value.to_le_bytes());
        message
    }

    pub(crate) fn bytes(self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let mut message = self.varint(field << 3 | 2).varint(bytes.len() as u64);
        message.0.extend_from_slice(bytes);
        message
    }

    pub(crate) fn nested(self, field: u64, inner: Self) -> Self {
        self.bytes(field, inner.0)
    }

    /// Numbers in zigzag, packed.
    pub(crate) fn sints(self, field: u64, values: &[i64]) -> Self {
        let packed = values.iter().fold(Self::default(), |all, value| {
            all.varint((value << 1 ^ value >> 63) as u64)
        });
        self.nested(field, packed)
    }

    /// Numbers, packed.
    pub(crate) fn uints(self, field: u64, values: &[u64]) -> Self {
        let packed = values
            .iter()
            .fold(Self::default(), |all, value| all.varint(*value));
        self.nested(field, packed)
    }

    /// With its length before it.
    pub(crate) fn delimited(self) -> Vec<u8> {
        let mut all = Self::default().varint(self.0.len() as u64).0;
        all.extend(self.0);
        all
    }
}

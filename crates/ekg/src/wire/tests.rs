use proptest::prelude::*;

use super::*;

/// Writes messages, for tests of those who read them.
#[derive(Clone, Debug, Default)]
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

    pub(crate) fn double(self, field: u64, value: f64) -> Self {
        let mut message = self.varint(field << 3 | 1);
        message.0.extend(value.to_le_bytes());
        message
    }

    pub(crate) fn bytes(self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let mut message = self.varint(field << 3 | 2).varint(bytes.len() as u64);
        message.0.extend(bytes);
        message
    }

    pub(crate) fn nested(self, field: u64, inner: Self) -> Self {
        self.bytes(field, inner.0)
    }

    pub(crate) fn packed(self, field: u64, values: impl IntoIterator<Item = u64>) -> Self {
        let inner = values.into_iter().fold(Self::default(), Self::varint);
        self.nested(field, inner)
    }

    /// With its own length before it.
    pub(crate) fn delimited(self) -> Vec<u8> {
        let mut whole = Self::default().varint(self.0.len() as u64).0;
        whole.extend(self.0);
        whole
    }
}

fn first(bytes: &[u8]) -> Result<Option<Field<'_>>, WireError> {
    Reader::new(bytes).field()
}

#[test]
fn fields_of_every_kind_are_read_and_unknown_ones_can_be_passed_over() {
    let message = Message::default()
        .uint(1, u64::MAX)
        .double(2, -0.5)
        .bytes(3, "ä")
        .packed(4, [1, 300])
        .uint(4, 7);
    let mut reader = Reader::new(&message.0);
    let mut next = || reader.field().unwrap().unwrap();
    assert_eq!(next().signed(), Ok(-1));
    assert_eq!(next().double(), Ok(-0.5));
    assert_eq!(next().text(), Ok("ä"));
    let mut numbers = Vec::new();
    for field in [next(), next()] {
        let push = |n| {
            numbers.push(n);
            Ok(())
        };
        field.each_unsigned(push).unwrap();
    }
    assert_eq!(numbers, [1, 300, 7]);
    assert!(reader.field().unwrap().is_none() && reader.is_empty());
}

#[test]
fn errors_name_the_byte_in_the_whole_message() {
    let inner = Message::default().uint(1, 5).bytes(2, [0xff]);
    let outer = Message::default().uint(9, 1).nested(3, inner);
    let mut reader = Reader::new(&outer.0);
    reader.field().unwrap();
    let mut inner = reader.field().unwrap().unwrap().message().unwrap();
    let number = inner.field().unwrap().unwrap();
    assert_eq!(
        number.text().unwrap_err().to_string(),
        "byte 4: field 1 is not a text"
    );
    let text = inner.field().unwrap().unwrap();
    assert_eq!(
        text.text().unwrap_err().to_string(),
        "byte 6: field 2 is not UTF-8"
    );
    let wrong: [(&[u8], &str); 6] = [
        (&[0x08], "byte 1: the message ends inside a field"),
        (
            &[0x0a, 0x02, 0x41],
            "byte 1: the message ends inside a field",
        ),
        (&[0x09, 0, 0], "byte 1: the message ends inside a field"),
        (&[0x0b], "byte 0: a field of the unknown kind 3"),
        (&[0x00, 0x00], "byte 0: no field has the number 0"),
        (&[0xff; 11], "byte 0: a number of more than 10 bytes"),
    ];
    for (bytes, error) in wrong {
        assert_eq!(first(bytes).unwrap_err().to_string(), error);
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_fields_or_an_error_inside_the_message(
        bytes in prop::collection::vec(any::<u8>(), 0..64)
    ) {
        let mut reader = Reader::new(&bytes);
        loop {
            match reader.field() {
                Ok(Some(_)) => {}
                Ok(None) => break prop_assert!(reader.is_empty()),
                Err(error) => break prop_assert!(error.at <= bytes.len()),
            }
        }
    }
}

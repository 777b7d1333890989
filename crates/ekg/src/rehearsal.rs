//! What would be written of a message, without writing it: for tools that look at what senders send, and for fuzzing.
//!
//! Guarantees: reads a message exactly as the ways in do. Never writes, and remembers nothing between two messages.
//!
//! ```
//! use mainstay_ekg::rehearsal::{Spoken, rehearse};
//! let empty = rehearse(Spoken::RemoteWrite1, b"").unwrap();
//! assert_eq!((empty.samples, empty.refused), (0, 0));
//! ```

use mainstay_core::Time;

use crate::{
    delivery::Delivery,
    metadata::Metadata,
    otlp::{self, Deltas, Encoding, OtlpSettings},
    write::{Protocol, decode},
};

/// A protocol, its message unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// Remote write 1.0.
    RemoteWrite1,
    /// Remote write 2.0.
    RemoteWrite2,
    /// OTLP in protobuf.
    OtlpProtobuf,
    /// OTLP in JSON.
    OtlpJson,
}

/// What would become of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rehearsed {
    /// Samples that would be written.
    pub samples: usize,
    /// Parts that would be refused.
    pub refused: u64,
}

/// The clock of a rehearsal, long after every time that anybody sends by mistake in seconds.
const NOW: Time = Time::from_millis(1_700_000_000_000);

/// Reads a message; the error is what its sender would be told.
pub fn rehearse(spoken: Spoken, message: &[u8]) -> Result<Rehearsed, String> {
    let mut delivery = Delivery::new(NOW, Metadata::default());
    match spoken {
        Spoken::RemoteWrite1 => decode(Protocol::V1, message, &mut delivery).map_err(text)?,
        Spoken::RemoteWrite2 => decode(Protocol::V2, message, &mut delivery).map_err(text)?,
        Spoken::OtlpProtobuf => translate(Encoding::Protobuf, message, &mut delivery)?,
        Spoken::OtlpJson => translate(Encoding::Json, message, &mut delivery)?,
    }
    let refused = delivery.refused.total();
    let parcels = delivery.samples.finish();
    Ok(Rehearsed {
        samples: parcels.iter().map(crate::parcel::Parcel::samples).sum(),
        refused,
    })
}

fn translate(encoding: Encoding, message: &[u8], into: &mut Delivery) -> Result<(), String> {
    let request = otlp::decode(encoding, message).map_err(text)?;
    let settings = OtlpSettings::default();
    otlp::translate(&request, &settings, &mut Deltas::default(), into);
    Ok(())
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

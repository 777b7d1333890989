//! Messages of OTLP in protobuf.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_ekg::rehearsal::{Spoken, rehearse};

fuzz_target!(|message: &[u8]| {
    let _ = rehearse(Spoken::OtlpProtobuf, message);
});

//! What is scraped, in protobuf.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_ekg::{
    protobuf::scan,
    text::{Natives, TextLimits},
};

fuzz_target!(|body: &[u8]| {
    let limits = TextLimits {
        natives: Natives::ReadWithClassic,
        ..TextLimits::default()
    };
    if let Ok(seen) = scan(body, &limits) {
        for sample in &seen.samples {
            let _ = seen.counts_from_zero(&sample.name);
        }
        let _ = seen.families().count();
    }
});

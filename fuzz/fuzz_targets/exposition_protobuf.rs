//! What is scraped, in protobuf.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_ekg::{protobuf::scan, text::TextLimits};

fuzz_target!(|body: &[u8]| {
    if let Ok(seen) = scan(body, &TextLimits::default()) {
        for sample in &seen.samples {
            let _ = seen.counts_from_zero(&sample.name);
        }
        let _ = seen.families().count();
    }
});

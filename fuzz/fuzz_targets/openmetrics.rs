//! What is scraped, as OpenMetrics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_ekg::text::{TextLimits, scan_openmetrics};

fuzz_target!(|body: &[u8]| {
    if let Ok(seen) = scan_openmetrics(body, &TextLimits::default()) {
        for sample in &seen.samples {
            let _ = seen.counts_from_zero(&sample.name);
        }
        let _ = seen.families().count();
    }
});

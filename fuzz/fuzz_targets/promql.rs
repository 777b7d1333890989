//! Queries: one that is parsed is printed so that it is the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_promql::{parse, pretty};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(expr) = parse(text) else { return };
    let printed = expr.to_string();
    let again = parse(&printed).unwrap_or_else(|error| panic!("{text:?} → {printed:?}: {error}"));
    assert_eq!(again.to_string(), printed, "{text:?}");
    let wide = pretty(&expr);
    let again = parse(&wide).unwrap_or_else(|error| panic!("{text:?} → {wide:?}: {error}"));
    assert_eq!(again.to_string(), printed, "{text:?}");
});

//! Samples that are only kept as summaries.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    super::{Server, stderr},
    ask, now_ms, wait,
};

const STEP_MS: u64 = 15_000;
const SAMPLES: u64 = 1_200;

fn start(dir: &Path, config: &str) -> Server {
    let file = dir.join("keep.toml");
    fs::write(&file, config).unwrap();
    Server::start_with(dir, &["--config", file.to_str().unwrap()])
}

fn imported(server: &Server, began_ms: u64) {
    let mut dump = String::new();
    for at in 0..SAMPLES {
        let (time, value) = (began_ms + at * STEP_MS, at % 500);
        writeln!(
            dump,
            "old_total {value} {time}\nold_load {} {time}",
            (at * 37) % 101
        )
        .unwrap();
    }
    let file = server.dir.join("dump.txt");
    fs::write(&file, dump).unwrap();
    let output = server.run(&["import", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
}

fn answer(server: &Server, expr: &str, at_ms: u64) -> Value {
    let expr = expr.replace('[', "%5B").replace(']', "%5D");
    let path = format!("GET /api/v1/query?query={expr}&time={}", at_ms / 1_000);
    let (code, body) = ask(&server.url, &path, "").unwrap();
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn value(answer: &Value) -> f64 {
    let value = answer["data"]["result"][0]["value"][1].as_str();
    value.unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

#[test]
fn what_is_asked_of_summaries_is_what_the_samples_would_have_said() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let summaries = "[metrics]\nretention = \"2h\"\n[metrics.downsample]\nfive_minutes = \"30d\"\none_hour = \"1y\"\n";
    let coarse = start(dir.path(), summaries);
    let raw = start(other.path(), "[metrics]\nretention = \"100y\"\n");
    let hour_ms = 3_600_000;
    for (days, length, range) in [(3, "5m", "6h"), (60, "1h", "9h")] {
        let began_ms = (now_ms() - days * 24 * hour_ms) / hour_ms * hour_ms;
        imported(&coarse, began_ms);
        imported(&raw, began_ms);
        // A range is open where it begins, and the first sample is at that.
        let end_ms = began_ms + 6 * hour_ms - 1_000;
        let told = format!("are downsampled to {length}");
        wait(|| {
            let answer = answer(&coarse, "count_over_time(old_load[6h])", end_ms);
            answer["infos"].to_string().contains(&told)
        });
        for expr in [
            "count_over_time(old_load[6h])",
            "sum_over_time(old_load[6h])",
            "avg_over_time(old_load[6h])",
            "min_over_time(old_load[6h])",
            "max_over_time(old_load[6h])",
            "last_over_time(old_load[6h])",
            "resets(old_total[6h])",
        ] {
            let both = [&coarse, &raw].map(|server| value(&answer(server, expr, end_ms)));
            assert!(
                (both[0] - both[1]).abs() < 1e-9,
                "{length} {expr}: {both:?}"
            );
        }
        // What is left of a difference is what is extrapolated to the edges.
        let grown = format!("increase(old_total[{range}])");
        let both = [&coarse, &raw].map(|server| value(&answer(server, &grown, end_ms)));
        assert!((both[0] / both[1] - 1.0).abs() < 0.15, "{length}: {both:?}");
        let middle = answer(&coarse, "old_load", began_ms + 2 * hour_ms + 123_000);
        assert!(value(&middle) >= 0.0, "what stands is seen between windows");
        let blurred = answer(&coarse, "deriv(old_load[6h])", end_ms);
        assert!(blurred["infos"].to_string().contains("deriv"), "{blurred}");
    }
    let (_, labels) = ask(&coarse.url, "GET /api/v1/labels", "").unwrap();
    assert!(!labels.contains("aggregate"), "{labels}");
}

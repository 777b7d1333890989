//! Samples that come from elsewhere. `prometheus/block` is what `promtool tsdb create-blocks-from openmetrics` made of
//! `prometheus/dump.om`.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use super::super::{BINARY, Server, stderr};

/// When the dump ends, in seconds.
const END: u64 = 1_780_005_600;
const SAMPLES: u64 = 780;

fn fixture(name: &str) -> String {
    format!(
        "{}/tests/samples/prometheus/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

/// A server that keeps samples however old they are.
fn start(dir: &Path) -> Server {
    let config = dir.join("keep.toml");
    fs::write(&config, "[metrics]\nretention = \"100y\"\n").unwrap();
    Server::start_with(dir, &["--config", config.to_str().unwrap()])
}

fn imported(output: &std::process::Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What was asked, as it would be of Prometheus.
fn answers(server: &Server) -> Vec<Value> {
    let asked = [
        "shop_load[2h]",
        "shop_orders_total[2h]",
        "rate(shop_orders_total[10m])",
        "sum by (zone) (increase(shop_orders_total[1h]))",
        "quantile_over_time(0.9, shop_load[1h] offset 30m)",
        "count_over_time({__name__=~\"shop_.*\"}[2h])",
    ];
    let end = END.to_string();
    let ask = |expr: &&str| server.json(&["query", *expr, "--time", &end]);
    asked.iter().map(ask).collect()
}

#[test]
fn a_block_of_prometheus_and_the_dump_it_was_made_of_are_the_same() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = start(dir.path());
    let (block, dump) = (fixture("block"), fixture("dump.om"));
    let run = |what: &str| server.run(&["import", what, "--output", "json"]);
    let first = imported(&run(&block));
    assert_eq!(
        (first["written"].as_u64(), first["known"].as_u64()),
        (Some(SAMPLES), Some(0))
    );
    let found = answers(&server);
    // A range is open where it begins: the first of 240 samples is not in it.
    let orders = found[1]["result"][0]["values"].as_array().unwrap();
    assert_eq!(orders.len(), 239);
    assert_eq!(found[1]["result"][0]["metric"]["path"], "/é \"x\"");
    // Once more, as the folder of blocks that it is in: nothing is new. The dump's times are rounded otherwise.
    let again = imported(&run(&fixture("")));
    assert_eq!(
        (again["written"].as_u64(), again["known"].as_u64()),
        (Some(0), Some(SAMPLES))
    );
    let offline = std::process::Command::new(BINARY)
        .args(["import", &dump, "--output", "json", "--data-dir"])
        .arg(other.path())
        .arg("--config")
        .arg(dir.path().join("keep.toml"))
        .output()
        .unwrap();
    assert_eq!(imported(&offline)["written"].as_u64(), Some(SAMPLES));
    let other = start(other.path());
    assert_eq!(answers(&other)[1..5], found[1..5]);
    let changes = server.json(&["changes", "--kind", "recorded"]);
    assert_eq!(changes.as_array().unwrap().len(), 2);
}

#[test]
fn what_cannot_be_imported_is_named_with_its_place() {
    let dir = TempDir::new().unwrap();
    let server = start(dir.path());
    let dump = dir.path().join("dump.txt");
    let refused = |text: &str, says: &str| {
        fs::write(&dump, text).unwrap();
        let output = server.run(&["import", dump.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    };
    refused("a 1 1000\nb 2 x\n", "2:5");
    refused("a 1 1000\nb{ 2\n# EOF\n", "2:");
    fs::write(&dump, "a 1\na 2 1780000000000\na 3 9780000000000\n").unwrap();
    let output = server.run(&["import", dump.to_str().unwrap(), "--output", "json"]);
    let summary = imported(&output);
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(
        (count("written"), count("withoutTime"), count("refused")),
        (1, 1, 1)
    );
    let block = dir.path().join("block");
    fs::create_dir_all(block.join("chunks")).unwrap();
    for file in ["meta.json", "index", "tombstones", "chunks/000001"] {
        fs::copy(fixture("block/") + file, block.join(file)).unwrap();
    }
    let mut bytes = fs::read(block.join("chunks/000001")).unwrap();
    bytes[40] ^= 1;
    fs::write(block.join("chunks/000001"), bytes).unwrap();
    let output = server.run(&["import", block.to_str().unwrap()]);
    assert!(
        stderr(&output).contains("chunk 8 of file 000001"),
        "{}",
        stderr(&output)
    );
    let nothing = server.run(&["import", dir.path().join("metrics").to_str().unwrap()]);
    assert!(
        stderr(&nothing).contains("no block is here"),
        "{}",
        stderr(&nothing)
    );
}

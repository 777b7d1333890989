//! Writes what the fuzzers begin with, `corpus/TARGET/seed-…`: small, and right where it can be.
//!
//! `cargo run --bin seeds` in this folder. Run it again when a format changes; its files are checked in.

use std::{error::Error, fs, path::Path, sync::Arc};

use mainstay_siege::WriteRequest;
use mainstay_tsdb::{Head, Labels, Options, open};
use mainstay_wal::{Disk, MemoryDisk};

type Failure = Box<dyn Error>;

const OTLP: &str = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeMetrics":[{"metrics":[{"name":"requests","unit":"1","sum":{"isMonotonic":true,"aggregationTemporality":2,"dataPoints":[{"startTimeUnixNano":"1699999990000000000","timeUnixNano":"1700000000000000000","asInt":"7","attributes":[{"key":"path","value":{"stringValue":"/a"}}]}]}},{"name":"took","unit":"s","histogram":{"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":"1700000000000000000","count":"3","sum":1.5,"bucketCounts":["1","2"],"explicitBounds":[0.5]}]}},{"name":"load","gauge":{"dataPoints":[{"timeUnixNano":"1700000000000000000","asDouble":0.25}]}},{"name":"size","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1700000000000000000","count":"3","sum":9,"scale":2,"zeroCount":"1","positive":{"offset":1,"bucketCounts":["1","1"]}}]}}]}]}]}"#;

const TEXT: &str = "# HELP up Is it?\n# TYPE up gauge\nup{job=\"a b\",path=\"c\\\\d\\\"e\\n\"} 1 1700000000000\n\
    # TYPE took histogram\ntook_bucket{le=\"0.5\"} 1\ntook_bucket{le=\"+Inf\"} 3\ntook_sum 1.5\ntook_count 3\n\
    {\"a.name\",\"b.label\"=\"c\"} NaN\n";

const OPENMETRICS: &str = "# HELP up Is it?\n# TYPE up gauge\n# UNIT took seconds\nup{job=\"a\"} 1 1700000000.5\n\
    # TYPE took counter\ntook_total{x=\"y\"} 3 # {trace_id=\"1\"} 0.5 1700000000\ntook_created{x=\"y\"} 1699999999\n# EOF\n";

const QUERIES: [&str; 12] = [
    "up",
    "sum by (le) (rate(took_bucket{job=~\"a|b\",x!=\"\"}[5m] offset -1m))",
    "histogram_quantile(0.99, sum without (a) (rate(x[1h:1m] @ end())))",
    "a + on (b) group_left (c) d * bool_free",
    "topk(5, quantile_over_time(0.9, x[1d])) > bool 3 or vector(1)",
    "label_replace(up, \"a\", \"$1\", \"b\", \"(.*)\")",
    "-1 ^ 2 ^ -x % 3 and unless_not unless y",
    "{__name__=~\"a.+\", \"b.c\"=\"d\"}",
    "max_over_time(x[5m:]) / ignoring (a) group_right y",
    "count_values(\"v\", x) == 0x1F or NaN or Inf or 1e-3",
    "info(x, {__name__=\"target_info\"})",
    "absent(x{a=\"\\u00e9\\n\"}) # comment\n",
];

fn main() -> Result<(), Failure> {
    write("remote_write_1", "two", &deliveries()?)?;
    write("remote_write_2", "symbols", &second())?;
    write("otlp_json", "all-kinds", OTLP.as_bytes())?;
    write("otlp_protobuf", "gauge", &gauge())?;
    write("text", "kinds", TEXT.as_bytes())?;
    write("openmetrics", "kinds", OPENMETRICS.as_bytes())?;
    write("exposition_protobuf", "counter", &family())?;
    for (number, query) in QUERIES.iter().enumerate() {
        write("promql", &number.to_string(), query.as_bytes())?;
    }
    kept()
}

fn write(target: &str, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(format!("seed-{name}")), bytes)?)
}

fn deliveries() -> Result<Vec<u8>, Failure> {
    let mut request = WriteRequest::default();
    request.series(
        &[("__name__", "up"), ("job", "a")],
        &[(1_700_000_000_000, 1.5), (1_700_000_015_000, 2.0)],
    );
    request.series(&[("__name__", "é"), ("b", "c")], &[(7, 0.0)]);
    Ok(request.message().to_vec())
}

/// A field of protobuf.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

fn double(number: u8, value: f64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn second() -> Vec<u8> {
    let sample = [double(1, 1.5), vec![2 << 3, 7, 3 << 3, 5]].concat();
    let series = [
        field(1, &[1, 2, 3, 4]),
        field(2, &sample),
        field(5, &[1 << 3, 1, 3 << 3, 2]),
    ]
    .concat();
    let symbols = ["", "__name__", "up", "job", "a"];
    let symbols = symbols.iter().flat_map(|it| field(4, it.as_bytes()));
    symbols.chain(field(5, &series)).collect()
}

fn gauge() -> Vec<u8> {
    let at = [
        &[3 << 3 | 1][..],
        &1_700_000_000_000_000_000_u64.to_le_bytes(),
    ]
    .concat();
    let point = [at, double(4, 0.25)].concat();
    let metric = [field(1, b"load"), field(5, &field(1, &point))].concat();
    field(1, &field(2, &field(2, &metric)))
}

fn family() -> Vec<u8> {
    let label = [field(1, b"a"), field(2, b"b")].concat();
    let metric = [field(1, &label), field(3, &double(1, 7.0))].concat();
    let family = [
        field(1, b"took_total"),
        field(2, b"Help."),
        vec![3 << 3, 0],
        field(4, &metric),
    ]
    .concat();
    [&[family.len() as u8][..], &family].concat()
}

/// A part and a segment of the log, as an engine leaves them.
fn kept() -> Result<(), Failure> {
    let memory = MemoryDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let (mut head, _) = open(Arc::clone(&disk), Options::default())?;
    append(&mut head)?;
    drop(head);
    let segment = latest(&*disk, ".wal")?;
    write("log", "some", &segment)?;
    // The next start seals what the log has.
    let (head, _) = open(Arc::clone(&disk), Options::default())?;
    for _ in 0..1_000 {
        if disk.list()?.iter().any(|name| name.ends_with(".part")) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(head);
    write("part", "some", &latest(&*disk, ".part")?)
}

fn append(head: &mut Head) -> Result<(), Failure> {
    for round in 0..20_i64 {
        for series in 0..6_i64 {
            let number = series.to_string();
            let labels = Labels::from_pairs([("__name__", "m"), ("n", &number)])?;
            let value = match series % 3 {
                0 => 1.0,
                1 => (round * 7) as f64,
                _ => round as f64 / 3.0,
            };
            head.append(&labels, 1_700_000_000_000 + round * 15_000, value)?;
        }
        head.commit(Box::new(|_| ()));
    }
    Ok(())
}

fn latest(disk: &dyn Disk, suffix: &str) -> Result<Vec<u8>, Failure> {
    let names = disk.list()?;
    let name = names.iter().rfind(|name| name.ends_with(suffix));
    Ok(disk.read(name.ok_or("no such file")?, 1 << 20)?)
}

//! Days in Parquet, as another program reads them.

use std::{fs, io::Write as _, path::Path, process::Command, sync::Arc};

use mainstay_archive::{
    adapter::{ArchiveSeen, Archiver, ArchiverConfig, Shown},
    samples::SampleFile,
};
use mainstay_core::Span;
use mainstay_tsdb::{Head, Labels, SeriesSlice, Tiers, is_stale, stale_marker};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::engine::{BEGAN_MS, HOUR_MS, Hands, LOOK, engine, fill, place, seal, until};

struct Archiving {
    seen: Shown<ArchiveSeen>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn archiving(head: &Head, folder: &Path, clock: &Hands) -> Archiving {
    let archiver = Archiver::new(ArchiverConfig {
        look_every: LOOK,
        tsdb: head.tsdb(),
        tiers: Tiers::default(),
        clock: Arc::new(clock.clone()),
        place: place(folder),
        after: Span::from_secs(24 * 60 * 60),
    });
    let (seen, stop) = (archiver.seen(), CancellationToken::new());
    let task = tokio::spawn(archiver.run(stop.clone()));
    Archiving { seen, stop, task }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_written_once_it_was_over_for_long_enough() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("days");
    let clock = Hands::at(BEGAN_MS + 47 * HOUR_MS);
    let mut head = engine(&dir.path().join("live"));
    fill(&mut head, 0..3);
    fill(&mut head, 24..27);
    fill(&mut head, 48..50);
    let archiver = archiving(&head, &folder, &clock);
    let file = folder.join("day=2023-11-15/samples.parquet");
    until(
        || archiver.seen.get(),
        |it| it.failing.is_none() && it.waiting_days == 0,
    )
    .await;
    assert!(!file.exists(), "it was over for 23 hours");
    clock.set(BEGAN_MS + 49 * HOUR_MS);
    let seen = until(|| archiver.seen.get(), |it| it.days == 1).await;
    assert_eq!(
        (seen.rows, seen.newest_day.as_deref()),
        (6, Some("2023-11-15"))
    );
    assert!(file.exists());
    clock.set(BEGAN_MS + 73 * HOUR_MS);
    let seen = until(|| archiver.seen.get(), |it| it.days == 2).await;
    assert_eq!(seen.failing, None);
    archiver.stop.cancel();
    archiver.task.await.unwrap();
    let read = fs::read(&file).unwrap();
    assert_eq!(
        (&read[..4], &read[read.len() - 4..]),
        (&b"PAR1"[..], &b"PAR1"[..])
    );
}

/// Prints all rows, each value by its bits.
const READER: &str = "
import struct, sys
import pyarrow.parquet as pq
file = pq.ParquetFile(sys.argv[1])
table = file.read()
for name, labels, at, value in zip(*(table.column(i) for i in range(4))):
    bits = None if value.as_py() is None else struct.unpack('<Q', struct.pack('<d', value.as_py()))[0]
    pairs = ','.join(f'{key}={text}' for key, text in labels.as_py())
    print(name.as_py(), pairs, at.value, bits, sep='|')
labels = table.schema.field('labels').type
print(table.schema.field('timestamp').type, f'map<{labels.key_type}, {labels.item_type}>', table.schema.field('value').type)
";

/// A Python that has pyarrow, if there is one.
fn python() -> Option<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let asked = std::env::var("MAINSTAY_PYTHON").ok();
    let known = [
        format!("{home}/.cache/mainstay/python/bin/python"),
        "python3".to_owned(),
    ];
    let has = |python: &String| {
        let tried = Command::new(python)
            .args(["-c", "import pyarrow.parquet"])
            .output();
        tried.is_ok_and(|it| it.status.success())
    };
    let found = asked.into_iter().chain(known).find(has);
    if found.is_none() {
        // Where nothing may be skipped, that is a failure.
        let said = "skipped: no Python here has pyarrow";
        assert!(std::env::var_os("MAINSTAY_SKIPPED").is_none(), "{said}");
        println!("{said}");
    }
    found
}

fn shown(all: &[SeriesSlice]) -> Vec<String> {
    let series = |it: &SeriesSlice| {
        let labels: Vec<String> = { it.labels.iter() }
            .filter(|(name, _)| *name != "__name__")
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let name = it.labels.metric_name().unwrap_or_default().to_owned();
        let row = move |(at_ms, value): (&i64, &f64)| {
            let bits = if is_stale(*value) {
                "None".to_owned()
            } else {
                value.to_bits().to_string()
            };
            format!("{name}|{}|{at_ms}|{bits}", labels.join(","))
        };
        it.timestamps
            .iter()
            .zip(&*it.values)
            .map(row)
            .collect::<Vec<_>>()
    };
    all.iter().flat_map(series).collect()
}

#[test]
fn another_programs_reader_sees_every_bit_that_a_selection_does() {
    let Some(python) = python() else { return };
    let dir = TempDir::new().unwrap();
    let mut head = engine(&dir.path().join("live"));
    let values = [
        0.0,
        -0.0,
        0.1,
        f64::NAN,
        f64::INFINITY,
        5e-324,
        -1.5e300,
        stale_marker(),
    ];
    let names = [
        vec![("__name__", "kept"), ("at", "ä|b"), ("job", "shop")],
        vec![("__name__", "kept")],
        vec![("alone", "1")],
    ];
    for (number, value) in values.into_iter().enumerate() {
        let at_ms = BEGAN_MS + number as i64;
        for pairs in &names {
            let labels = Labels::from_pairs(pairs.iter().copied()).unwrap();
            head.append(&labels, at_ms, value).unwrap();
        }
        if number == 4 {
            seal(&mut head, at_ms);
        }
    }
    let tsdb = head.tsdb();
    let mut file = SampleFile::new(Vec::new()).unwrap();
    let all = (i64::MIN, i64::MAX);
    let walked = tsdb.walk(&[Vec::new()], all, &mut |series| file.push(&series).is_ok());
    assert_eq!(walked, Ok(true));
    let (bytes, totals) = file.finish().unwrap();
    assert_eq!(totals.rows, 24);
    let path = dir.path().join("samples.parquet");
    fs::File::create(&path).unwrap().write_all(&bytes).unwrap();
    let read = Command::new(python)
        .args(["-c", READER])
        .arg(&path)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{errors}");
    let text = String::from_utf8(read.stdout).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let types = lines.pop().unwrap();
    assert_eq!(types, "timestamp[ms, tz=UTC] map<string, string> double");
    assert_eq!(lines, shown(&tsdb.select(&[], all.0, all.1).unwrap()));
}

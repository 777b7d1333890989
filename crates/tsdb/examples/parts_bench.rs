//! What sealing and merging a day of samples costs, how large it becomes, and how fast it is read back.
//!
//! `cargo run --release -p mainstay-tsdb --example parts_bench`
//!
//! 40 targets of 50 series each, scraped every 15 s for 26 hours with a few milliseconds of jitter: constants,
//! counters, histogram buckets, counters of seconds, gauges with one and three decimals, and one value in fifty with
//! all its digits. CPU time is that of the sealing thread, so that other programs on the machine do not matter.

use std::{
    error::Error,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use mainstay_tsdb::{Labels, MatchOp, Matcher, Options, open};
use mainstay_wal::LocalDisk;

const TARGETS: u64 = 40;
const SERIES: u64 = 50;
const EVERY_MS: i64 = 15_000;
const HOUR_MS: i64 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const BEGIN_MS: i64 = 20_000 * DAY_MS;
const LASTS_MS: i64 = 26 * HOUR_MS;
/// How long the sealing thread must have rested to be done.
const RESTS: Duration = Duration::from_secs(2);

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The same numbers in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

struct Series {
    labels: Labels,
    kind: u64,
    value: i64,
}

impl Series {
    fn all(dice: &mut Dice) -> Outcome<Vec<Vec<Self>>> {
        let series = |target: u64, at: u64, dice: &mut Dice| {
            let (metric, instance) = (
                format!("metric_{}_total", at / 5),
                format!("10.0.0.{target}:9100"),
            );
            let labels = Labels::from_pairs([
                ("__name__", metric.as_str()),
                ("instance", instance.as_str()),
                ("job", "node"),
                (
                    "mode",
                    ["idle", "user", "system", "iowait", "steal"][at as usize % 5],
                ),
            ])?;
            Outcome::Ok(Self {
                labels,
                kind: at % 10,
                value: dice.roll(100_000) as i64,
            })
        };
        (0..TARGETS)
            .map(|target| (0..SERIES).map(|at| series(target, at, dice)).collect())
            .collect()
    }

    fn next(&mut self, dice: &mut Dice) -> f64 {
        match self.kind {
            // Constants, mostly.
            0..=3 => {
                if dice.roll(2_000) == 0 {
                    self.value += 1;
                }
                self.value as f64
            }
            // Counters, as steady as their load.
            4 => {
                self.value += 900 + dice.roll(200) as i64;
                self.value as f64
            }
            // Buckets that grow now and then.
            5 | 6 => {
                self.value += dice.roll(4) as i64 / 3;
                self.value as f64
            }
            // Seconds of processors, in hundredths.
            7 => {
                self.value += 1_480 + dice.roll(20) as i64;
                self.value as f64 / 100.0
            }
            // Gauges that wander.
            8 => {
                self.value += dice.roll(21) as i64 - 10;
                self.value as f64 / 10.0
            }
            _ if dice.roll(5) == 0 => (1.0 + dice.roll(1 << 40) as f64).sqrt(),
            _ => {
                self.value += dice.roll(201) as i64 - 100;
                self.value as f64 / 1_000.0
            }
        }
    }
}

fn main() -> Outcome<()> {
    if let Some(file) = std::env::args().nth(1) {
        return replay(Path::new(&file));
    }
    let samples = (LASTS_MS / EVERY_MS) as u64 * TARGETS * SERIES;
    println!("{samples} samples of {} series", TARGETS * SERIES);
    let kept = run(&mut read)?;
    println!(
        "sealed, and merged into hours and one day: {:.2} million samples a CPU-second",
        samples as f64 / kept.cpu_seconds / 1e6
    );
    println!(
        "figure parts_kept_samples_per_cpu_s {:.0}",
        samples as f64 / kept.cpu_seconds
    );
    let day = (DAY_MS / EVERY_MS) as u64 * TARGETS * SERIES;
    println!(
        "figure parts_bytes_per_sample {:.4}",
        kept.largest as f64 / day as f64
    );
    Ok(())
}

struct Measured {
    cpu_seconds: f64,
    /// Bytes of the largest part.
    largest: u64,
}

fn run(after: &mut dyn FnMut(&mainstay_tsdb::Tsdb) -> Outcome<()>) -> Outcome<Measured> {
    let folder = tempfile::tempdir()?;
    let disk = Arc::new(LocalDisk::open(folder.path())?);
    let (mut head, _) = open(disk, Options::default())?;
    let mut dice = Dice(7);
    let mut targets = Series::all(&mut dice)?;
    let mut now_ms = BEGIN_MS;
    while now_ms < BEGIN_MS + LASTS_MS {
        for (at, series) in targets.iter_mut().enumerate() {
            let at_ms = now_ms + at as i64 * 300 + dice.roll(5) as i64;
            for one in series {
                let value = one.next(&mut dice);
                head.append(&one.labels, at_ms, value)?;
            }
        }
        now_ms += EVERY_MS;
        head.commit_at_leisure(now_ms);
        head.tend(now_ms);
        while head.ready().is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    head.tend(now_ms + HOUR_MS);
    let cpu_seconds = rested()?;
    after(&head.tsdb())?;
    let largest = part_lengths(folder.path())?.into_iter().max();
    Ok(Measured {
        cpu_seconds,
        largest: largest.unwrap_or(0),
    })
}

/// What samples that somebody recorded become, with their index: the number of series, a line of names and values with
/// tabs between them for each, then number, time and bits of each sample, all of 64 bits.
fn replay(file: &Path) -> Outcome<()> {
    let bytes = std::fs::read(file)?;
    let (count, mut rest) = bytes.split_first_chunk::<8>().ok_or("no series")?;
    let mut series = Vec::new();
    for _ in 0..u64::from_le_bytes(*count) {
        let end = rest.iter().position(|it| *it == b'\n').ok_or("no end")?;
        let line: Vec<&str> = std::str::from_utf8(&rest[..end])?.split('\t').collect();
        series.push(Labels::from_pairs(
            line.chunks(2).map(|pair| (pair[0], pair[1])),
        )?);
        rest = &rest[end + 1..];
    }
    let folder = tempfile::tempdir()?;
    let (mut head, _) = open(
        Arc::new(LocalDisk::open(folder.path())?),
        Options::default(),
    )?;
    let (mut now_ms, mut samples) = (0, 0);
    for sample in rest.as_chunks::<24>().0 {
        let number =
            |at: usize| u64::from_le_bytes(*sample[at * 8..].first_chunk().unwrap_or(&[0; 8]));
        let at_ms = number(1) as i64;
        if at_ms > now_ms {
            now_ms = at_ms;
            head.commit_at_leisure(now_ms);
            head.tend(now_ms);
            while head.ready().is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        head.append(
            &series[number(0) as usize],
            at_ms,
            f64::from_bits(number(2)),
        )?;
        samples += 1;
    }
    head.tend(now_ms + HOUR_MS);
    rested()?;
    let lengths = part_lengths(folder.path())?;
    let total: u64 = lengths.iter().sum();
    println!(
        "{samples} samples in {} parts of {total} bytes",
        lengths.len()
    );
    println!(
        "figure disk_bytes_per_sample {:.4}",
        total as f64 / f64::from(samples)
    );
    Ok(())
}

fn part_lengths(folder: &Path) -> Outcome<Vec<u64>> {
    let mut lengths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|it| it == "part") {
            lengths.push(entry.metadata()?.len());
        }
    }
    Ok(lengths)
}

/// Waits until the sealing thread has nothing to do; CPU-seconds that it took.
fn rested() -> Outcome<f64> {
    let (mut before, mut since) = (sealing_seconds()?, Instant::now());
    while since.elapsed() < RESTS {
        std::thread::sleep(Duration::from_millis(100));
        let now = sealing_seconds()?;
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    Ok(before)
}

/// User and system time of the thread that seals.
fn sealing_seconds() -> Outcome<f64> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(task?.path().join("stat"))?;
        let (name, fields) = stat.rsplit_once(')').ok_or("no name")?;
        if name.ends_with("(seal") {
            let fields: Vec<&str> = fields.split_whitespace().collect();
            let ticks = |number: usize| -> Outcome<f64> {
                Ok(fields.get(number - 3).ok_or("too short")?.parse()?)
            };
            return Ok((ticks(14)? + ticks(15)?) / 100.0);
        }
    }
    Err("there is no such thread".into())
}

fn read(tsdb: &mainstay_tsdb::Tsdb) -> Outcome<()> {
    let metric = |name| Matcher::new("__name__", MatchOp::Equal, name);
    let instance = Matcher::new("instance", MatchOp::Regex, "10\\.0\\.0\\.1.*")?;
    let day = (BEGIN_MS, BEGIN_MS + DAY_MS);
    let hour = (BEGIN_MS + 5 * HOUR_MS, BEGIN_MS + 6 * HOUR_MS);
    let asked = [
        ("a day of all series", vec![], day),
        ("a day of one metric", vec![metric("metric_3_total")?], day),
        (
            "an hour of one metric",
            vec![metric("metric_3_total")?],
            hour,
        ),
        ("an hour of some instances", vec![instance], hour),
    ];
    for (what, matchers, (from, to)) in asked {
        let began = Instant::now();
        let found = tsdb.select(&matchers, from, to - 1)?;
        let seconds = began.elapsed().as_secs_f64();
        let samples: usize = found.iter().map(|slice| slice.timestamps.len()).sum();
        let rate = samples as f64 / seconds;
        println!(
            "{what}: {} series, {samples} samples in {:.1} ms, {:.1} million a second",
            found.len(),
            seconds * 1e3,
            rate / 1e6
        );
        if matchers.is_empty() {
            println!("figure parts_read_samples_per_s {rate:.0}");
        }
    }
    Ok(())
}

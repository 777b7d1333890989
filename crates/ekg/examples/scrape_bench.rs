//! CPU time of scraping 100 instances of 200 series each second, and of what asks meanwhile.
//!
//! `cargo run --release -p mainstay-ekg --example scrape_bench`

use std::{
    error::Error,
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use mainstay_core::{Span, Time, ports::Clock};
use mainstay_ekg::{
    Ekg,
    adapter::{Known, ScrapeConfig, Scraper, Target, Writer},
};
use mainstay_tsdb::{Head, HeadLimits};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
};
use tokio_util::sync::CancellationToken;

const INSTANCES: usize = 100;
const SERIES: usize = 200;
const SETTLE: Duration = Duration::from_secs(3);
const MEASURE: Duration = Duration::from_secs(20);
const LOOKS: u32 = 50;

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Time::from_millis(since.map_or(0, |since| since.as_millis() as i64))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return serve().await;
    }
    // The instances run in a process of their own, so that what they cost is not counted.
    let mut site = Command::new(std::env::current_exe()?)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(site.stdout.take().ok_or("no output")?).lines();
    let port = lines.next().ok_or("no port")??;
    let result = measure(&port).await;
    site.kill()?;
    site.wait()?;
    result
}

async fn measure(port: &str) -> Result<(), Box<dyn Error>> {
    let head = Head::new(HeadLimits::default());
    let ekg = Ekg::over(head.tsdb());
    let stop = CancellationToken::new();
    let (writer, writing) = Writer::new(ekg.clone(), head, stop.clone());
    let url = format!("http://127.0.0.1:{port}/metrics");
    let targets: Result<Vec<Target>, _> = (0..INSTANCES)
        .map(|at| {
            let instance = format!("shop-{at}");
            let labels = [
                ("job", "shop"),
                ("service", "shop"),
                ("version", "v1"),
                ("fabric", "lax"),
                ("instance", instance.as_str()),
            ];
            Target::new(&url, labels)
        })
        .collect();
    let (_targets, followed) = watch::channel(targets?);
    let scraper = Scraper::new(
        writer,
        Arc::new(Wall),
        ScrapeConfig::default(),
        Known::default(),
    )?;
    let tasks = [
        tokio::spawn(writing),
        tokio::spawn(scraper.run(followed, stop.clone())),
    ];
    tokio::time::sleep(SETTLE).await;
    let (began, cpu) = (Instant::now(), cpu_seconds()?);
    tokio::time::sleep(MEASURE).await;
    let share = (cpu_seconds()? - cpu) / began.elapsed().as_secs_f64();
    println!(
        "{INSTANCES} instances of {SERIES} series each second: {:.1} % of one CPU, {} refused",
        share * 100.0,
        ekg.refusals().total()
    );
    println!(
        "figure scrape_100_instances_cpu_percent {:.2}",
        share * 100.0
    );
    let now = Wall.now();
    for (what, selector) in [
        (
            "100 series",
            r#"http_requests_total{version="v1",path="/checkout/7"}"#,
        ),
        ("20,000 series", r#"http_requests_total{version="v1"}"#),
    ] {
        each(&format!("exact counts of {what} over 10 s"), || {
            let from = now - Span::from_secs(10);
            ekg.growth(selector, from, now).is_some()
        })?;
        each(&format!("rate of {what} over 10 s"), || {
            let expr = format!("sum(rate({selector}[10s]))");
            ekg.eval(&expr, now).is_some()
        })?;
    }
    stop.cancel();
    for task in tasks {
        task.await?;
    }
    Ok(())
}

fn each(what: &str, mut look: impl FnMut() -> bool) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    for _ in 0..LOOKS {
        if !look() {
            return Err(format!("{what}: silence").into());
        }
    }
    println!(
        "{what}: {:.2} ms",
        (began.elapsed() / LOOKS).as_secs_f64() * 1e3
    );
    Ok(())
}

/// User and system time of this process.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |number: usize| -> Result<f64, Box<dyn Error>> {
        Ok(fields.get(number - 3).ok_or("too short")?.parse()?)
    };
    Ok((ticks(14)? + ticks(15)?) / 100.0)
}

/// Counters that grow, until the reader goes.
async fn serve() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let began = Instant::now();
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut request = [0; 4_096];
            while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                let body = body(began.elapsed().as_millis());
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                if stream.write_all((head + &body).as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

fn body(grown: u128) -> String {
    let mut body = "# TYPE http_requests_total counter\n".to_owned();
    for at in 0..SERIES {
        let code = 200 + at % 5;
        // Writing to a string does not fail.
        let _ = writeln!(
            body,
            "http_requests_total{{path=\"/checkout/{at}\",method=\"POST\",code=\"{code}\"}} {}",
            grown + at as u128
        );
    }
    body
}

//! Measures the router against nginx, in one run: requests per CPU-second of each proxy's own process
//! with one worker, and the latency each adds at half of the router's peak.
//!
//! Run it with `cargo xtask bench router`. Without nginx it says so and measures the router alone.

mod load;
mod process;

use std::{net::SocketAddr, time::Duration};

use process::Proxy;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const ROUNDS: usize = 5;
const PEAK_FOR: Duration = Duration::from_secs(3);
const PACED_FOR: Duration = Duration::from_secs(2);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("upstream") => process::upstream(),
        Some("router") => process::router(&arguments[1..]),
        _ => measure(),
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What one proxy did in the closed loop.
#[derive(Default)]
struct Peak {
    per_cpu: Vec<f64>,
    per_second: Vec<f64>,
}

impl Peak {
    fn round(&mut self, proxy: &Proxy) -> Result<()> {
        let before = proxy.cpu_seconds()?;
        let done = load::closed(proxy.address, PEAK_FOR)?;
        let spent = proxy.cpu_seconds()? - before;
        self.per_cpu.push(done as f64 / spent);
        self.per_second.push(done as f64 / PEAK_FOR.as_secs_f64());
        Ok(())
    }

    fn line(&self, name: &str) {
        let rounds: Vec<String> = self.per_cpu.iter().map(|n| format!("{n:.0}")).collect();
        println!(
            "{name:<7} {:.0} requests per CPU-second (rounds {}), {:.0} a second",
            median(&mut self.per_cpu.clone()),
            rounds.join(" "),
            median(&mut self.per_second.clone()),
        );
    }
}

fn measure() -> Result<()> {
    println!("{}", process::machine());
    let (_upstreams, addresses) = process::start_upstreams()?;
    let router = process::start_router(&addresses)?;
    let nginx = process::start_nginx(&addresses)?;
    if nginx.is_none() {
        println!(
            "unmeasured router_share_of_nginx nginx is not installed (Debian: apt-get install nginx-light)"
        );
    }
    let (mut ours, mut theirs) = (Peak::default(), Peak::default());
    for proxy in std::iter::once(&router).chain(&nginx) {
        load::closed(proxy.address, Duration::from_secs(1))?;
    }
    for _ in 0..ROUNDS {
        ours.round(&router)?;
        if let Some(nginx) = &nginx {
            theirs.round(nginx)?;
        }
    }
    ours.line("router");
    if nginx.is_some() {
        theirs.line("nginx");
        let mut ratios: Vec<f64> = ours
            .per_cpu
            .iter()
            .zip(&theirs.per_cpu)
            .map(|(our, their)| our / their)
            .collect();
        let ratio = median(&mut ratios);
        println!(
            "ratio   {ratio:.2}; lowest {:.2}, highest {:.2}",
            ratios[0],
            ratios[ratios.len() - 1],
        );
        println!("figure router_share_of_nginx {ratio:.3}");
    }
    let rate = median(&mut ours.per_second) / 2.0;
    latency(rate, addresses[0], &router, nginx.as_ref())
}

/// Rounds of 99th percentiles. The quietest counts: other work on the machine only ever adds.
struct Late(Vec<f64>);

impl Late {
    fn line(mut self, name: &str, base: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let rounds: Vec<String> = self.0.iter().map(|ms| format!("{ms:.2}")).collect();
        let added = self.0[0] - base;
        println!(
            "{name:<7} p99 {:.2} ms, {added:.2} ms added (rounds {})",
            self.0[0],
            rounds.join(" ")
        );
        added
    }
}

fn latency(rate: f64, direct: SocketAddr, router: &Proxy, nginx: Option<&Proxy>) -> Result<()> {
    let mut rounds = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        rounds[0].push(load::paced(direct, rate, PACED_FOR)?);
        rounds[1].push(load::paced(router.address, rate, PACED_FOR)?);
        if let Some(nginx) = nginx {
            rounds[2].push(load::paced(nginx.address, rate, PACED_FOR)?);
        }
    }
    println!("at {rate:.0} requests a second, half of the router's peak:");
    let [direct, through, nginx] = rounds.map(Late);
    let base = direct.0.iter().copied().fold(f64::INFINITY, f64::min);
    direct.line("direct", base);
    if !nginx.0.is_empty() {
        nginx.line("nginx", base);
    }
    let added = through.line("router", base);
    println!("figure router_added_p99_ms {added:.3}");
    Ok(())
}

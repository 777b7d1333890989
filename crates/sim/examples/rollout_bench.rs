//! The figures of rollouts that need no real processes: exposure after a verdict with a thousand instances,
//! planning over two thousand services, false rollbacks and misses of the judge.
//!
//! Run with `cargo xtask bench rollout`, which holds the lines that begin with `figure` against the budgets; exits 1
//! where a run breaks an invariant or a service is not planned.

use std::{collections::BTreeMap, f64::consts::PI, process::ExitCode, time::Instant};

use mainstay_core::{
    Percent, ServiceName, Time,
    catalog::{HostSpec, ServiceSpec, Strategy},
    graph::Catalog,
    ports::{Grown, Growth},
};
use mainstay_deploy::{
    Model,
    evidence::{Arms, Bench, Tick},
    planning::{self, Overrides},
    rollout::Ruling,
};
use mainstay_sim::{Sized, rollout_of};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SERVICES: usize = 2_000;
const ROLLOUTS: u32 = 10_000;
const MISS_RUNS: u32 = 2_000;
/// Seconds that one A/A rollout is judged.
const SECONDS: u32 = 120;

fn main() -> ExitCode {
    let held = [exposure(), planning()];
    false_rollbacks();
    misses();
    if held.iter().all(|it| *it) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn exposure() -> bool {
    let mut all = true;
    for (what, strategy, bad_from) in [
        ("at_canary", Strategy::Canary, 0),
        ("half_replaced", Strategy::Canary, 500),
        ("all_replaced", Strategy::Canary, 1_000),
        ("blue_green", Strategy::BlueGreen, 1_000),
    ] {
        let size = Sized {
            instances: 1_000,
            hosts: 50,
            start_ms: 2_000,
            bad_from,
            strategy,
        };
        let report = rollout_of(1, size);
        match report.exposed_after_ms {
            Some(after_ms) => println!("figure rollback_{what}_1000_ms {after_ms}"),
            None => println!("{what}: no verdict, or no end of it"),
        }
        for violation in &report.violations {
            println!("{what}: {violation:?}");
        }
        all &= report.violations.is_empty();
    }
    all
}

fn planning() -> bool {
    let name = |n: usize| format!("s{n:04}").parse::<ServiceName>().expect("a name");
    let mut model = Model::default();
    let listen = r#"{"listen":"127.0.0.1:80"}"#;
    model.fabrics.insert(
        "lax".parse().expect("a name"),
        serde_json::from_str(listen).expect("json"),
    );
    for n in 1..=50 {
        let spec = HostSpec {
            fabric: "lax".parse().expect("a name"),
            rack: None,
        };
        model
            .hosts
            .insert(format!("h{n}").parse().expect("a name"), spec);
    }
    for n in 0..SERVICES {
        // Ten layers; each service calls five of the next, and waits a little less for them.
        let layer = n * 10 / SERVICES;
        let next = (layer + 1) * SERVICES / 10;
        let width = SERVICES / 10;
        let calls: Vec<serde_json::Value> = (0..5)
            .filter(|_| next < SERVICES)
            .map(|k| {
                let to = next + (n * 7 + k * 31) % width;
                serde_json::json!({"service": name(to), "timeout": format!("{}ms", 2_000 - 100 * (layer + 1))})
            })
            .collect();
        let spec = serde_json::json!({
            "owner": "team", "timeout": format!("{}ms", 2_000 - 100 * layer), "instances": {"lax": 10},
            "run": {"artifacts": "/a"}, "dependencies": calls,
        });
        model.services.insert(
            name(n),
            serde_json::from_value::<ServiceSpec>(spec).expect("a spec"),
        );
    }
    let to = "v2".parse().expect("a version");
    let began = Instant::now();
    let catalog = Catalog {
        services: model.services.clone(),
        hosts: model.hosts.clone(),
        fabrics: model
            .fabrics
            .keys()
            .map(|it| it.as_str().parse().expect("a name"))
            .collect(),
        policies: vec![],
        responders: vec![],
        schedules: std::collections::BTreeMap::new(),
    };
    let flaws = catalog.flaws();
    let mut planned = 0;
    for (service, spec) in &model.services {
        let policy = planning::policy(&model, spec, &Overrides::default()).expect("a policy");
        let plan = planning::plan(&model, service, spec, &to, &policy, Time::from_millis(0));
        planned += usize::from(plan.is_ok());
    }
    let took = began.elapsed();
    println!(
        "{planned} services with {} edges planned; {} flaws",
        catalog
            .services
            .values()
            .map(|it| it.dependencies.len())
            .sum::<usize>(),
        flaws.len()
    );
    println!(
        "figure planning_2000_services_ms {:.1}",
        took.as_secs_f64() * 1e3
    );
    planned == SERVICES && flaws.is_empty()
}

/// One second of what routers count, ready to be filled in again and again.
struct Counted {
    arms: Arms,
    requests: Growth,
    buckets: Growth,
}

const ARMS: [(&str, &str); 3] = [("v2", "s-lax-7"), ("v1", "s-lax-1"), ("v1", "s-lax-8")];
const ROUTES: [&str; 2] = ["read", "write"];

impl Counted {
    fn tick(&self) -> Tick<'_> {
        Tick::of_users(&self.requests, &self.buckets)
    }

    fn new() -> Self {
        let labelled = |pairs: &[(&str, &str)]| Grown {
            labels: pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            by: 0,
        };
        let (mut requests, mut buckets) = (Vec::new(), Vec::new());
        for (version, instance) in ARMS {
            for route in ROUTES {
                let base = [
                    ("version", version),
                    ("instance", instance),
                    ("fabric", "lax"),
                    ("route", route),
                ];
                for code in ["200", "502"] {
                    requests.push(labelled(&[&base[..], &[("code", code)]].concat()));
                }
                for le in ["0.1", "0.5", "+Inf"] {
                    buckets.push(labelled(&[&base[..], &[("le", le)]].concat()));
                }
            }
        }
        let whole = |series| Growth {
            series,
            whole: true,
        };
        Self {
            arms: Arms {
                canary: "v2".to_owned(),
                control: "v1".to_owned(),
                young: vec!["s-lax-8".to_owned()],
            },
            requests: whole(requests),
            buckets: whole(buckets),
        }
    }

    /// Fills in one second: requests, share that fails, share that is slow, for each arm.
    fn fill(&mut self, rng: &mut ChaCha8Rng, of: [(f64, f64, f64); 3]) {
        for (arm, (rps, bad, slow)) in of.into_iter().enumerate() {
            for route in 0..ROUTES.len() {
                let at = arm * ROUTES.len() + route;
                let total = poisson(rng, rps / ROUTES.len() as f64);
                let failed = poisson(rng, total as f64 * bad).min(total);
                let late = poisson(rng, total as f64 * slow).min(total);
                self.requests.series[at * 2].by = total - failed;
                self.requests.series[at * 2 + 1].by = failed;
                self.buckets.series[at * 3].by = total - late;
                self.buckets.series[at * 3 + 1].by = total;
                self.buckets.series[at * 3 + 2].by = total;
            }
        }
    }
}

/// A Poisson count; beyond forty the normal distribution is near enough.
fn poisson(rng: &mut ChaCha8Rng, mean: f64) -> u64 {
    if mean > 40.0 {
        let (a, b): (f64, f64) = (rng.random_range(1e-12..1.0), rng.random_range(0.0..1.0));
        let normal = (-2.0 * a.ln()).sqrt() * (2.0 * PI * b).cos();
        return (mean + mean.sqrt() * normal).round().max(0.0) as u64;
    }
    let (mut count, mut left, limit) = (0, 1.0, (-mean).exp());
    loop {
        left *= rng.random_range(0.0..1.0_f64);
        if left <= limit {
            return count;
        }
        count += 1;
    }
}

/// Upper 95 % bound of a rate of which `found` of `of` were seen (exact Poisson).
fn upper(found: u32, of: u32) -> f64 {
    let below = |mean: f64| {
        let (mut term, mut sum) = ((-mean).exp(), 0.0);
        for n in 0..=found {
            sum += term;
            term *= mean / f64::from(n + 1);
        }
        sum
    };
    let (mut low, mut high) = (0.0, f64::from(found) * 3.0 + 10.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if below(middle) > 0.05 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high / f64::from(of)
}

fn false_rollbacks() {
    let (mut rolled_back, mut passed) = (0_u32, 0_u32);
    let mut counted = Counted::new();
    for seed in 0..ROLLOUTS {
        let mut rng = ChaCha8Rng::seed_from_u64(u64::from(seed));
        let mut bench = Bench::new(Percent::new(1.0).expect("a share")).expect("a judge");
        let (phase, period) = (
            rng.random_range(0.0..2.0 * PI),
            rng.random_range(60.0..600.0),
        );
        let (base_bad, base_slow) = (rng.random_range(0.0..0.004), rng.random_range(0.0..0.02));
        let share = [0.01, 0.05, 0.25][rng.random_range(0..3)];
        let (mut shock_until, mut shock) = (0, (0.0, 0.0));
        let mut rulings = (false, false);
        for second in 0..SECONDS {
            if second >= shock_until {
                shock = (0.0, 0.0);
                if rng.random_range(0..60) == 0 {
                    shock = (rng.random_range(0.0..0.5), rng.random_range(0.0..0.5));
                    shock_until = second + rng.random_range(2..15);
                }
            }
            let day = 1.0 + 0.5 * (phase + 2.0 * PI * f64::from(second) / period).sin();
            let (all, bad, slow) = (400.0 * day, base_bad + shock.0, base_slow + shock.1);
            let young = all * 0.02;
            let of = [
                (all * share, bad, slow),
                (all * (1.0 - share) - young, bad, slow),
                (young, bad, slow),
            ];
            counted.fill(&mut rng, of);
            bench
                .observe(&counted.arms, counted.tick())
                .expect("counts");
            let ruling = bench.rule().ruling;
            rulings.0 |= ruling == Ruling::Harm;
            rulings.1 |= ruling == Ruling::Pass;
            if rulings.0 {
                break;
            }
        }
        rolled_back += u32::from(rulings.0);
        passed += u32::from(rulings.1);
    }
    let bound = upper(rolled_back, ROLLOUTS);
    println!(
        "{rolled_back} of {ROLLOUTS} A/A rollouts of {SECONDS} s rolled back; {passed} passed"
    );
    println!("figure false_rollbacks_upper_bound {bound:.6}");
}

fn misses() {
    let mut counted = Counted::new();
    for percent in [1_u32, 5, 20] {
        let errors = f64::from(percent) / 100.0;
        let mut found: Vec<u32> = Vec::new();
        for seed in 0..MISS_RUNS {
            let mut rng = ChaCha8Rng::seed_from_u64(u64::from(seed) + 1_000_000);
            let mut bench = Bench::new(Percent::new(1.0).expect("a share")).expect("a judge");
            for second in 1..=60 {
                let of = [
                    (100.0, errors, 0.005),
                    (300.0, 0.0005, 0.005),
                    (20.0, 0.0005, 0.005),
                ];
                counted.fill(&mut rng, of);
                bench
                    .observe(&counted.arms, counted.tick())
                    .expect("counts");
                if bench.rule().ruling == Ruling::Harm {
                    found.push(second);
                    break;
                }
            }
        }
        found.sort_unstable();
        let missed = 1.0 - found.len() as f64 / f64::from(MISS_RUNS);
        let at = |share: f64| {
            found
                .get((share * (found.len().max(1) - 1) as f64) as usize)
                .copied()
                .unwrap_or(0)
        };
        println!(
            "{percent} % errors, 100 canary requests a second: found after {} s (median), {} s (95 %)",
            at(0.5),
            at(0.95)
        );
        println!("figure missed_at_{percent}_percent_errors {missed:.4}");
    }
}

//! When users arrive, who they are, and what they ask for.
//!
//! Guarantees: a Poisson process whose rate follows the daily wave, by thinning (Lewis and Shedler,
//! 1979); the same seed gives the same users at the same instants. Never looks at the site's answers.
//! Example: rate 100 with `--diurnal 0.5,600` swings between 50 and 150 a second.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, ensure};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::random::{self, Purpose};

/// The report has one row a route.
const ROUTES_MAX: usize = 64;

/// A daily wave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Diurnal {
    amplitude: f64,
    period_s: f64,
}

impl Diurnal {
    fn factor(self, second: f64) -> f64 {
        1.0 + self.amplitude * (std::f64::consts::TAU * second / self.period_s).sin()
    }
}

impl FromStr for Diurnal {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (amplitude, period) = text
            .split_once(',')
            .context("a wave is AMPLITUDE,PERIOD_S")?;
        let wave = Self {
            amplitude: amplitude.parse()?,
            period_s: period.parse()?,
        };
        ensure!(
            (0.0..=1.0).contains(&wave.amplitude),
            "amplitude must lie between 0 and 1"
        );
        ensure!(
            (1.0..=86_400.0).contains(&wave.period_s),
            "period must lie between 1 and 86400 seconds"
        );
        Ok(wave)
    }
}

/// Routes and how often each is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RouteWeights(Vec<(String, f64)>);

impl RouteWeights {
    /// The routes, in the order given.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> usize {
        let total: f64 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut left = rng.random::<f64>() * total;
        for (index, (_, weight)) in self.0.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        self.0.len() - 1
    }
}

impl FromStr for RouteWeights {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut routes: Vec<(String, f64)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = match part.rsplit_once('=') {
                Some((name, weight)) => (name, weight.parse()?),
                None => (part, 1.0),
            };
            ensure!(
                name.starts_with('/') && name.parse::<http::uri::PathAndQuery>().is_ok(),
                "{name:?} is not a path"
            );
            ensure!(
                weight > 0.0 && weight <= 1e6,
                "the weight of {name} must lie between 0 and a million"
            );
            ensure!(
                routes.iter().all(|(other, _)| other != name),
                "{name} is given twice"
            );
            routes.push((name.to_owned(), weight));
        }
        ensure!(
            routes.len() <= ROUTES_MAX,
            "at most {ROUTES_MAX} routes are possible"
        );
        Ok(Self(routes))
    }
}

/// One user's visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    /// After the begin of the run.
    pub(super) after: Duration,
    /// Index into the routes.
    pub(super) route: usize,
    pub(super) user: u32,
    /// How many arrived before.
    pub(super) number: u64,
}

/// All arrivals, in order.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    rate: f64,
    duration_s: f64,
    diurnal: Option<Diurnal>,
    routes: &'a RouteWeights,
    users: u32,
    second: f64,
    number: u64,
    arrival: ChaCha8Rng,
    route: ChaCha8Rng,
    user: ChaCha8Rng,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        rate: f64,
        duration_s: f64,
        diurnal: Option<Diurnal>,
        routes: &'a RouteWeights,
        users: u32,
        seed: u64,
    ) -> Self {
        let stream = |purpose| random::stream(seed, "load", purpose);
        Self {
            rate,
            duration_s,
            diurnal,
            routes,
            users,
            second: 0.0,
            number: 0,
            arrival: stream(Purpose::Arrival),
            route: stream(Purpose::Route),
            user: stream(Purpose::User),
        }
    }

    fn next_second(&mut self) -> Option<f64> {
        let peak = 1.0 + self.diurnal.map_or(0.0, |wave| wave.amplitude);
        loop {
            self.second += random::exponential(&mut self.arrival) / (self.rate * peak);
            if self.second >= self.duration_s {
                return None;
            }
            let factor = self.diurnal.map_or(1.0, |wave| wave.factor(self.second));
            if self.arrival.random::<f64>() * peak < factor {
                return Some(self.second);
            }
        }
    }
}

impl Iterator for Plan<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let second = self.next_second()?;
        let arrival = Arrival {
            after: Duration::from_secs_f64(second),
            route: self.routes.draw(&mut self.route),
            user: self.user.random_range(0..self.users),
            number: self.number,
        };
        self.number += 1;
        Some(arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(diurnal: Option<Diurnal>, seed: u64) -> Vec<Arrival> {
        let routes = "/feed/home=3,/feed/updates=1".parse().unwrap();
        Plan::new(1_000.0, 20.0, diurnal, &routes, 50, seed).collect()
    }

    #[test]
    fn the_plan_follows_from_the_seed() {
        assert_eq!(arrivals(None, 1), arrivals(None, 1));
        assert_ne!(arrivals(None, 1), arrivals(None, 2));
    }

    #[test]
    fn arrivals_have_the_rate_and_the_mix_that_was_asked_for() {
        let plan = arrivals(None, 3);
        let count = plan.len() as f64;
        // Five standard deviations of a Poisson count of 20,000.
        assert!((count - 20_000.0).abs() < 5.0 * 20_000.0_f64.sqrt());
        let home = plan.iter().filter(|arrival| arrival.route == 0).count() as f64;
        assert!((home / count - 0.75).abs() < 0.02);
        assert!(plan.is_sorted_by_key(|arrival| arrival.after));
        assert!(plan.iter().all(|arrival| arrival.user < 50));
    }

    #[test]
    fn the_first_half_of_a_wave_is_busier_than_the_second() {
        let plan = arrivals(Some("0.5,20".parse().unwrap()), 4);
        let half = Duration::from_secs(10);
        let first = plan.iter().filter(|arrival| arrival.after < half).count() as f64;
        let second = plan.len() as f64 - first;
        // 1 ± 0.5 · 2/π.
        assert!(
            (first / second - 1.318_3 / 0.681_7).abs() < 0.15,
            "{first} {second}"
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "feed", "/a=0", "/a=x", "/a,/a", "/a b=1", "/a=NaN"] {
            assert!(text.parse::<RouteWeights>().is_err(), "{text:?}");
        }
        for text in ["1", "2,10", "0.5,0", "x,y", "NaN,5"] {
            assert!(text.parse::<Diurnal>().is_err(), "{text:?}");
        }
    }
}

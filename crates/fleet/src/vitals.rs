//! What an agent says of itself, for a scrape.
//!
//! **Guarantees.** Counters begin with the agent and only grow; reading never waits for a turn that is under
//! way. **Never** holds more than a handful of numbers.
//!
//! ```
//! use mainstay_fleet::vitals::Vitals;
//! let vitals = Vitals::default();
//! assert!(!vitals.is_ready());
//! assert!(vitals.text().contains("mainstay_agent_restarts_total 0\n"));
//! ```

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainstay_wire::agent::{FromAgent, InstanceState};

use crate::host::Told;

/// Upper ends of the turns' buckets, in seconds: a look takes milliseconds, a start may read a large file.
const BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];
/// All that an instance can be, so that none of the series comes and goes.
const STATES: [&str; 6] = [
    "failed", "gone", "running", "starting", "stopping", "waiting",
];

/// Numbers shared between the agent and whoever serves them; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Vitals(Arc<Mutex<Numbers>>);

#[derive(Debug, Default)]
struct Numbers {
    instances: BTreeMap<&'static str, u64>,
    restarts: u64,
    exits: u64,
    turns: u64,
    turns_seconds: f64,
    buckets: [u64; BUCKETS.len()],
}

impl Vitals {
    /// Whether the agent has looked at its host.
    pub fn is_ready(&self) -> bool {
        self.numbers().turns > 0
    }

    /// In the Prometheus text format.
    pub fn text(&self) -> String {
        let numbers = self.numbers();
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
            let name = format!("mainstay_agent_{name}");
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (rest, value) in samples {
                let _ = writeln!(text, "{name}{rest} {value}");
            }
        };
        let instances: Vec<(String, f64)> = STATES
            .iter()
            .map(|state| {
                let count = numbers.instances.get(state).copied().unwrap_or(0);
                (format!("{{state=\"{state}\"}}"), count as f64)
            })
            .collect();
        let help = "Instances of this host by state.";
        family("instances", "gauge", help, &instances);
        let one = |value: u64| [(String::new(), value as f64)];
        let help = "Processes started in place of one that ended without an order.";
        family("restarts_total", "counter", help, &one(numbers.restarts));
        let help = "Processes that ended without an order.";
        family(
            "unordered_exits_total",
            "counter",
            help,
            &one(numbers.exits),
        );
        let mut turns: Vec<(String, f64)> = BUCKETS
            .iter()
            .zip(numbers.buckets)
            .map(|(end, count)| (format!("_bucket{{le=\"{end}\"}}"), count as f64))
            .collect();
        turns.push(("_bucket{le=\"+Inf\"}".to_owned(), numbers.turns as f64));
        turns.push(("_sum".to_owned(), numbers.turns_seconds));
        turns.push(("_count".to_owned(), numbers.turns as f64));
        let help = "How long a look at the host took, with what was started and stopped in it.";
        family("turn_duration_seconds", "histogram", help, &turns);
        text
    }

    pub(crate) fn turned(&self, took: Duration, told: &Told) {
        let mut numbers = self.numbers();
        let seconds = took.as_secs_f64();
        numbers.turns += 1;
        numbers.turns_seconds += seconds;
        for (end, count) in BUCKETS.iter().zip(&mut numbers.buckets) {
            *count += u64::from(seconds <= *end);
        }
        numbers.restarts += told.restarts;
        numbers.exits += told.exits;
        if let Some(FromAgent::Report { instances, .. }) = told.reports.last() {
            numbers.instances.clear();
            for report in instances {
                *numbers.instances.entry(word(&report.state)).or_default() += 1;
            }
        }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        // Numbers alone: those of a thread that died are as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn word(state: &InstanceState) -> &'static str {
    match state {
        InstanceState::Waiting { .. } => "waiting",
        InstanceState::Starting => "starting",
        InstanceState::Running => "running",
        InstanceState::Stopping => "stopping",
        InstanceState::Gone => "gone",
        InstanceState::Failed { .. } => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_falls_into_every_bucket_that_is_long_enough() {
        let vitals = Vitals::default();
        let told = Told {
            restarts: 1,
            exits: 2,
            ..Told::default()
        };
        vitals.turned(Duration::from_millis(30), &told);
        vitals.turned(Duration::from_mins(1), &Told::default());
        let text = vitals.text();
        for line in [
            "mainstay_agent_turn_duration_seconds_bucket{le=\"0.025\"} 0",
            "mainstay_agent_turn_duration_seconds_bucket{le=\"0.05\"} 1",
            "mainstay_agent_turn_duration_seconds_bucket{le=\"+Inf\"} 2",
            "mainstay_agent_turn_duration_seconds_count 2",
            "mainstay_agent_restarts_total 1",
            "mainstay_agent_unordered_exits_total 2",
            "mainstay_agent_instances{state=\"running\"} 0",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} in\n{text}");
        }
        assert!(vitals.is_ready());
    }
}

//! What is told of ourselves, under the original's names.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;

use crate::{dispatch::Fate, machine::Machine, silence::SilenceState};

#[derive(Default)]
struct Counts {
    received: BTreeMap<&'static str, u64>,
    invalid: u64,
    /// By kind: tried, failed, seconds.
    sent: BTreeMap<&'static str, (u64, u64, f64)>,
    suppressed: BTreeMap<&'static str, u64>,
    reloaded: bool,
    reloaded_at: f64,
}

/// The counters.
#[derive(Default)]
pub(super) struct Metrics(Mutex<Counts>);

impl Metrics {
    fn with(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn received(&self, firing: usize, resolved: usize, invalid: usize) {
        self.with(|it| {
            *it.received.entry("firing").or_default() += firing as u64;
            *it.received.entry("resolved").or_default() += resolved as u64;
            it.invalid += invalid as u64;
        });
    }

    pub(super) fn sent(&self, kind: &'static str, well: bool, secs: f64) {
        self.with(|it| {
            let (tried, failed, seconds) = it.sent.entry(kind).or_default();
            *tried += 1;
            *failed += u64::from(!well);
            *seconds += secs;
        });
    }

    pub(super) fn noted(&self, fate: &Fate) {
        let reason = match fate {
            Fate::Inhibited(_) => "inhibition",
            Fate::Silenced(_) => "silence",
            Fate::Muted(_) => "time_interval",
            Fate::Waiting
            | Fate::Notified
            | Fate::Known
            | Fate::Sending
            | Fate::Failed(_)
            | Fate::NeverTold
            | Fate::NoChannel => return,
        };
        self.with(|it| *it.suppressed.entry(reason).or_default() += 1);
    }

    pub(super) fn reloaded(&self, well: bool, now: Timestamp) {
        self.with(|it| {
            it.reloaded = well;
            if well {
                it.reloaded_at = now.as_millisecond() as f64 / 1e3;
            }
        });
    }

    /// All of them, as Prometheus reads them.
    pub(super) fn text(&self, machine: &Machine, now: Timestamp) -> String {
        let mut out = String::new();
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut active, mut suppressed) = (0_u64, 0_u64);
        for (_, alert) in machine
            .alerts()
            .iter()
            .filter(|(_, it)| !it.is_resolved(now))
        {
            let is_silent = !machine.silences().silencing(&alert.labels, now).is_empty()
                || !machine.inhibiting(&alert.labels, now).is_empty();
            *(if is_silent {
                &mut suppressed
            } else {
                &mut active
            }) += 1;
        }
        let by = |label: &str, values: &[(&str, f64)]| -> Vec<(String, f64)> {
            let values = values.iter();
            values
                .map(|(value, it)| (format!("{{{label}=\"{value}\"}}"), *it))
                .collect()
        };
        let silences = [
            SilenceState::Active,
            SilenceState::Pending,
            SilenceState::Expired,
        ]
        .map(|state| {
            let all = machine
                .silences()
                .iter()
                .filter(|it| it.state(now) == state);
            (state.word(), all.count() as f64)
        });
        let of = |part: fn(&(u64, u64, f64)) -> f64| -> Vec<(&str, f64)> {
            counts
                .sent
                .iter()
                .map(|(kind, it)| (*kind, part(it)))
                .collect()
        };
        let received: Vec<_> = counts
            .received
            .iter()
            .map(|(k, it)| (*k, *it as f64))
            .collect();
        let kept_back: Vec<_> = counts
            .suppressed
            .iter()
            .map(|(k, it)| (*k, *it as f64))
            .collect();
        let one = |value: f64| vec![(String::new(), value)];
        let groups = machine.dispatch().groups().count() as f64;
        let all = [
            (
                "alertmanager_alerts",
                "gauge",
                by(
                    "state",
                    &[("active", active as f64), ("suppressed", suppressed as f64)],
                ),
            ),
            (
                "alertmanager_alerts_received_total",
                "counter",
                by("status", &received),
            ),
            (
                "alertmanager_alerts_invalid_total",
                "counter",
                one(counts.invalid as f64),
            ),
            (
                "alertmanager_notifications_total",
                "counter",
                by("integration", &of(|it| it.0 as f64)),
            ),
            (
                "alertmanager_notifications_failed_total",
                "counter",
                by("integration", &of(|it| it.1 as f64)),
            ),
            (
                "alertmanager_notification_latency_seconds_sum",
                "counter",
                by("integration", &of(|it| it.2)),
            ),
            (
                "alertmanager_notification_latency_seconds_count",
                "counter",
                by("integration", &of(|it| it.0 as f64)),
            ),
            (
                "alertmanager_notifications_suppressed_total",
                "counter",
                by("reason", &kept_back),
            ),
            (
                "alertmanager_notifications_under_way",
                "gauge",
                one(machine.under_way() as f64),
            ),
            ("alertmanager_silences", "gauge", by("state", &silences)),
            (
                "alertmanager_dispatcher_aggregation_groups",
                "gauge",
                one(groups),
            ),
            (
                "alertmanager_config_last_reload_successful",
                "gauge",
                one(f64::from(u8::from(counts.reloaded))),
            ),
            (
                "alertmanager_config_last_reload_success_timestamp_seconds",
                "gauge",
                one(counts.reloaded_at),
            ),
            (
                "alertmanager_build_info",
                "gauge",
                by("version", &[(env!("CARGO_PKG_VERSION"), 1.0)]),
            ),
        ];
        for (name, kind, samples) in all {
            // Writing into a text does not fail.
            let _ = writeln!(out, "# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        }
        out
    }
}

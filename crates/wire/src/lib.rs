//! Versioned messages between server, agent and router.
//!
//! One JSON object a WebSocket text frame. **Guarantees.** Readers accept the previous version: every
//! field added later has a default, none changes its meaning. An order names its generation, and a
//! receiver ignores orders of a generation older than the last it took. **Never** carries a shell line.

pub mod agent;
pub mod hub;
pub mod router;

use serde::{Deserialize, Serialize};

/// Version of the messages this build writes.
pub const WIRE_VERSION: u16 = 1;
/// Largest frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Orders the orders: a new leader has a higher epoch, so what an old one sends late is refused.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Generation {
    /// The fencing epoch of the server's lease.
    pub epoch: u64,
    /// Counts up within an epoch.
    pub counter: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_epoch_is_newer_whatever_the_counter_says() {
        let old = Generation {
            epoch: 1,
            counter: 900,
        };
        let new = Generation {
            epoch: 2,
            counter: 1,
        };
        assert!(new > old);
    }

    #[test]
    fn a_backend_written_without_the_later_fields_is_still_read() {
        let text = r#"{"instance":"voyager-lax-1","incarnation":1,"version":"v1","address":"127.0.0.1:9000"}"#;
        let backend: router::Backend = serde_json::from_str(text).unwrap();
        assert_eq!(
            (backend.share, backend.draining, backend.capacity_rps),
            (1.0, false, None)
        );
    }

    #[test]
    fn routes_written_before_there_were_probes_and_client_versions_are_still_read() {
        let text = r#"{"service":"voyager","prefix":"/voyager/","timeout":"1s","health":"/healthz",
            "bulkhead":{"connections":4,"inFlight":4},"slo":null,"weights":{"v1":10000},"backends":[]}"#;
        let routes: router::ServiceRoutes = serde_json::from_str(text).unwrap();
        assert_eq!(routes.probing, None);
        assert_eq!(routes.client_version_header, "x-client-version");
        let probing = r#"{"change":"chg-1","probes":[{"path":"/voyager/home"}],"canary":["voyager-lax-7"],
            "control":["voyager-lax-8"],"atMost":"30m"}"#;
        let probing: router::Probing = serde_json::from_str(probing).unwrap();
        let text = serde_json::to_string(&probing).unwrap();
        assert_eq!(
            serde_json::from_str::<router::Probing>(&text).unwrap(),
            probing
        );
    }

    #[test]
    fn a_hello_of_an_agent_without_metrics_is_still_read() {
        let text = r#"{"type":"hello","wire":1,"host":"h1","generation":{"epoch":1,"counter":2}}"#;
        let agent::FromAgent::Hello { metrics_url, .. } = serde_json::from_str(text).unwrap()
        else {
            panic!("a hello was written");
        };
        assert_eq!(metrics_url, "");
    }

    #[test]
    fn a_report_reads_back_what_it_writes() {
        let report = agent::FromAgent::Report {
            at: mainstay_core::Time::from_millis(5),
            generation: Generation {
                epoch: 1,
                counter: 2,
            },
            instances: vec![agent::InstanceReport {
                instance: "voyager-lax-1".parse().unwrap(),
                service: "voyager".parse().unwrap(),
                version: "v1".parse().unwrap(),
                incarnation: 3,
                state: agent::InstanceState::Failed {
                    because: "port 9000 is taken".into(),
                },
                port: Some(9000),
                process: None,
                artifact_sha256: None,
                unordered_exits: 1,
                killed_last: false,
            }],
            found: vec![agent::Found {
                service: "shop".parse().unwrap(),
                executable: "/usr/sbin/nginx".to_owned(),
                port: Some(80),
                process: agent::ProcessFacts {
                    boot_id: "b".to_owned(),
                    pid: 7,
                    start_ticks: 8,
                    started_at: mainstay_core::Time::from_millis(9),
                    exe_sha256: "aa".to_owned(),
                    listening_port: Some(80),
                    rss_bytes: 1,
                    open_files: 2,
                },
            }],
        };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(
            serde_json::from_str::<agent::FromAgent>(&text).unwrap(),
            report
        );
    }
}

//! A judgement as a finding: numbers, limit, and what would change it.
//!
//! Guarantees: the sample is printed, and how much of it were probes. Never rounds a count.

use mainstay_core::{Finding, Outcome, guard::NO_DATA};
use mainstay_stats::{Evidence, Judge, Judgement, smallest_detectable};

use super::sample::Probed;

fn percent(share: Option<f64>) -> String {
    share.map_or_else(
        || NO_DATA.to_owned(),
        |share| format!("{:.2} %", share * 100.0),
    )
}

fn sample(rate: Option<f64>, total: u64, probes: u64) -> String {
    let of_them = match probes {
        0 => String::new(),
        probes => format!(" requests, {probes} of them probes,"),
    };
    format!("{} of {total}{of_them}", percent(rate))
}

fn numbers(what: &str, evidence: &Evidence, probed: Probed, is_harm: bool) -> String {
    // The bound holds while the rates stay; harm that began later has left it behind.
    let most = if evidence.upper_bound < 1.0 && !is_harm {
        format!("; worse by at most {}", percent(Some(evidence.upper_bound)))
    } else {
        String::new()
    };
    format!(
        "{what}: {} with the new version, {} with the old one{most}",
        sample(evidence.canary_rate, evidence.canary.total, probed.canary),
        sample(
            evidence.control_rate,
            evidence.control.total,
            probed.control
        ),
    )
}

/// What a person who decides without waiting may rely on: the smallest rate of bad requests that those seen so
/// far would have shown.
fn detectable(evidence: &Evidence) -> String {
    let ratio = evidence.control.total as f64 / (evidence.canary.total.max(1)) as f64;
    let baseline = evidence.control_rate.unwrap_or(0.0);
    smallest_detectable(
        evidence.canary.total,
        baseline,
        Judge::default().alpha_harm,
        ratio,
    )
    .map_or_else(
        || "; so few as there were would show no rate at all".to_owned(),
        |rate| {
            format!(
                "; those so far would have shown {} as harm",
                percent(Some(rate))
            )
        },
    )
}

/// What `judgement` on `what` comes to, where `probed` of its sample were probes.
pub(super) fn finding(signal: &str, what: &str, judgement: &Judgement, probed: Probed) -> Finding {
    let evidence = judgement.evidence();
    let (outcome, remedy) = match judgement {
        Judgement::NonInferior { .. } => (Outcome::Pass, String::new()),
        Judgement::Harmful { .. } => (Outcome::Fail, "mend the new version".to_owned()),
        Judgement::BothFailing { .. } => (
            Outcome::InsufficientEvidence,
            "mend what both versions depend on, then resume".to_owned(),
        ),
        Judgement::Insufficient {
            needed_requests, ..
        } => (
            Outcome::InsufficientEvidence,
            needed_requests.map_or_else(
                || "no number of requests would show it as things stand".to_owned(),
                |needed| {
                    format!(
                        "about {needed} more requests to the new version{}",
                        detectable(evidence)
                    )
                },
            ),
        ),
    };
    Finding {
        signal: signal.to_owned(),
        outcome,
        value: numbers(what, evidence, probed, outcome == Outcome::Fail),
        limit: format!("no worse by {}", percent(Some(evidence.margin))),
        remedy,
    }
}

//! What is blocked, and what would unblock it.
//!
//! Guarantees: whatever waits for a person, for room, or for a signal that says nothing is listed with why and with
//! what to type; so is a service that was to be released and does not run. Never lists what only takes its time.

use std::collections::BTreeMap;

use mainstay_change::freeze::in_force;
use mainstay_core::{ChangeId, Finding, Outcome, ServiceName, Time};
use serde_json::{Value, json};

use super::{Engine, lock, trouble};
use crate::{
    action,
    desired::Desired,
    model::{Model, Track},
    rollout::DWELL,
    site::Seen,
};

impl Engine {
    pub(super) fn blocked(
        &self,
        model: &Model,
        desired: &BTreeMap<ServiceName, Desired>,
        seen: &Seen,
        now: Time,
    ) -> Vec<Value> {
        let rollouts = model.newest_first().into_iter();
        let open = rollouts.filter(|track| track.ended_at.is_none());
        let mut blocked: Vec<Value> = open.filter_map(|it| self.rollout_waits(it, now)).collect();
        blocked.extend(self.unreleased(model));
        for track in model.newest_actions() {
            let waits = track.state.waits_for().filter(|_| track.ended_at.is_none());
            blocked.extend(waits.map(|why| {
                json!({
                    "what": track.change.title,
                    "because": why,
                    "remedy": action_remedy(track, &track.change.id),
                    "change": track.change.id,
                    "service": track.state.plan().service,
                })
            }));
        }
        for track in model.newest_limits() {
            let waits = track.state.waits_for().filter(|_| track.ended_at.is_none());
            blocked.extend(waits.map(|why| {
                json!({
                    "what": track.change.title,
                    "because": why,
                    "remedy": format!("it ends by itself; or mainstay rollout abort {}", track.change.id),
                    "change": track.change.id,
                    "service": track.state.plan().service,
                })
            }));
        }
        let freezes = model.freezes.iter();
        blocked.extend(
            freezes
                .filter(|(_, spec)| in_force(spec, now))
                .map(|(name, freeze)| {
                    json!({
                        "what": format!("freeze {name}"),
                        "because": match freeze.until {
                            Some(until) => format!("{}, until {until}", freeze.reason),
                            None => freeze.reason.clone(),
                        },
                        "remedy": "wait, or delete it with a reason",
                    })
                }),
        );
        blocked.extend(trouble::found(desired, seen, now));
        blocked
    }

    fn rollout_waits(&self, track: &Track, now: Time) -> Option<Value> {
        let id = &track.change.id;
        let (because, remedy) = match track.state.waits_for() {
            Some(why) if track.state.has_begun() => (
                why,
                format!("mainstay why {id}; then mainstay rollout resume|promote|abort {id}"),
            ),
            Some(why) => (
                why,
                format!(
                    "mainstay why {id}; it begins by itself once this passes, or mainstay rollout abort {id}"
                ),
            ),
            None => self.unmeasured(track, now)?,
        };
        Some(json!({
            "what": track.change.title,
            "because": because,
            "remedy": remedy,
            "change": id,
            "service": track.state.plan().service,
        }))
    }

    /// A gate that waits because a signal says nothing, and what that needs. One that only needs more is left alone:
    /// it comes with time.
    fn unmeasured(&self, track: &Track, now: Time) -> Option<(String, String)> {
        let state = &track.state;
        if !state.is_judging() || now.since(state.since()) < DWELL {
            return None;
        }
        let id = &track.change.id;
        let ruled = lock(&self.0.evidence).get(id)?.ruled.clone()?;
        let missing = || ruled.findings.iter().filter(|it| it.is_missing());
        let said = |it: &Finding| format!("`{}` says nothing: {}", it.signal, it.value);
        let signals: Vec<String> = missing().map(said).collect();
        let remedies: Vec<&str> = missing().map(|it| it.remedy.as_str()).collect();
        if signals.is_empty() {
            return None;
        }
        Some((
            format!("{} waits for evidence: {}", ruled.step, signals.join("; ")),
            format!(
                "{}; or mainstay rollout promote|abort {id}",
                remedies.join("; ")
            ),
        ))
    }
}

/// What unblocks an action: what its verdict asks for, then what a person can say.
fn action_remedy(track: &Track<action::State>, id: &ChangeId) -> String {
    let findings = track.verdicts.last().map_or(&[][..], |it| &it.findings[..]);
    let remedies: Vec<&str> = findings
        .iter()
        .filter(|it| it.outcome != Outcome::Pass && !it.remedy.is_empty())
        .map(|it| it.remedy.as_str())
        .collect();
    let verbs = format!("mainstay rollout resume|abort {id}");
    if remedies.is_empty() {
        verbs
    } else {
        format!("{}; or {verbs}", remedies.join("; "))
    }
}

//! The plan of a limit test: immutable, made once from catalog and measurements.

use mainstay_core::{InstanceName, ServiceName, Span, Version, catalog::Slo};
use serde::{Deserialize, Serialize};

use crate::slots::Slot;

/// Shares that are tried where nobody says otherwise, in full shares. The first is what the instance gets
/// anyway: what it holds there is the figure that the others are compared with.
pub const STEPS: [f64; 7] = [1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0];
/// How long each is held. As long as the routers' own measure of what is answered lately looks back.
pub const HOLD_FOR: Span = Span::from_secs(5);
/// Added to each hold, so that what is measured at its end saw nothing of the step before.
pub const LEAD: Span = Span::from_secs(1);
/// How long a test waits for freezes and guards before its first step: somebody waits at a terminal.
pub const ASK_WITHIN: Span = Span::from_secs(120);
/// How long a router may take to act on a step, or to say anything while one is held.
pub const SILENT_AFTER: Span = Span::from_secs(10);
/// How long the way back may go unseen before a person is called. It goes on being looked for.
pub const BACK_WITHIN: Span = Span::from_secs(60);
/// The whole test, the way back not counted, is over by then.
pub const TEST_WITHIN: Span = Span::from_secs(300);

/// What a limit test does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitPlan {
    /// The service.
    pub service: ServiceName,
    /// The instance that gets more.
    pub instance: InstanceName,
    /// Its place; its fabric is the one the load is of.
    pub slot: Slot,
    /// The version it runs.
    pub version: Version,
    /// The incarnation of its process.
    pub incarnation: u64,
    /// What users are promised: what it must keep to.
    pub slo: Slo,
    /// Shares, rising.
    pub steps: Vec<f64>,
    /// How long each is held.
    pub hold_for: Span,
}

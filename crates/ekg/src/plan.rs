//! Plans of queries, as they are told.
//!
//! Guarantees: what is estimated is told as such, what was measured too. Memory is what the samples take, sixteen bytes
//! each; the quota is the engine's own.

use mainstay_core::Time;
use mainstay_promql::{EngineOptions, NodeUsage};
use serde_json::{Value, json};

/// Bytes of a sample in memory.
const SAMPLE_BYTES: u64 = 16;

/// A plan; `measured` where the query was evaluated.
pub(crate) fn told(
    nodes: Vec<NodeUsage>,
    samples_peak: u64,
    options: &EngineOptions,
    measured: bool,
) -> Value {
    let mut nodes = nodes.into_iter().peekable();
    json!({
        "measured": measured,
        "memory": {
            "samples": samples_peak,
            "samplesMax": options.max_samples,
            "bytes": samples_peak.saturating_mul(SAMPLE_BYTES),
            "bytesMax": options.max_samples.saturating_mul(SAMPLE_BYTES),
            "fits": samples_peak <= options.max_samples,
        },
        "threads": options.threads,
        "node": tree(&mut nodes, measured),
    })
}

/// The next node with all below it.
fn tree(nodes: &mut std::iter::Peekable<std::vec::IntoIter<NodeUsage>>, measured: bool) -> Value {
    let Some(node) = nodes.next() else {
        return Value::Null;
    };
    let mut told = json!({
        "expr": node.expr,
        "steps": node.steps,
        "threads": node.threads,
    });
    if measured || node.selection.is_some() {
        told["series"] = node.series.into();
    }
    if measured {
        told["seconds"] = node.took.as_secs_f64().into();
    }
    if let Some(selection) = node.selection {
        told["reads"] = json!({
            "start": Time::from_millis(selection.start_ms).to_string(),
            "end": Time::from_millis(selection.end_ms).to_string(),
            "series": selection.series,
            "samples": selection.samples,
        });
    }
    let mut below = Vec::new();
    while nodes.peek().is_some_and(|next| next.depth > node.depth) {
        below.push(tree(nodes, measured));
    }
    told["nodes"] = below.into();
    told
}

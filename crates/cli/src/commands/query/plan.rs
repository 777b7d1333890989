//! A query's plan, printed as a tree.

use serde_json::Value;

use crate::style;

/// A line for the whole, and one a node, each below the one that asked for it. None for what is no plan.
pub(super) fn lines(plan: &Value) -> Vec<String> {
    let memory = &plan["memory"];
    let (Some(samples), Some(most)) = (memory["samples"].as_u64(), memory["samplesMax"].as_u64())
    else {
        return Vec::new();
    };
    let word = if plan["measured"] == true {
        ""
    } else {
        "about "
    };
    let fits = if memory["fits"] == true {
        "fits"
    } else {
        "does not fit: it would be refused"
    };
    let mut lines = vec![format!(
        "memory: {word}{samples} of {most} samples ({} of {} MiB); {fits}",
        mebibytes(&memory["bytes"]),
        mebibytes(&memory["bytesMax"]),
    )];
    node(&plan["node"], 0, &mut lines);
    lines
}

fn mebibytes(bytes: &Value) -> u64 {
    bytes.as_u64().unwrap_or(0).div_ceil(1 << 20)
}

fn node(node: &Value, depth: usize, lines: &mut Vec<String>) {
    let Some(expr) = node["expr"].as_str() else {
        return;
    };
    let mut told = Vec::new();
    let count = |of: &Value, one: &str| of.as_u64().map(|count| format!("{count} {one}"));
    let reads = &node["reads"];
    if reads.is_object() {
        let (start, end) = (reads["start"].as_str(), reads["end"].as_str());
        told.extend(count(&reads["series"], "series"));
        told.extend(count(&reads["samples"], "samples"));
        told.push(format!(
            "{} to {}",
            start.unwrap_or("?"),
            end.unwrap_or("?")
        ));
    } else {
        told.extend(count(&node["series"], "series"));
    }
    told.extend(count(&node["steps"], "steps").filter(|_| node["steps"] != 1));
    told.extend(count(&node["threads"], "threads").filter(|_| node["threads"] != 1));
    if let Some(seconds) = node["seconds"].as_f64() {
        told.push(format!("{:.1} ms", seconds * 1_000.0));
    }
    let line = format!("{}{expr}: {}", "  ".repeat(depth), told.join(", "));
    lines.push(style::clean(&line));
    for below in node["nodes"].as_array().into_iter().flatten() {
        self::node(below, depth + 1, lines);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_is_a_tree_with_what_is_read_and_what_it_took() {
        let reads = json!({ "start": "2026-11-05T17:00:00Z", "end": "2026-11-05T18:00:00Z", "series": 2, "samples": 480 });
        let leaf = json!({ "expr": "up[1h]", "steps": 1, "threads": 1, "series": 2, "reads": reads, "nodes": [] });
        let root = json!({ "expr": "rate(up[1h])", "steps": 5, "threads": 4, "series": 2, "seconds": 0.0123, "nodes": [leaf] });
        let memory = json!({ "samples": 490, "samplesMax": 50_000_000, "bytes": 7_840, "bytesMax": 800_000_000, "fits": true });
        let plan = json!({ "measured": true, "memory": memory, "threads": 4, "node": root });
        assert_eq!(
            lines(&plan),
            [
                "memory: 490 of 50000000 samples (1 of 763 MiB); fits",
                "rate(up[1h]): 2 series, 5 steps, 4 threads, 12.3 ms",
                "  up[1h]: 2 series, 480 samples, 2026-11-05T17:00:00Z to 2026-11-05T18:00:00Z",
            ]
        );
        assert!(lines(&Value::Null).is_empty());
    }
}

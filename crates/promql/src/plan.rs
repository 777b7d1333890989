//! What a query would read, without reading it.
//!
//! Guarantees: windows are those that the evaluation asks for, because it is the evaluation that asks: of a store that
//! answers with nothing and writes down what it was asked.

use std::cell::RefCell;

use crate::{
    Answer, Ask, Engine, Error, Matcher, NodeUsage, Query, Series, Storage, StorageError,
    storage::Extent,
};

/// What a query would take.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Its nodes; those that select say how much.
    pub nodes: Vec<NodeUsage>,
    /// Samples that it would hold at one moment, about.
    pub samples_peak: u64,
}

/// A store that knows how much there is, and gives none of it.
struct Asked<'a> {
    storage: &'a dyn Storage,
    extents: RefCell<Vec<Extent>>,
}

impl Storage for Asked<'_> {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, StorageError> {
        let extent = self.storage.extent(matchers, start_ms, end_ms)?;
        self.extents.borrow_mut().push(extent);
        Ok(Vec::new())
    }
}

impl Engine {
    /// What a query would take. Samples and series are as the store estimates them.
    pub fn plan(&self, storage: &dyn Storage, query: &Query, ask: &Ask<'_>) -> Result<Plan, Error> {
        let asked = Asked {
            storage,
            extents: RefCell::default(),
        };
        let clock = || std::time::Duration::ZERO;
        let ask = Ask {
            timed: Some(&clock),
            ..*ask
        };
        let Answer { usage, .. } = self.ask(&asked, query, &ask)?;
        let mut nodes = usage.nodes;
        let mut samples_peak = 0_u64;
        // Each selection asked the store once, in the order of the nodes.
        let selections = nodes.iter_mut().filter(|node| node.selection.is_some());
        for (node, extent) in selections.zip(asked.extents.into_inner()) {
            node.series = usize::try_from(extent.series).unwrap_or(usize::MAX);
            if let Some(selection) = &mut node.selection {
                (selection.series, selection.samples) = (extent.series, extent.samples);
            }
            let rows = extent.series.saturating_mul(node.steps as u64);
            node.threads = self.threads_for(node.series, node.steps);
            samples_peak = samples_peak.saturating_add(extent.samples.saturating_add(rows));
        }
        Ok(Plan {
            nodes,
            samples_peak,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EngineOptions, Labels, When};

    /// A hundred series with a sample every second.
    struct Store;

    impl Storage for Store {
        fn select(&self, _: &[Matcher], start: i64, end: i64) -> Result<Vec<Series>, StorageError> {
            let times: Vec<i64> = (start..=end).filter(|at| at % 1_000 == 0).collect();
            let series = |host: usize| {
                let labels = Labels::from_pairs([("host", host.to_string())]);
                let values: Vec<f64> = times.iter().map(|at| *at as f64).collect();
                Series::floats(labels, times.clone().into(), values.into())
            };
            Ok((0..100).map(series).collect())
        }
    }

    const RANGE: When = When::Range {
        start_ms: 100_000,
        end_ms: 200_000,
        step_ms: 10_000,
    };

    #[test]
    fn a_plan_names_windows_series_and_samples_and_reads_nothing() {
        let query = Query::parse("sum(rate(hits[30s])) / sum(up offset 1m)").unwrap();
        let engine = Engine::new(EngineOptions::default());
        let plan = engine
            .plan(&Store, &query, &Ask::uninterrupted(RANGE))
            .unwrap();
        let selections: Vec<_> = plan.nodes.iter().filter_map(|it| it.selection).collect();
        assert_eq!(
            selections,
            [
                Selection {
                    start_ms: 70_001,
                    end_ms: 200_000,
                    series: 100,
                    samples: 13_000
                },
                Selection {
                    start_ms: -259_999,
                    end_ms: 140_000,
                    series: 100,
                    samples: 40_000
                },
            ]
        );
        assert!(plan.samples_peak >= 53_000);
        let shown: Vec<String> = plan
            .nodes
            .iter()
            .map(|it| format!("{} {}", it.depth, it.expr))
            .collect();
        assert_eq!(shown[0], "0 sum(rate(hits[30s])) / sum(up offset 1m)");
        assert!(shown.contains(&"3 hits[30s]".to_owned()), "{shown:?}");
    }

    #[test]
    fn threads_compute_what_one_thread_does_and_the_nodes_say_so() {
        let query =
            Query::parse("sum by (host) (rate(hits[30s])) + count_over_time(hits[1m])").unwrap();
        let ask = |threads: usize| {
            let options = EngineOptions {
                threads,
                parallel_from: 100,
                ..EngineOptions::default()
            };
            let clock = || std::time::Duration::ZERO;
            let ask = Ask {
                timed: Some(&clock),
                ..Ask::uninterrupted(RANGE)
            };
            Engine::new(options).ask(&Store, &query, &ask).unwrap()
        };
        let (one, four) = (ask(1), ask(4));
        assert_eq!(one.result, four.result);
        assert_eq!(one.notes, four.notes);
        assert_eq!(one.usage.samples_read, four.usage.samples_read);
        let threads = |answer: &Answer| answer.usage.nodes.iter().map(|it| it.threads).max();
        assert_eq!((threads(&one), threads(&four)), (Some(1), Some(4)));
    }

    use crate::Selection;
}

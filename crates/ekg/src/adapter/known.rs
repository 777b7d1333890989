//! What scrapers learn beside samples, and what clients ask of it.
//!
//! Guarantees: answers have the shapes of Prometheus's API, errors included. Bounded by what [`Pools`] and
//! [`Metadata`] keep.

use mainstay_tsdb::{Labels, Matcher};
use serde_json::Value;

use super::Pools;
use crate::{QueryError, answer, handle::matchers, metadata::Metadata, relabel::Set};

/// Where a scraper tells what it learns beside samples.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// How targets do.
    pub pools: Pools,
    /// What metrics are.
    pub metadata: Metadata,
}

impl Known {
    /// `/api/v1/targets/metadata`: what the targets that `selector` takes say of `metric`; of all targets and all
    /// metrics where those are empty.
    pub fn target_metadata(&self, selector: &str, metric: &str, limit: Option<usize>) -> Value {
        let wanted: Result<Vec<Matcher>, QueryError> = match selector {
            "" => Ok(Vec::new()),
            _ => matchers(selector),
        };
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(error) => return answer::failure(&error),
        };
        let takes = |labels: &Labels| {
            let holds = |it: &Matcher| it.matches(labels.get(it.name()).unwrap_or(""));
            wanted.iter().all(holds)
        };
        answer::success(self.pools.metadata(takes, metric, limit))
    }

    /// `/api/v1/targets/relabel_steps`: what each rule of a pool makes of labels, given as a JSON object.
    pub fn relabel_steps(&self, pool: &str, labels: &str) -> Value {
        let labels: Set = match serde_json::from_str(labels) {
            Ok(labels) => labels,
            Err(error) => {
                let why = format!(
                    "`labels` is no JSON object of texts, such as {{\"__address__\":\"a:80\"}}: {error}"
                );
                return answer::refused(&why);
            }
        };
        match self.pools.relabel_steps(pool, labels) {
            Some(steps) => answer::success(steps),
            None => answer::refused(&format!(
                "there is no scrape pool `{pool}`; /api/v1/scrape_pools lists them"
            )),
        }
    }
}

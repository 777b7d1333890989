//! Monitoring inside the server: samples in memory, a writer, and two scrapers that follow the targets.
//!
//! Guarantees: both scrapers write through one writer; a set of targets that did not change wakes nobody.
//! Never says that a target exists: that is given with [`Monitoring::follow`].

use std::sync::Arc;

use mainstay_core::{Span, Time, ports::Clock};
use mainstay_ekg::{
    Ekg,
    adapter::{ScrapeConfig, Scraper, Target, Writer},
};
use mainstay_server::{Queries, Window};
use mainstay_tsdb::{Head, HeadLimits};
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::targets::Targets;

/// Answers the server's queries out of monitoring.
#[derive(Clone)]
pub(crate) struct PromQl(pub(crate) Ekg);

impl Queries for PromQl {
    fn query(&self, expr: &str, at: Time) -> Value {
        self.0.query(expr, at)
    }
    fn query_range(&self, expr: &str, window: Window, step: Span) -> Value {
        self.0.query_range(expr, window.start, window.end, step)
    }
    fn series(&self, selectors: &[&str], window: Window) -> Value {
        self.0.series(selectors, window.start, window.end)
    }
    fn labels(&self, selectors: &[&str], window: Window) -> Value {
        self.0.labels(selectors, window.start, window.end)
    }
    fn label_values(&self, name: &str, selectors: &[&str], window: Window) -> Value {
        let Window { start, end } = window;
        self.0.label_values(name, selectors, start, end)
    }
    fn refused(&self) -> Vec<(&'static str, u64)> {
        self.0.refusals().by_reason().to_vec()
    }
}

/// What runs.
pub(crate) struct Monitoring {
    /// The samples, to ask.
    pub(crate) ekg: Ekg,
    /// Targets whose own labels stand.
    pub(crate) targets: watch::Sender<Vec<Target>>,
    /// Routers: the labels of their samples stand.
    pub(crate) routers: watch::Sender<Vec<Target>>,
    /// The writer and the scrapers; they end when told to stop, or by dying.
    pub(crate) tasks: JoinSet<()>,
}

impl Monitoring {
    /// Scrapes these from now on, and no others. What cannot be scraped is logged when it is new.
    pub(crate) fn follow(&self, targets: Targets) {
        let changed = replace(&self.targets, targets.own) | replace(&self.routers, targets.routers);
        if changed {
            for error in targets.refused {
                tracing::warn!(%error, "not scraped");
            }
        }
    }
}

fn replace(followed: &watch::Sender<Vec<Target>>, targets: Vec<Target>) -> bool {
    followed.send_if_modified(|now| {
        let differs = *now != targets;
        *now = targets;
        differs
    })
}

/// Starts monitoring with no target, until `stop`.
pub(crate) fn start(clock: &Arc<dyn Clock>, stop: &CancellationToken) -> Monitoring {
    let ekg = Ekg::over(Head::new(HeadLimits::default()));
    let (writer, writing) = Writer::new(ekg.clone(), stop.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(writing);
    let mut scrape = |honor_labels| {
        let config = ScrapeConfig {
            honor_labels,
            ..ScrapeConfig::default()
        };
        let scraper = Scraper::new(writer.clone(), Arc::clone(clock), config);
        let (targets, followed) = watch::channel(Vec::new());
        tasks.spawn(scraper.run(followed, stop.clone()));
        targets
    };
    let (targets, routers) = (scrape(false), scrape(true));
    Monitoring {
        ekg,
        targets,
        routers,
        tasks,
    }
}

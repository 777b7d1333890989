//! A scraper over real sockets, and what it wrote.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use mainstay_core::{Time, ports::Clock};
use mainstay_ekg::{
    Ekg,
    adapter::{Known, ScrapeConfig, Scraper, Target, Writer},
};
use mainstay_tsdb::{Head, HeadLimits};
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Time::from_millis(since.unwrap().as_millis() as i64)
    }
}

pub(crate) struct World {
    pub(crate) ekg: Ekg,
    pub(crate) targets: watch::Sender<Vec<Target>>,
    pub(crate) stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl World {
    pub(crate) fn new(targets: Vec<Target>, config: ScrapeConfig) -> Self {
        let head = Head::new(HeadLimits::default());
        let ekg = Ekg::over(head.tsdb());
        let stop = CancellationToken::new();
        let (writer, writing) = Writer::new(ekg.clone(), head, stop.clone());
        let (targets, seen) = watch::channel(targets);
        let scraper = Scraper::new(writer, Arc::new(WallClock), config, Known::default()).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(writing);
        tasks.spawn(scraper.run(seen, stop.clone()));
        Self {
            ekg,
            targets,
            stop,
            tasks,
        }
    }

    pub(crate) fn ask(&self, expr: &str) -> Value {
        let answer = self.ekg.query(expr, WallClock.now()).json();
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"]["result"].clone()
    }

    /// Waits until `expr` has these values.
    pub(crate) async fn until(&self, expr: &str, values: &[&str]) -> Value {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        let holds = async {
            loop {
                ticks.tick().await;
                let answer = self.ask(expr);
                let list = answer.as_array().unwrap();
                if list.iter().map(|s| &s["value"][1]).eq(values) {
                    return answer;
                }
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), holds).await;
        waited.unwrap_or_else(|_| panic!("{expr} is {}", self.ask(expr)))
    }

    /// Everything ends when told to.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

//! Monitoring inside the server: samples in memory, a writer, and two scrapers that follow the targets.
//!
//! Guarantees: both scrapers write through one writer; a set of targets that did not change wakes nobody.
//! Never says that a target exists: that is given with [`Monitoring::follow`].

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, bail};
use axum::{
    body::Bytes,
    http::{Request, Response},
};
use mainstay_core::{
    Span, Time,
    ports::{BoxFuture, Clock},
};
use mainstay_ekg::{
    Ekg, QUERY_WITHIN, QueryError, Shown, Stats,
    adapter::{
        Asking, Cluster, Credentials, Intake, Known, Remotes, SampleRules, ScrapeConfig, Sources,
        Target, Upkeep, UpkeepError, Writer, seconds, selected,
    },
    backend::Backend,
    job::Job,
    otlp::OtlpSettings,
    read::Request as ReadRequest,
    remote::Remote,
};
use mainstay_promql::{Query, When, ast::ValueType};
use mainstay_server::{Answer, PlanAsked, Queries, Tenant, Terms, Undone, Window};
use mainstay_tsdb::{
    Downsampling, Head, Keeping as Kept, Options, OrderError, Retain, TenantLimits, TenantUse,
    Tenants, Tsdb,
};
use mainstay_wal::LocalDisk;
use serde_json::Value;
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config,
    copies::{Copies, Exporting},
    jobs::{self, Scraping},
    targets::Targets,
};

fn tenant(of: &TenantUse) -> Tenant {
    let refused = [
        ("series", of.refused_series),
        ("samples", of.refused_samples),
        ("labels", of.refused_labels),
    ];
    Tenant {
        name: of.name.to_string(),
        series: of.series,
        series_limit: of.limit.series,
        samples_per_second: of.samples_per_second,
        samples_per_second_limit: of.limit.samples_per_second,
        labels_limit: of.limit.labels,
        samples: of.samples,
        refused: refused.into(),
    }
}

/// Answers the server's queries out of monitoring; where a cluster keeps the samples, what is asked of samples is
/// asked of that.
#[derive(Clone)]
pub(crate) struct PromQl {
    ekg: Ekg,
    known: Known,
    tenants: Tenants,
    cluster: Option<Cluster>,
    retention: Span,
    tsdb: Tsdb,
}

impl PromQl {
    /// The same, which says how long samples are kept.
    pub(crate) fn keeping(self, retention: Span) -> Self {
        Self { retention, ..self }
    }
}

/// What a question for a cluster says whatever it asks for.
fn asked(expr: &str, terms: &Terms) -> Vec<(&'static str, String)> {
    let within = terms.within.min(QUERY_WITHIN);
    let mut pairs = vec![
        ("query", expr.to_owned()),
        ("timeout", within.secs_f64().to_string()),
    ];
    if !terms.stats.is_empty() {
        pairs.push(("stats", terms.stats.clone()));
    }
    pairs
}

/// The same of lists; a window without an end has no word for it.
fn listed(selectors: &[&str], window: Window) -> Vec<(&'static str, String)> {
    let mut pairs: Vec<_> = selectors
        .iter()
        .map(|it| ("match[]", (*it).to_owned()))
        .collect();
    let ends = [
        ("start", window.start.millis(), i64::MIN),
        ("end", window.end.millis(), i64::MAX),
    ];
    for (name, at_ms, open) in ends {
        if at_ms != open {
            pairs.push((name, seconds(at_ms)));
        }
    }
    pairs
}

fn computed_on(terms: &Terms) -> mainstay_ekg::Terms {
    mainstay_ekg::Terms {
        within: terms.within,
        gone: terms.gone.clone(),
        stats: match terms.stats.as_str() {
            "" => Stats::None,
            "all" => Stats::All,
            _ => Stats::Sums,
        },
        analyze: terms.plan == PlanAsked::Analyze,
    }
}

/// An answer of the engine as the server sends it.
fn sent(shown: Shown) -> Answer {
    Answer {
        envelope: shown.envelope,
        series: shown.series,
    }
}

impl Queries for PromQl {
    fn query(&self, expr: &str, at: Time, terms: &Terms) -> Answer {
        if let Some(cluster) = &self.cluster {
            let mut pairs = asked(expr, terms);
            pairs.push(("time", seconds(at.millis())));
            return cluster.posted("/api/v1/query", &pairs, terms.within).into();
        }
        if terms.plan == PlanAsked::Estimate {
            let ekg = self.ekg.on(computed_on(terms));
            return ekg.plan(expr, When::Instant(at.millis())).into();
        }
        sent(self.ekg.on(computed_on(terms)).query(expr, at))
    }
    fn query_range(&self, expr: &str, window: Window, step: Span, terms: &Terms) -> Answer {
        let Window { start, end } = window;
        if let Some(cluster) = &self.cluster {
            let mut pairs = asked(expr, terms);
            pairs.push(("start", seconds(start.millis())));
            pairs.push(("end", seconds(end.millis())));
            pairs.push(("step", step.secs_f64().to_string()));
            return cluster
                .posted("/api/v1/query_range", &pairs, terms.within)
                .into();
        }
        let ekg = self.ekg.on(computed_on(terms));
        if terms.plan == PlanAsked::Estimate {
            let when = When::Range {
                start_ms: start.millis(),
                end_ms: end.millis(),
                step_ms: i64::try_from(step.millis()).unwrap_or(i64::MAX),
            };
            return ekg.plan(expr, when).into();
        }
        sent(ekg.query_range(expr, start, end, step))
    }
    fn check(&self, expr: &str) -> Result<(), String> {
        let query = Query::parse(expr).map_err(|wrong| wrong.to_string())?;
        match query.expr().value_type() {
            ValueType::Scalar | ValueType::Vector => Ok(()),
            other @ (ValueType::String | ValueType::Matrix) => Err(format!(
                "it is a {}, which has no value to hold against a limit",
                other.name()
            )),
        }
    }
    fn format_query(&self, expr: &str) -> Value {
        self.ekg.format_query(expr)
    }
    fn parse_query(&self, expr: &str) -> Value {
        self.ekg.parse_query(expr)
    }
    fn series(&self, selectors: &[&str], window: Window) -> Value {
        if let Some(cluster) = &self.cluster {
            return cluster.posted("/api/v1/series", &listed(selectors, window), QUERY_WITHIN);
        }
        self.ekg.series(selectors, window.start, window.end)
    }
    fn labels(&self, selectors: &[&str], window: Window) -> Value {
        if let Some(cluster) = &self.cluster {
            return cluster.posted("/api/v1/labels", &listed(selectors, window), QUERY_WITHIN);
        }
        self.ekg.labels(selectors, window.start, window.end)
    }
    fn label_values(&self, name: &str, selectors: &[&str], window: Window) -> Value {
        if let Some(cluster) = &self.cluster {
            let path = format!("/api/v1/label/{name}/values");
            return cluster.got(&path, &listed(selectors, window), QUERY_WITHIN);
        }
        let Window { start, end } = window;
        self.ekg.label_values(name, selectors, start, end)
    }
    fn metadata(
        &self,
        metric: Option<&str>,
        limit: Option<usize>,
        per_metric: Option<usize>,
    ) -> Value {
        self.known.metadata.listed(metric, limit, per_metric)
    }
    fn targets(&self, pool: &str) -> Value {
        self.known.pools.listed(pool)
    }
    fn target_metadata(&self, selector: &str, metric: &str, limit: Option<usize>) -> Value {
        self.known.target_metadata(selector, metric, limit)
    }
    fn relabel_steps(&self, pool: &str, labels: &str) -> Value {
        self.known.relabel_steps(pool, labels)
    }
    fn pools(&self) -> Vec<String> {
        self.known.pools.names()
    }
    fn remote_read(&self, body: &[u8]) -> Result<Box<dyn mainstay_server::Reading>, String> {
        let request = ReadRequest::decode(body).map_err(|error| error.to_string())?;
        Ok(Box::new(Reading {
            ekg: self.ekg.clone(),
            request,
        }))
    }
    fn export(
        &self,
        selectors: &[&str],
        window: Window,
    ) -> Result<Box<dyn mainstay_server::Reading>, String> {
        if self.cluster.is_some() {
            return Err("a cluster keeps the samples: export them there".to_owned());
        }
        Exporting::new(&self.tsdb, selectors, window).map(|it| Box::new(it) as _)
    }
    fn query_exemplars(&self, expr: &str, window: Window) -> Value {
        self.ekg.query_exemplars(expr, window.start, window.end)
    }
    fn federate(&self, selectors: &[&str], at: Time) -> Result<String, Value> {
        self.ekg.federate(selectors, at)
    }
    fn cardinality(&self, limit: usize) -> Value {
        self.ekg.cardinality(limit, crate::ports::now())
    }
    fn tenants(&self) -> Vec<Tenant> {
        let mut tenants: Vec<Tenant> = self.tenants.all().iter().map(tenant).collect();
        tenants.sort_by(|a, b| b.series.cmp(&a.series).then_with(|| a.name.cmp(&b.name)));
        tenants
    }
    fn retention(&self) -> Span {
        match &self.cluster {
            Some(cluster) => cluster.keep(),
            None => self.retention,
        }
    }
    fn refused(&self) -> Vec<(&'static str, u64)> {
        self.ekg.refusals().by_reason().to_vec()
    }
}

/// One request of remote read.
struct Reading {
    ekg: Ekg,
    request: ReadRequest,
}

impl mainstay_server::Reading for Reading {
    fn is_streamed(&self) -> bool {
        self.request.is_streamed()
    }
    fn read(&self, take: &mut dyn FnMut(Vec<u8>) -> bool) -> Result<(), String> {
        let read = self.ekg.remote_read(&self.request, take);
        read.map_err(|error| error.to_string())
    }
}

/// What others send goes into monitoring.
pub(crate) struct Taking(pub(crate) Intake);

impl mainstay_server::Intake for Taking {
    fn remote_write(&self, request: Request<Bytes>) -> BoxFuture<'_, Response<Bytes>> {
        Box::pin(self.0.remote_write(request))
    }
    fn otlp(&self, request: Request<Bytes>) -> BoxFuture<'_, Response<Bytes>> {
        Box::pin(self.0.otlp(request))
    }
    fn otlp_call(&self, request: Request<Bytes>) -> BoxFuture<'_, Response<Bytes>> {
        Box::pin(self.0.otlp_call(request))
    }
    fn received(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.0.received().listed()
    }
}

/// Orders about samples go into monitoring.
pub(crate) struct Keeping {
    pub(crate) upkeep: Upkeep,
    pub(crate) copies: Copies,
}

impl mainstay_server::Upkeep for Keeping {
    fn check(&self, selectors: &[String]) -> Result<(), String> {
        Upkeep::check(selectors).map_err(|wrong| wrong.to_string())
    }
    fn delete(&self, selectors: Vec<String>, window: Window) -> BoxFuture<'_, Result<(), Undone>> {
        Box::pin(async move {
            let deleted = self
                .upkeep
                .delete(&selectors, window.start, window.end)
                .await;
            deleted.map(|_| ()).map_err(undone)
        })
    }
    fn clean(&self) -> BoxFuture<'_, Result<(), Undone>> {
        Box::pin(async move { self.upkeep.clean().await.map(|_| ()).map_err(undone) })
    }
    fn snapshot(&self, name: String, with_head: bool) -> BoxFuture<'_, Result<(), Undone>> {
        Box::pin(async move {
            let copied = self.upkeep.snapshot(name, with_head).await;
            copied.map(|_| ()).map_err(undone)
        })
    }
    fn import(&self, request: Request<Bytes>) -> BoxFuture<'_, Response<Bytes>> {
        Box::pin(self.upkeep.import(request))
    }
    fn copies(&self) -> Value {
        self.copies.listed(crate::ports::now())
    }
}

fn undone(error: UpkeepError) -> Undone {
    let text = error.to_string();
    match error {
        UpkeepError::Wrong(_) | UpkeepError::Order(OrderError::Refused(_)) => Undone::Refused(text),
        UpkeepError::Order(OrderError::NoDisk | OrderError::Closed | OrderError::Disk(_))
        | UpkeepError::Late => Undone::Unavailable(text),
        UpkeepError::Order(OrderError::Damaged(_)) => Undone::Failed(text),
    }
}

/// What runs.
pub(crate) struct Monitoring {
    /// The samples, to ask.
    pub(crate) ekg: Ekg,
    /// Answers about them, and about targets and metrics.
    pub(crate) queries: PromQl,
    /// Writes what others send.
    pub(crate) intake: Intake,
    /// Who is sent all samples.
    pub(crate) remotes: Remotes,
    /// What writes them.
    pub(crate) writer: Writer,
    /// Targets whose own labels stand.
    pub(crate) targets: watch::Sender<Vec<Target>>,
    /// Routers: the labels of their samples stand.
    pub(crate) routers: watch::Sender<Vec<Target>>,
    /// The server itself, which alone is shown its own secret.
    pub(crate) server: watch::Sender<Vec<Target>>,
    /// The writer and the scrapers; they end when told to stop, or by dying.
    pub(crate) tasks: JoinSet<()>,
}

impl Monitoring {
    /// Scrapes these from now on, and no others. What cannot be scraped is logged when it is new.
    pub(crate) fn follow(&self, targets: Targets) {
        let changed = replace(&self.targets, targets.own)
            | replace(&self.routers, targets.routers)
            | replace(&self.server, targets.server);
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

/// Waits for the tasks of monitoring: one that dies, or ends before `stop`, is a failure.
pub(crate) async fn watch(mut tasks: JoinSet<()>, stop: CancellationToken) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task of monitoring died")?;
        if !stop.is_cancelled() {
            bail!("a task of monitoring ended before it was told to");
        }
    }
    Ok(())
}

/// Opens the samples kept in `folder`, and says what of them could not be read back.
pub(crate) async fn open(folder: PathBuf, config: &config::Metrics) -> anyhow::Result<Head> {
    let (options, keeping) = kept_for(config)?;
    let cannot = format!("cannot open the samples in {}", folder.display());
    let opened = spawn_blocking(move || {
        let disk = Arc::new(LocalDisk::open(&folder)?);
        anyhow::Ok(mainstay_tsdb::open_keeping(disk, options, keeping)?)
    });
    let (head, recovered) = opened.await?.context(cannot)?;
    let log = &recovered.log;
    tracing::info!(
        samples = recovered.samples,
        series = recovered.series,
        parts = recovered.parts,
        sealed = recovered.sealed,
        bytes = log.bytes,
        "samples are back"
    );
    for gap in &log.gaps {
        let (segment, offset, frames) = (gap.segment, gap.offset, gap.frames);
        tracing::error!(
            segment,
            offset,
            frames,
            "the log of samples is damaged here"
        );
    }
    if recovered.lost > 0 {
        let lost = recovered.lost;
        tracing::error!(
            lost,
            "samples are lost by that damage; all others are served"
        );
    }
    if let Some(cut) = log.cut {
        let (segment, bytes) = (cut.segment, cut.bytes);
        tracing::warn!(
            segment,
            bytes,
            "the end of the log was being written when the server died, and is cut; nothing in it was acknowledged"
        );
    }
    Ok(head)
}

/// How long the engine keeps what.
fn kept_for(config: &config::Metrics) -> anyhow::Result<(Options, Kept)> {
    let ms = |span: Span| i64::try_from(span.millis()).unwrap_or(i64::MAX);
    let options = Options {
        retention_ms: ms(config.retention),
        ..Options::default()
    };
    let rule = |rule: &config::Retain| {
        Ok(Retain {
            matchers: selected(&rule.selector.0)?,
            for_ms: ms(rule.span),
        })
    };
    let retain: Result<_, QueryError> = config.retain.iter().map(rule).collect();
    let downsampling = Downsampling {
        five_minutes_ms: config.downsample.five_minutes.map(ms),
        hour_ms: config.downsample.one_hour.map(ms),
    };
    let keeping = Kept {
        retain: retain?,
        downsampling,
    };
    Ok((options, keeping))
}

/// How monitoring is set up.
pub(crate) struct Setup {
    /// What is scraped, as it changes.
    pub(crate) jobs: watch::Receiver<Vec<Job>>,
    /// How OTLP is taken.
    pub(crate) otlp: OtlpSettings,
    /// What those may who share the engine.
    pub(crate) limits: Option<TenantLimits>,
    /// Who is sent all samples.
    pub(crate) receivers: Vec<Remote>,
    /// The cluster that keeps samples, if there is one.
    pub(crate) backend: Option<Backend>,
    /// Where it is kept how far receivers are.
    pub(crate) folder: PathBuf,
    /// How the server lets itself be scraped by itself.
    pub(crate) itself: Option<Credentials>,
}

/// Starts monitoring until `stop`: scrapes the jobs with what they find, everything else with no target. An error names
/// the job or the receiver whose files cannot be read.
pub(crate) fn start(
    mut head: Head,
    clock: &Arc<dyn Clock>,
    setup: Setup,
    stop: &CancellationToken,
) -> anyhow::Result<Monitoring> {
    let Setup {
        jobs,
        otlp,
        limits,
        receivers,
        backend,
        folder,
        itself,
    } = setup;
    let tenants = limits.map(|it| head.limit_tenants(it)).unwrap_or_default();
    let tsdb = head.tsdb();
    let mut ekg = Ekg::over(head.tsdb());
    let mut tasks = JoinSet::new();
    let mut cluster = None;
    if let Some(backend) = &backend {
        let file = folder.join("since.json");
        let used = Cluster::start(backend, clock, &file, &mut tasks, stop)?;
        ekg = ekg.after(Arc::new(used.clone()));
        cluster = Some(used);
    }
    let (writer, writing) = Writer::new(ekg.clone(), head, stop.clone());
    let known = Known::default();
    let sources = Sources {
        ekg: &ekg,
        metadata: &known.metadata,
        clock,
        folder: &folder,
    };
    // Before anything is written, so that they hear of all of it.
    let receivers = receivers.into_iter().chain(backend.map(|it| it.remote));
    let remotes = Remotes::start(receivers, &sources, &mut tasks, stop)?;
    tasks.spawn(writing);
    let scraping = Scraping {
        writer: writer.clone(),
        clock: Arc::clone(clock),
        known: known.clone(),
    };
    let mut scrape = |config: ScrapeConfig| {
        let (targets, followed) = watch::channel(Vec::new());
        tasks.spawn(scraping.scraper(config)?.run(followed, stop.clone()));
        anyhow::Ok(targets)
    };
    let own = |pool: &str, honor_labels| ScrapeConfig {
        pool: pool.to_owned(),
        samples: SampleRules {
            honor_labels,
            ..SampleRules::default()
        },
        ..ScrapeConfig::default()
    };
    let targets = scrape(own("mainstay", false))?;
    let routers = scrape(own("mainstay-routers", true))?;
    let server = scrape(ScrapeConfig {
        asking: Asking {
            credentials: itself,
            ..Asking::default()
        },
        ..own("mainstay-server", false)
    })?;
    jobs::check(&jobs.borrow())?;
    tasks.spawn(jobs::run(scraping, jobs, stop.clone()));
    let metadata = known.metadata.clone();
    let intake =
        Intake::new(writer.clone(), Arc::clone(clock), metadata, otlp).sent_on(remotes.clone());
    Ok(Monitoring {
        queries: PromQl {
            ekg: ekg.clone(),
            known,
            tenants,
            cluster,
            retention: Span::ZERO,
            tsdb,
        },
        ekg,
        intake,
        remotes,
        writer,
        targets,
        routers,
        server,
        tasks,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainstay_core::{FabricName, InstanceName, ServiceName, Version};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use mainstay_tsdb::HeadLimits;

    use super::*;
    use crate::targets::{Listening, targets};

    fn nothing_to_scrape() -> Setup {
        Setup {
            jobs: watch::channel(Vec::new()).1,
            otlp: OtlpSettings::default(),
            limits: None,
            receivers: Vec::new(),
            backend: None,
            folder: PathBuf::new(),
            itself: None,
        }
    }

    struct Wall;

    impl Clock for Wall {
        fn now(&self) -> Time {
            Time::from_millis(jiff::Timestamp::now().as_millisecond())
        }
    }

    /// Answers every connection once with `body`; gives its port.
    async fn say(body: &'static str, tasks: &mut JoinSet<()>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1_024];
                let _ = stream.read(&mut request).await;
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                let _ = stream.write_all((head + body).as_bytes()).await;
            }
        });
        port
    }

    #[tokio::test]
    async fn instances_and_routers_are_scraped_into_one_head_each_with_its_own_labels() {
        let stop = CancellationToken::new();
        let clock: Arc<dyn Clock> = Arc::new(Wall);
        let head = Head::new(HeadLimits::default());
        let monitoring = start(head, &clock, nothing_to_scrape(), &stop).unwrap();
        let mut sites = JoinSet::new();
        let shop = say("hits{version=\"claimed\"} 3\n", &mut sites).await;
        let router = say("routed{version=\"v1\",instance=\"shop-1\"} 4\n", &mut sites).await;
        let names = (
            ServiceName::new("shop").unwrap(),
            InstanceName::new("shop-1").unwrap(),
            Version::new("v1").unwrap(),
            FabricName::new("lax").unwrap(),
        );
        let instance = Listening {
            service: &names.0,
            instance: &names.1,
            version: &names.2,
            fabric: &names.3,
            port: shop,
            path: "/metrics",
        };
        let url = format!("http://127.0.0.1:{router}/metrics");
        let wanted = || targets([instance], [], [(&names.3, url.as_str())], None);
        monitoring.follow(wanted());
        let queries = monitoring.queries.clone();
        let found = |expr: &str| {
            let answer = queries.ekg.query(expr, clock.now()).json();
            answer["data"]["result"]
                .as_array()
                .is_some_and(|found| found.len() == 1)
        };
        let both = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            let hits = r#"hits{job="shop",instance="shop-1",version="v1",exported_version="claimed",fabric="lax"}"#;
            let routed =
                r#"routed{job="mainstay-router",instance="shop-1",version="v1",fabric="lax"}"#;
            while !(found(hits) && found(routed)) {
                ticks.tick().await;
            }
        };
        let deadline = Duration::from_secs(20);
        tokio::time::timeout(deadline, both).await.unwrap();
        let mut followed = monitoring.targets.subscribe();
        followed.mark_unchanged();
        monitoring.follow(wanted());
        assert!(!followed.has_changed().unwrap(), "nothing to wake for");
        stop.cancel();
        watch(monitoring.tasks, stop).await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_dies_or_ends_early_is_a_failure() {
        let watched = async |task: fn()| {
            let mut tasks = JoinSet::new();
            tasks.spawn(async move { task() });
            watch(tasks, CancellationToken::new()).await.unwrap_err()
        };
        let died = watched(|| panic!("planted")).await;
        assert!(died.to_string().contains("died"), "{died}");
        let early = watched(|| {}).await;
        assert!(early.to_string().contains("ended before"), "{early}");
    }
}

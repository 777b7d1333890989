use super::*;
use mainstay_rules::AlertState;
use mainstay_tsdb::{Head, HeadLimits};
use tokio::sync::mpsc;

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Time {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap();
        Time::from_millis(since.as_millis() as i64)
    }
}

struct Channel(mpsc::UnboundedSender<Vec<Told>>);

impl AlertSink for Channel {
    fn take(&self, alerts: Vec<Told>) {
        // The test may have ended already.
        let _ = self.0.send(alerts);
    }
}

fn text(expr: &str) -> String {
    format!(
        "groups:\n- name: g\n  interval: 10ms\n  rules:\n  - {{record: half, expr: load / 2}}\n  \
         - {{alert: Busy, expr: '{expr}', annotations: {{said: 'at {{{{ $value }}}}'}}}}\n"
    )
}

fn file(expr: &str) -> Vec<NamedFile> {
    let text = text(expr);
    vec![("f.yml".to_owned(), RuleFile::parse(&text).unwrap())]
}

/// A ruler over an engine of its own.
struct Stage {
    writer: Writer,
    clock: Arc<dyn Clock>,
    rules: Rules,
    files: watch::Sender<Vec<NamedFile>>,
    told: mpsc::UnboundedReceiver<Vec<Told>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Stage {
    /// One that finds `before` in the engine when it starts.
    async fn open(files: Vec<NamedFile>, before: Vec<NewSample>) -> Self {
        let stop = CancellationToken::new();
        let head = Head::new(HeadLimits::default());
        let ekg = Ekg::over(head.tsdb());
        let clock: Arc<dyn Clock> = Arc::new(Wall);
        let (writer, writing) = Writer::new(ekg.clone(), head, stop.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(writing);
        writer.append(clock.now(), before).await.unwrap();
        let (sent, told) = mpsc::unbounded_channel();
        let config = RulerConfig::default();
        let sink = Arc::new(Channel(sent));
        let ruler = Ruler::new(&ekg, writer.clone(), Arc::clone(&clock), sink, config);
        let rules = ruler.rules();
        let (files, followed) = watch::channel(files);
        tasks.spawn(ruler.run(followed, stop.clone()));
        Self {
            writer,
            clock,
            rules,
            files,
            told,
            stop,
            tasks,
        }
    }

    async fn load(&self, value: f64) {
        let now = self.clock.now();
        let load = sample("load", &[("host", "a")], now, value);
        self.writer.append(now, vec![load]).await.unwrap();
    }

    async fn until_listed(&self, wanted: impl Fn(&Value) -> bool) {
        until(|| wanted(&self.rules.alerts()["data"]["alerts"])).await;
    }

    async fn until_seen(&self, wanted: impl Fn(&Value) -> bool) {
        let all = RuleFilter::default();
        until(|| wanted(&self.rules.groups(&all)["data"]["groups"])).await;
    }

    async fn close(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

async fn until(holds: impl Fn() -> bool) {
    let holds = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    let deadline = Duration::from_secs(20);
    tokio::time::timeout(deadline, holds).await.unwrap();
}

fn sample(name: &str, labels: &[(&str, &str)], at: Time, value: f64) -> NewSample {
    let all = [("__name__", name)]
        .into_iter()
        .chain(labels.iter().copied());
    NewSample {
        labels: Labels::from_pairs(all).unwrap(),
        at_ms: at.millis(),
        value,
        born_from_zero: false,
        histogram: None,
    }
}

#[tokio::test]
async fn an_alert_over_a_recorded_series_is_told_and_its_end_too() {
    let mut stage = Stage::open(file("half > 3"), Vec::new()).await;
    stage.load(8.0).await;
    let fires = stage.told.recv().await.unwrap().remove(0);
    assert_eq!(
        fires.alert.labels.to_string(),
        r#"{alertname="Busy", host="a"}"#
    );
    assert_eq!(fires.alert.annotations["said"], "at 4");
    assert!(fires.is_news && fires.ends_at > stage.clock.now());
    stage
        .until_listed(|alerts| alerts[0]["state"] == "firing")
        .await;
    // A later millisecond than the first sample's: the ruler has been round since.
    stage.load(2.0).await;
    let ended = stage.told.recv().await.unwrap().remove(0);
    assert_eq!(Some(ended.ends_at), ended.alert.resolved_at);
    stage.close().await;
}

#[tokio::test]
async fn an_alert_begins_with_its_sample_however_long_the_groups_interval() {
    begins_with_its_sample("load > 3", 0).await;
}

#[tokio::test]
async fn an_alert_without_an_incremental_form_begins_with_its_sample_too() {
    begins_with_its_sample("topk(1, load) > 3", 2).await;
}

async fn begins_with_its_sample(expr: &str, evaluated: u64) {
    let mut stage = Stage::open(file(expr), Vec::new()).await;
    stage
        .until_seen(|groups| groups[0]["rules"][1]["health"] == "ok")
        .await;
    let slow = RuleFile::parse(&text(expr).replace("10ms", "3000h")).unwrap();
    stage.files.send(vec![("f.yml".to_owned(), slow)]).unwrap();
    stage
        .until_seen(|groups| groups[0]["interval"] == 3_000.0 * 3_600.0)
        .await;
    let rounds = stage.rules.counts().evaluations;
    for value in [8.0, 2.0] {
        stage.load(value).await;
        let told = stage.told.recv().await.unwrap().remove(0);
        assert_eq!(told.alert.state == AlertState::Firing, value > 3.0);
        let told_at = stage.clock.now();
        until(|| stage.clock.now() > told_at).await;
    }
    let counts = stage.rules.counts();
    assert_eq!(counts.evaluations, rounds);
    assert!(counts.whole >= evaluated, "{counts:?}");
    stage.close().await;
}

#[tokio::test]
async fn a_rule_that_changes_is_another_rule_without_the_alerts_of_the_one_before() {
    let stage = Stage::open(file("half > 3"), Vec::new()).await;
    stage.load(8.0).await;
    stage
        .until_listed(|alerts| alerts[0]["state"] == "firing")
        .await;
    stage.files.send(file("half > 30")).unwrap();
    let none = Value::Array(Vec::new());
    stage.until_listed(|alerts| *alerts == none).await;
    stage.close().await;
}

#[tokio::test]
async fn alerts_of_every_group_go_on_waiting_after_a_start() {
    let rule = |group: &str| {
        format!(
            "- name: {group}\n  interval: 10ms\n  rules:\n  - {{alert: {group}, expr: vector(1), for: 1h}}\n"
        )
    };
    let text = format!("groups:\n{}{}", rule("First"), rule("Second"));
    let files = vec![("f.yml".to_owned(), RuleFile::parse(&text).unwrap())];
    let now = Wall.now();
    let since = now - Span::from_secs(1_800);
    let waited = ["First", "Second"].map(|name| {
        let value = (since.millis() as f64 / 1e3).trunc();
        sample("ALERTS_FOR_STATE", &[("alertname", name)], now, value)
    });
    let stage = Stage::open(files, waited.into()).await;
    let went_on = |alert: &Value| {
        let at: Option<Time> = alert["activeAt"].as_str().and_then(|at| at.parse().ok());
        alert["state"] == "pending" && at.is_some_and(|at| now.since(at) > Span::from_secs(1_700))
    };
    stage
        .until_listed(|alerts| {
            let alerts = alerts.as_array();
            alerts.is_some_and(|it| it.len() == 2 && it.iter().all(went_on))
        })
        .await;
    stage.close().await;
}

//! Samples sent on to receivers that refuse, hang up, ask for patience, and die with the sender.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use mainstay_core::{Time, ports::Clock};
use mainstay_ekg::{
    Ekg,
    adapter::{NewSample, Remotes, Sending, Sources, Writer},
    metadata::{Family, Kind, Metadata},
    remote::{MessageKind, Remote, Section},
    write::{Protocol, Series, Sink, decode, unpacked},
};
use mainstay_tsdb::{Head, HeadLimits, Labels};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Far above what any condition takes, so that a failure is told and not waited for.
const LIMIT: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(10);

/// What a receiver heard: `host at value`, and descriptions.
#[derive(Default)]
struct Heard {
    samples: Vec<(String, i64, f64)>,
    metadata: Vec<String>,
    requests: usize,
    headers: Vec<String>,
}

impl Sink for Heard {
    fn series(&mut self, series: &Series<'_>) {
        let host = series.labels.iter().find(|(name, _)| *name == "host");
        let host = host.map_or("", |(_, value)| *value);
        for sample in &series.samples {
            self.samples
                .push((host.to_owned(), sample.at_ms, sample.value));
        }
    }
    fn metadata(&mut self, name: &str, family: Family<'_>) {
        self.metadata.push(format!("{name}: {}", family.help));
    }
}

/// Answers with these heads in turn, then with 204; takes what it answers 2xx.
struct Receiver {
    url: String,
    heard: Arc<Mutex<Heard>>,
    answers: Arc<Mutex<Vec<&'static str>>>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    async fn start(answers: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v1/write", listener.local_addr().unwrap());
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let mut left = answers.to_vec();
        left.reverse();
        let answers = Arc::new(Mutex::new(left));
        let mut tasks = JoinSet::new();
        let (takes, says) = (Arc::clone(&heard), Arc::clone(&answers));
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(serve(stream, Arc::clone(&takes), Arc::clone(&says)));
            }
        });
        Self {
            url,
            heard,
            answers,
            _tasks: tasks,
        }
    }

    fn samples(&self) -> Vec<(String, i64, f64)> {
        let mut samples = self.heard.lock().unwrap().samples.clone();
        samples.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.cmp(&b.1)));
        samples
    }

    async fn until(&self, what: &str, is: impl Fn(&Heard) -> bool) {
        let looked = async {
            while !is(&self.heard.lock().unwrap()) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let seen = timeout(LIMIT, looked).await;
        assert!(
            seen.is_ok(),
            "never {what}: {} samples",
            self.samples().len()
        );
    }
}

async fn serve(
    mut stream: TcpStream,
    heard: Arc<Mutex<Heard>>,
    answers: Arc<Mutex<Vec<&'static str>>>,
) {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|it| it == b"\r\n\r\n") {
                break end + 4;
            }
            let mut more = [0; 16_384];
            match stream.read(&mut more).await {
                Ok(0) | Err(_) => return,
                Ok(count) => read.extend_from_slice(&more[..count]),
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
        let length = head
            .lines()
            .find_map(|it| it.strip_prefix("content-length: "));
        let length: usize = length.unwrap().trim().parse().unwrap();
        while read.len() < end + length {
            let mut more = [0; 16_384];
            let count = stream.read(&mut more).await.unwrap();
            read.extend_from_slice(&more[..count]);
        }
        let body: Vec<u8> = read.drain(..end + length).skip(end).collect();
        let answer = answers.lock().unwrap().pop().unwrap_or("204 No Content");
        heard.lock().unwrap().requests += 1;
        if answer == "nothing" {
            return;
        }
        if answer.starts_with('2') {
            let second = head.contains("io.prometheus.write.v2.request");
            let protocol = if second { Protocol::V2 } else { Protocol::V1 };
            let mut heard = heard.lock().unwrap();
            unpacked(&body, |message| decode(protocol, message, &mut *heard)).unwrap();
            heard.headers.push(head);
        }
        let text = "as asked";
        let length = if answer.starts_with("204") {
            0
        } else {
            text.len()
        };
        let mut said = format!("HTTP/1.1 {answer}\r\ncontent-length: {length}\r\n\r\n");
        said.push_str(&text[..length]);
        stream.write_all(said.as_bytes()).await.unwrap();
    }
}

/// The wall clock.
struct Wall;

impl Clock for Wall {
    fn now(&self) -> Time {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Time::from_millis(since.unwrap().as_millis() as i64)
    }
}

/// One run of a sender over a head.
struct Run {
    writer: Writer,
    remotes: Remotes,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    clock: Arc<dyn Clock>,
}

impl Run {
    fn start(head: Head, folder: &Path, metadata: &Metadata, remotes: Vec<Remote>) -> Self {
        let stop = CancellationToken::new();
        let clock: Arc<dyn Clock> = Arc::new(Wall);
        let ekg = Ekg::over(head.tsdb());
        let mut tasks = JoinSet::new();
        let sources = Sources {
            ekg: &ekg,
            metadata,
            clock: &clock,
            folder,
        };
        let remotes = Remotes::start(remotes, &sources, &mut tasks, &stop).unwrap();
        let (writer, writing) = Writer::new(ekg, head, stop.clone());
        tasks.spawn(writing);
        Self {
            writer,
            remotes,
            stop,
            tasks,
            clock,
        }
    }

    /// One sample of each host at `at_ms`.
    async fn write(&self, hosts: usize, at_ms: i64) {
        let sample = |host: usize| NewSample {
            labels: labels(&format!("h{host}")),
            at_ms,
            value: host as f64,
            born_from_zero: false,
            histogram: None,
        };
        let samples = (0..hosts).map(sample).collect();
        self.writer.append(self.clock.now(), samples).await.unwrap();
    }

    fn sending(&self) -> Sending {
        self.remotes.sending().remove(0)
    }

    async fn end(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn labels(host: &str) -> Labels {
    Labels::from_pairs([("__name__", "hits_total"), ("host", host)]).unwrap()
}

fn quick(url: &str, change: impl FnOnce(&mut Section)) -> Remote {
    let ms = mainstay_core::Span::from_millis;
    let mut section = Section::at(url);
    section.queue_config.batch_send_deadline = ms(20);
    section.queue_config.min_backoff = ms(1);
    section.queue_config.max_backoff = ms(20);
    change(&mut section);
    Remote::try_from(section).unwrap()
}

fn head() -> Head {
    Head::new(HeadLimits::default())
}

#[tokio::test]
async fn samples_are_sent_again_until_they_are_taken_and_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&[
        "500 Internal Server Error",
        "nothing",
        "429 Too Many Requests\r\nretry-after: 0",
        "503 Service Unavailable",
    ])
    .await;
    let remote = quick(&receiver.url, |it| it.queue_config.max_shards = 1);
    let run = Run::start(head(), folder.path(), &Metadata::default(), vec![remote]);
    let now = run.clock.now().millis();
    for at in 0..10 {
        run.write(30, now + at).await;
    }
    receiver
        .until("all there", |it| it.samples.len() >= 300)
        .await;
    let samples = receiver.samples();
    let expected: Vec<i64> = (0..10).map(|at| now + at).collect();
    let of_h7: Vec<i64> = samples
        .iter()
        .filter(|it| it.0 == "h7")
        .map(|it| it.1)
        .collect();
    assert_eq!((samples.len(), of_h7), (300, expected));
    let sending = run.sending();
    assert_eq!(sending.sent, 300);
    assert!(
        sending.retried > 0 && sending.requests["503"] == 1,
        "{sending:?}"
    );
    assert_eq!(sending.given_up, [("refused", 0), ("too-old", 0)]);
    run.end().await;
}

#[tokio::test]
async fn what_is_refused_for_good_is_counted_and_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let written = "400 Bad Request\r\nx-prometheus-remote-write-samples-written: 2";
    let receiver = Receiver::start(&[written]).await;
    let remote = quick(&receiver.url, |it| it.queue_config.max_shards = 1);
    let run = Run::start(head(), folder.path(), &Metadata::default(), vec![remote]);
    let now = run.clock.now().millis();
    run.write(5, now).await;
    receiver.until("asked", |it| it.requests == 1).await;
    run.write(5, now + 1).await;
    receiver
        .until("others there", |it| it.samples.len() == 5)
        .await;
    let sending = run.sending();
    assert_eq!((sending.sent, sending.given_up[0]), (7, ("refused", 3)));
    run.end().await;
}

#[tokio::test]
async fn what_has_no_room_in_memory_is_read_from_the_store_in_order_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let away = ["503 Service Unavailable"; 40];
    let receiver = Receiver::start(&away).await;
    let remote = quick(&receiver.url, |it| {
        it.queue_config.capacity = 10;
        it.queue_config.max_samples_per_send = 7;
        it.queue_config.max_shards = 2;
    });
    let run = Run::start(head(), folder.path(), &Metadata::default(), vec![remote]);
    let now = run.clock.now().millis() - 5_000;
    for at in 0..50 {
        run.write(20, now + at * 10).await;
    }
    // One that comes late, while others of its series are still to be read.
    run.write(3, now - 60_000).await;
    receiver
        .until("all there", |it| it.samples.len() >= 1_000)
        .await;
    run.write(20, now + 9_000).await;
    receiver
        .until("live again", |it| {
            it.samples.iter().any(|it| it.1 == now + 9_000)
        })
        .await;
    let heard = receiver.heard.lock().unwrap().samples.clone();
    let mut of_h7: Vec<i64> = heard
        .iter()
        .filter(|it| it.0 == "h7")
        .map(|it| it.1)
        .collect();
    let sorted = of_h7.is_sorted();
    of_h7.dedup();
    assert!(sorted, "a series keeps its order: {of_h7:?}");
    let expected: Vec<i64> = (0..50).map(|at| now + at * 10).collect();
    assert!(
        of_h7.starts_with(&expected),
        "nothing is missing: {of_h7:?}"
    );
    assert_eq!(run.sending().given_up, [("refused", 0), ("too-old", 0)]);
    run.end().await;
}

#[tokio::test]
async fn a_sender_that_died_sends_what_it_had_not() {
    let folder = tempfile::tempdir().unwrap();
    let away = vec!["503 Service Unavailable"; 100_000];
    let receiver = Receiver::start(&away).await;
    let remote = || vec![quick(&receiver.url, |_| {})];
    let head = head();
    let tsdb = head.tsdb();
    let run = Run::start(head, folder.path(), &Metadata::default(), remote());
    let now = run.clock.now().millis();
    for at in 0..5 {
        run.write(10, now + at).await;
    }
    receiver.until("asked", |it| it.requests > 3).await;
    // As a kill does: nobody is told to stop.
    drop(run);
    receiver.answers.lock().unwrap().clear();
    assert_eq!(receiver.samples().len(), 0);

    let stop = CancellationToken::new();
    let clock: Arc<dyn Clock> = Arc::new(Wall);
    let (ekg, metadata) = (Ekg::over(tsdb), Metadata::default());
    let sources = Sources {
        ekg: &ekg,
        metadata: &metadata,
        clock: &clock,
        folder: folder.path(),
    };
    let mut tasks = JoinSet::new();
    let remotes = Remotes::start(remote(), &sources, &mut tasks, &stop).unwrap();
    receiver
        .until("all there", |it| it.samples.len() >= 50)
        .await;
    let heard = receiver.samples();
    assert_eq!(heard.len(), 50);
    // The answer is read after the samples are there.
    while remotes.sending()[0].sent < 50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(remotes.sending()[0].sent, 50);
    stop.cancel();
    while tasks.join_next().await.is_some() {}
}

#[tokio::test]
async fn the_second_protocol_describes_metrics_and_gives_way_where_it_is_not_spoken() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = Metadata::default();
    let family = Family {
        kind: Kind::Counter,
        help: "Hits.".into(),
        unit: "".into(),
    };
    let _ = metadata.learn("hits_total", &family, Time::from_millis(1));
    let spoken = Receiver::start(&[]).await;
    let unspoken = Receiver::start(&["415 Unsupported Media Type"]).await;
    let second = |url: &str, name: &str| {
        quick(url, |it| {
            it.name = Some(name.to_owned());
            it.protobuf_message = MessageKind::V2;
            it.metadata_config.send = false;
            it.queue_config.max_shards = 1;
            it.headers = [("X-Scope-OrgID".to_owned(), "shop".to_owned())].into();
            let rule = r#"{"source_labels": ["host"], "regex": "h[0-3]", "action": "keep"}"#;
            it.write_relabel_configs = vec![serde_json::from_str(rule).unwrap()];
        })
    };
    let remotes = vec![second(&spoken.url, "a"), second(&unspoken.url, "b")];
    let run = Run::start(head(), folder.path(), &metadata, remotes);
    run.write(9, run.clock.now().millis()).await;
    spoken.until("there", |it| it.samples.len() == 4).await;
    unspoken.until("there", |it| it.samples.len() == 4).await;
    let relabeled = run.sending().relabeled;
    run.end().await;
    let (first, second) = (unspoken.heard.lock().unwrap(), spoken.heard.lock().unwrap());
    assert!(second.metadata.contains(&"hits_total: Hits.".to_owned()));
    assert!(second.headers[0].contains("x-prometheus-remote-write-version: 2.0.0"));
    assert!(second.headers[0].contains("x-scope-orgid: shop"));
    assert!(first.headers[0].contains("x-prometheus-remote-write-version: 0.1.0"));
    assert_eq!(relabeled, 5);
}

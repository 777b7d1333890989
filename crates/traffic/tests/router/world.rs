//! Upstreams that behave as a test says, tables, and users.

pub(crate) use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

pub(crate) use mainstay_core::{InstanceName, ServiceName, Span, Version, catalog::Bulkhead};
pub(crate) use mainstay_traffic::{Router, RouterError};
pub(crate) use mainstay_wire::{
    Generation,
    router::{
        Backend, BackendReport, ClaimedHealth, FromRouter, HealthVerdict, RouteTable, ServiceRoutes,
    },
};
pub(crate) use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What an upstream does about a request.
pub(crate) enum Act {
    Answer(String),
    Hang,
    Close,
    /// Answers late.
    Late(Duration, String),
}

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Act {
    Act::Answer(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// An upstream that reads whole heads and does what it is told about each.
pub(crate) struct Upstream {
    pub(crate) address: String,
    /// The head of each request but health checks.
    pub(crate) heads: Arc<Mutex<Vec<String>>>,
    pub(crate) connections: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    pub(crate) async fn new(act: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let connections = Arc::<AtomicU32>::default();
        let (seen, counted, act) = (Arc::clone(&heads), Arc::clone(&connections), Arc::new(act));
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                open.spawn(serve(stream, Arc::clone(&seen), Arc::clone(&act)));
            }
        });
        Self {
            address,
            heads,
            connections,
            task,
        }
    }

    /// One that answers everything with `body`.
    pub(crate) async fn well(body: &'static str) -> Self {
        Self::new(move |_| answer("200 OK", "", body)).await
    }

    /// One that is well by its health check, and answers nothing else.
    pub(crate) async fn hung() -> Self {
        Self::new(|head| {
            if is_check(head) {
                answer("200 OK", "", "")
            } else {
                Act::Hang
            }
        })
        .await
    }

    pub(crate) fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

pub(crate) fn is_check(head: &str) -> bool {
    head.starts_with("GET /healthz")
}

async fn serve<F: Fn(&str) -> Act>(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<String>>>,
    act: Arc<F>,
) {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                return;
            }
        };
        let head = String::from_utf8(bytes.drain(..end).collect()).unwrap();
        if !is_check(&head) {
            seen.lock().unwrap().push(head.clone());
        }
        match act(&head) {
            Act::Answer(text) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::Late(by, text) => {
                tokio::time::sleep(by).await;
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::Hang => {
                while matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {}
                return;
            }
            Act::Close => return,
        }
    }
}

pub(crate) fn version(name: &str) -> Version {
    Version::new(name).unwrap()
}

pub(crate) fn service(
    name: &str,
    timeout: u64,
    backends: &[(&str, &str)],
    weights: &[(&str, u32)],
) -> ServiceRoutes {
    ServiceRoutes {
        service: ServiceName::new(name).unwrap(),
        prefix: format!("/{name}/"),
        timeout: Span::from_millis(timeout),
        health: "/healthz".to_owned(),
        bulkhead: Bulkhead {
            connections: 4,
            in_flight: 4,
        },
        slo: None,
        weights: weights
            .iter()
            .map(|(v, w)| (version(v), *w))
            .collect::<BTreeMap<_, _>>(),
        backends: backends
            .iter()
            .enumerate()
            .map(|(i, (v, address))| Backend {
                instance: InstanceName::new(format!("{name}-{i}")).unwrap(),
                incarnation: 1,
                version: version(v),
                address: (*address).to_owned(),
                draining: false,
                share: 1.0,
                capacity_rps: None,
                limit: None,
            })
            .collect(),
        shed: 0,
        client_version_header: "x-client-version".to_owned(),
        probes: Vec::new(),
        probing: None,
    }
}

/// A service whose only version is v1.
pub(crate) fn only(name: &str, timeout: u64, upstreams: &[&Upstream]) -> ServiceRoutes {
    let backends: Vec<_> = upstreams
        .iter()
        .map(|u| ("v1", u.address.as_str()))
        .collect();
    service(name, timeout, &backends, &[("v1", 10_000)])
}

pub(crate) fn table(counter: u64, services: Vec<ServiceRoutes>) -> RouteTable {
    RouteTable {
        generation: Generation { epoch: 1, counter },
        services,
        protected: true,
    }
}

pub(crate) async fn router() -> Router {
    Router::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

pub(crate) async fn routing(services: Vec<ServiceRoutes>) -> Router {
    let router = router().await;
    router.apply(table(1, services)).unwrap();
    router
}

pub(crate) async fn get(router: &Router, path: &str, user: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-user-id: {user}\r\n");
    say(router, &format!("{head}connection: close\r\n\r\n")).await
}

/// What the router answers to `text` until it closes the connection.
pub(crate) async fn say(router: &Router, text: &str) -> String {
    let mut stream = TcpStream::connect(router.address()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

pub(crate) fn backends(router: &Router) -> Vec<BackendReport> {
    let FromRouter::Report { backends, .. } = router.report() else {
        panic!("a report");
    };
    backends.into_values().flatten().collect()
}

/// The value of the series that begins with `series`, of the router's metrics.
pub(crate) fn metric(router: &Router, series: &str) -> Option<f64> {
    let metrics = router.metrics();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("mainstay_router_")?.strip_prefix(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until `holds`, which must be within 20 seconds.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap();
}

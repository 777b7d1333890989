//! The processes that are measured, and what the kernel says that they used.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mainstay_core::{InstanceName, ServiceName, Span, Version, catalog::Bulkhead};
use mainstay_traffic::Router;
use mainstay_wire::{
    Generation,
    router::{Backend, RouteTable, ServiceRoutes},
};

use super::Result;

const UPSTREAMS: usize = 4;
/// Clock ticks a second in `/proc/PID/stat`: USER_HZ is 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;
const ANSWER: &[u8] = br#"{"service":"service","items":[{"id":1,"title":"one"},{"id":2,"title":"two"},{"id":3,"title":"three"}],"next":null}"#;

/// A proxy under measurement; it ends with this value.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) address: SocketAddr,
    directory: Option<PathBuf>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx ends its worker on a signal it can catch; the others on the end of their input.
        drop(self.child.stdin.take());
        if self.directory.is_some() {
            let pid = self.child.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
        }
        let _ = self.child.wait();
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

impl Proxy {
    /// CPU time of the process and its children, user and system.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let pid = self.child.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let children = children.split_whitespace().map(str::to_owned);
        let mut ticks = 0_u64;
        for pid in std::iter::once(pid.to_string()).chain(children) {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let (_, rest) = stat.rsplit_once(')').ok_or("a stat without a name")?;
            // The 14th and 15th fields; the name was the second.
            let fields: Vec<&str> = rest.split_whitespace().collect();
            ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        }
        Ok(ticks as f64 / TICKS)
    }
}

/// The machine, for the reader of the numbers.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "machine: {cores} cores of{}, Linux {}, load average {}",
        model
            .unwrap_or(": unknown")
            .trim_start()
            .trim_start_matches(':'),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or("?"),
    )
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Serves on four ports in one process until its input ends.
pub(crate) fn upstream() -> Result<()> {
    runtime()?.block_on(async {
        for _ in 0..UPSTREAMS {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", listener.local_addr()?);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service_fn(answer)),
                    );
                }
            });
        }
        until_input_ends().await;
        Ok(())
    })
}

async fn answer<B>(_: http::Request<B>) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER)));
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-service-version", "v1"),
        ("cache-control", "no-store"),
    ] {
        let value = http::HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

async fn until_input_ends() {
    let input = || std::io::stdin().read_to_end(&mut Vec::new());
    let _ = tokio::task::spawn_blocking(input).await;
}

/// Runs the router with one service on one thread until its input ends.
pub(crate) fn router(upstreams: &[String]) -> Result<()> {
    let table = table(upstreams)?;
    runtime()?.block_on(async {
        let router = Router::bind("127.0.0.1:0".parse()?).await?;
        router.apply(table)?;
        println!("{}", router.address());
        until_input_ends().await;
        Ok(())
    })
}

fn table(upstreams: &[String]) -> Result<RouteTable> {
    let version = Version::new("v1")?;
    let mut backends = Vec::new();
    for (index, address) in upstreams.iter().enumerate() {
        backends.push(Backend {
            instance: InstanceName::new(format!("service-{index}"))?,
            incarnation: 1,
            version: version.clone(),
            address: address.clone(),
            draining: false,
            share: 1.0,
            capacity_rps: None,
            limit: None,
        });
    }
    Ok(RouteTable {
        generation: Generation {
            epoch: 1,
            counter: 1,
        },
        services: vec![ServiceRoutes {
            service: ServiceName::new("service")?,
            prefix: "/service/".to_owned(),
            timeout: Span::from_secs(2),
            health: "/healthz".to_owned(),
            bulkhead: Bulkhead {
                connections: 256,
                in_flight: 256,
            },
            slo: None,
            weights: BTreeMap::from([(version, 10_000)]),
            backends,
            shed: 0,
            client_version_header: "x-client-version".to_owned(),
            probes: Vec::new(),
            probing: None,
        }],
        protected: true,
    })
}

fn start(arguments: &[String], lines: usize) -> Result<(Child, Vec<SocketAddr>)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("no output")?;
    let addresses = BufReader::new(output).lines().take(lines);
    let addresses = addresses
        .map(|line| Ok(line?.parse()?))
        .collect::<Result<_>>()?;
    Ok((child, addresses))
}

/// The upstreams, as a process that ends with the returned value.
pub(crate) fn start_upstreams() -> Result<(Proxy, Vec<SocketAddr>)> {
    let (child, addresses) = start(&["upstream".to_owned()], UPSTREAMS)?;
    let first = *addresses.first().ok_or("the upstreams did not start")?;
    let process = Proxy {
        child,
        address: first,
        directory: None,
    };
    Ok((process, addresses))
}

pub(crate) fn start_router(upstreams: &[SocketAddr]) -> Result<Proxy> {
    let mut arguments = vec!["router".to_owned()];
    arguments.extend(upstreams.iter().map(SocketAddr::to_string));
    let (child, addresses) = start(&arguments, 1)?;
    Ok(Proxy {
        child,
        address: *addresses.first().ok_or("the router did not start")?,
        directory: None,
    })
}

/// nginx with the committed configuration; `None` where it is not installed.
pub(crate) fn start_nginx(upstreams: &[SocketAddr]) -> Result<Option<Proxy>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")];
    let program = std::env::split_paths(&path)
        .chain(sbin)
        .map(|directory| directory.join("nginx"))
        .find(|program| program.is_file());
    let Some(program) = program else {
        return Ok(None);
    };
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/bench/nginx.conf");
    let directory = std::env::temp_dir().join(format!("mainstay-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    // A port that is free now; nothing else on this machine asks for one in between.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let servers: Vec<String> = upstreams.iter().map(|a| format!("server {a};")).collect();
    let text = std::fs::read_to_string(template)?
        .replace("@DIR@", &directory.to_string_lossy())
        .replace("@SERVERS@", &servers.join(" "))
        .replace("@LISTEN@", &address.to_string());
    let file = directory.join("nginx.conf");
    std::fs::write(&file, text)?;
    let child = Command::new(program)
        .arg("-p")
        .arg(&directory)
        .arg("-c")
        .arg(&file)
        .args(["-g", "daemon off;"])
        .spawn()?;
    let proxy = Proxy {
        child,
        address,
        directory: Some(directory),
    };
    let patience = Instant::now() + Duration::from_secs(5);
    while std::net::TcpStream::connect(address).is_err() {
        if Instant::now() > patience {
            return Err("nginx did not start within 5 s".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Some(proxy))
}

//! The router against real upstreams on loopback.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its world must fail there"
)]

use std::{collections::BTreeMap, time::Duration};

use mainstay_core::{InstanceName, ServiceName, Span, Version, catalog::Bulkhead};
use mainstay_traffic::{Router, RouterError};
use mainstay_wire::{
    Generation,
    router::{Backend, FromRouter, HealthVerdict, RouteTable, ServiceRoutes},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[derive(Clone, Copy)]
enum Kind {
    Well,
    Lying,
    Hung,
}

async fn upstream(kind: Kind, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4_096];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    let health = buffer[..n].starts_with(b"GET /healthz");
                    let status = match kind {
                        Kind::Hung if !health => std::future::pending().await,
                        Kind::Lying if !health => "500 Internal Server Error",
                        Kind::Well | Kind::Lying | Kind::Hung => "200 OK",
                    };
                    let text = format!(
                        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn version(name: &str) -> Version {
    Version::new(name).unwrap()
}

fn service(
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
            })
            .collect(),
        shed: 0,
    }
}

fn table(counter: u64, services: Vec<ServiceRoutes>) -> RouteTable {
    RouteTable {
        generation: Generation { epoch: 1, counter },
        services,
        protected: true,
    }
}

async fn get(router: &Router, path: &str, user: &str) -> String {
    let mut stream = TcpStream::connect(router.address()).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-user-id: {user}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

async fn router() -> Router {
    Router::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_table_is_in_force_when_apply_returns_and_an_older_one_is_refused() {
    let (one, two) = (
        upstream(Kind::Well, "one").await,
        upstream(Kind::Well, "two").await,
    );
    let router = router().await;
    let backends = [("v1", one.as_str()), ("v2", two.as_str())];
    for (counter, v) in [(1, "v1"), (2, "v2"), (3, "v1")] {
        router
            .apply(table(
                counter,
                vec![service("a", 1_000, &backends, &[(v, 10_000)])],
            ))
            .unwrap();
        let text = get(&router, "/a/x", "u1").await;
        assert!(
            text.ends_with(if v == "v1" { "one" } else { "two" }),
            "{text}"
        );
    }
    assert!(matches!(
        router.apply(table(2, vec![])),
        Err(RouterError::Stale { .. })
    ));
    assert!(get(&router, "/b/", "u").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_user_keeps_their_version_and_a_quarter_of_users_is_a_quarter() {
    let (one, two) = (
        upstream(Kind::Well, "one").await,
        upstream(Kind::Well, "two").await,
    );
    let router = router().await;
    let backends = [("v1", one.as_str()), ("v2", two.as_str())];
    router
        .apply(table(
            1,
            vec![service(
                "a",
                5_000,
                &backends,
                &[("v1", 7_500), ("v2", 2_500)],
            )],
        ))
        .unwrap();
    let mut second = 0;
    for user in 0..1_000 {
        let text = get(&router, "/a/", &format!("u{user}")).await;
        second += u32::from(text.ends_with("two"));
        if user < 20 {
            assert_eq!(
                text.ends_with("two"),
                get(&router, "/a/", &format!("u{user}"))
                    .await
                    .ends_with("two")
            );
        }
    }
    // Three standard deviations of a binomial with n = 1000, p = 0.25.
    assert!((209..=291).contains(&second), "{second}");
}

#[tokio::test]
async fn a_hung_service_exhausts_only_its_own_share() {
    let (hung, well) = (
        upstream(Kind::Hung, "").await,
        upstream(Kind::Well, "well").await,
    );
    let router = std::sync::Arc::new(router().await);
    router
        .apply(table(
            1,
            vec![
                service("hung", 700, &[("v1", &hung)], &[("v1", 10_000)]),
                service("well", 5_000, &[("v1", &well)], &[("v1", 10_000)]),
            ],
        ))
        .unwrap();
    let asked: Vec<_> = (0..12)
        .map(|_| {
            let router = std::sync::Arc::clone(&router);
            tokio::spawn(async move { get(&router, "/hung/", "u").await })
        })
        .collect();
    for _ in 0..20 {
        assert!(get(&router, "/well/", "u").await.ends_with("well"));
    }
    let (mut late, mut refused) = (0, 0);
    for answer in asked {
        let text = answer.await.unwrap();
        late += u32::from(text.starts_with("HTTP/1.1 504"));
        refused += u32::from(text.starts_with("HTTP/1.1 503") && text.contains("retry-after"));
    }
    assert_eq!((late, refused), (4, 8));
    let metrics = router.metrics();
    for line in [
        "mainstay_router_offered_total{service=\"hung\"} 12",
        "mainstay_router_rejects_total{service=\"hung\",reason=\"bulkhead\"} 8",
        "route=\"/hung/\",code=\"504\"} 4",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
}

#[tokio::test]
async fn a_lying_backend_is_found_out_and_leaves_rotation() {
    let (liar, well) = (
        upstream(Kind::Lying, "").await,
        upstream(Kind::Well, "well").await,
    );
    let router = router().await;
    let backends = [
        ("v1", liar.as_str()),
        ("v1", &well),
        ("v1", &well),
        ("v1", &well),
    ];
    router
        .apply(table(
            1,
            vec![service("a", 1_000, &backends, &[("v1", 10_000)])],
        ))
        .unwrap();
    let found = async {
        loop {
            let _ = get(&router, "/a/", "u").await;
            let FromRouter::Report { backends, .. } = router.report() else {
                continue;
            };
            let seen = &backends.values().next().unwrap()[0];
            if seen.verdict == HealthVerdict::Lying && !seen.in_rotation {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(15), found)
        .await
        .unwrap();
}

#[tokio::test]
async fn without_protections_a_hung_service_takes_the_pool_and_others_queue_until_it_lets_go() {
    let (hung, well) = (
        upstream(Kind::Hung, "").await,
        upstream(Kind::Well, "well").await,
    );
    let router = std::sync::Arc::new(router().await);
    let services = vec![
        service("hung", 700, &[("v1", &hung)], &[("v1", 10_000)]),
        service("well", 5_000, &[("v1", &well)], &[("v1", 10_000)]),
    ];
    router
        .apply(RouteTable {
            protected: false,
            ..table(1, services)
        })
        .unwrap();
    let mut patient = tokio::task::JoinSet::new();
    for _ in 0..256 {
        let router = std::sync::Arc::clone(&router);
        patient.spawn(async move { get(&router, "/hung/", "u").await });
    }
    until(|| {
        router
            .metrics()
            .contains("mainstay_router_shared_pool_held 256")
    })
    .await;
    let queued = {
        let router = std::sync::Arc::clone(&router);
        tokio::spawn(async move { get(&router, "/well/", "u").await })
    };
    until(|| {
        router
            .metrics()
            .contains("mainstay_router_queued{service=\"well\"} 1")
    })
    .await;
    let FromRouter::Report { hoarder, .. } = router.report() else {
        panic!("a report");
    };
    assert_eq!(hoarder.unwrap().as_str(), "hung");
    assert!(!queued.is_finished());
    // Their users give up, and only then the other service is served.
    patient.shutdown().await;
    let text = tokio::time::timeout(Duration::from_secs(10), queued);
    assert!(text.await.unwrap().unwrap().ends_with("well"));
}

/// Waits until `holds`, which must be within 15 seconds.
async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), waiting)
        .await
        .unwrap();
}

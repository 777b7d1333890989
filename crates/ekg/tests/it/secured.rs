//! Targets, and a server that lists them, behind TLS and a password.

use std::{convert::Infallible, path::Path, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use mainstay_ekg::{
    adapter::{Discovery, Pools},
    job::{Job, Section},
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::world::World;

/// The name and the password of RFC 7617, section 2.
const ALADDIN: &str = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";

/// A server with a certificate of its own, which it writes to `folder`. `/targets` lists the server itself to
/// whoever shows a token, `/metrics` answers Aladdin, and `/away` sends to `/metrics` over plain HTTP.
async fn serve(folder: &Path) -> (String, JoinSet<()>) {
    let own = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    std::fs::write(folder.join("ca.pem"), own.cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let listed = json!([{ "targets": [address], "labels": { "dc": "lax" } }]).to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, listed) = (acceptor.clone(), listed.clone());
            connections.spawn(async move {
                // Who does not trust the certificate hangs up: that is what some of them are here for.
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = service_fn(move |request| {
                    let response = answer(&request, &listed);
                    async move { Ok::<_, Infallible>(response) }
                });
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                let _ = served.await;
            });
        }
    });
    (address, tasks)
}

fn answer(request: &Request<Incoming>, listed: &str) -> Response<Full<Bytes>> {
    let said = request.headers().get(header::AUTHORIZATION);
    let said = said.map_or("", |it| it.to_str().unwrap());
    let (status, body) = match (request.uri().path(), said) {
        ("/targets", "Bearer sesame") => (200, listed.to_owned()),
        ("/metrics", ALADDIN) => (200, "# TYPE a gauge\na 1\n".to_owned()),
        _ => (401, String::new()),
    };
    let response = Response::builder().status(status);
    response.body(Full::new(Bytes::from(body))).unwrap()
}

fn job(folder: &Path, address: &str, change: impl FnOnce(&mut Value)) -> Job {
    let mut section = json!({
        "job_name": "shop", "scrape_interval": "20ms", "scheme": "https",
        "tls_config": { "ca_file": "ca.pem", "server_name": "shop.example" },
        "basic_auth": { "username": "Aladdin", "password_file": "password" },
        "http_sd_configs": [{
            "url": format!("https://{address}/targets"), "refresh_interval": "1s",
            "authorization": { "credentials": "sesame" },
            "tls_config": { "insecure_skip_verify": true },
        }],
    });
    change(&mut section);
    let mut job = Job::try_from(serde_json::from_value::<Section>(section).unwrap()).unwrap();
    job.begin_at(folder);
    job
}

#[tokio::test]
async fn targets_listed_by_a_server_are_scraped_within_tls_by_whoever_knows_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _serving) = serve(folder.path()).await;
    std::fs::write(folder.path().join("password"), "wrong\n").unwrap();
    let job = job(folder.path(), &address, |_| ());
    let pools = Pools::default();
    let world = World::new(Vec::new(), job.config().clone());
    let discovery = Discovery::new(job, pools).unwrap();
    let discovering = tokio::spawn(discovery.run(world.targets.clone(), world.stop.clone()));
    world.until("up{dc=\"lax\",job=\"shop\"}", &["0"]).await;
    std::fs::write(folder.path().join("password"), "open sesame\n").unwrap();
    world.until("up", &["1"]).await;
    world.until("a{dc=\"lax\"}", &["1"]).await;
    world.end().await;
    discovering.await.unwrap();
}

#[tokio::test]
async fn whoever_shows_a_certificate_that_nobody_signed_or_of_another_name_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _serving) = serve(folder.path()).await;
    std::fs::write(folder.path().join("password"), "open sesame").unwrap();
    let fixed = json!([{ "targets": [address] }]);
    for (tls, up) in [
        (
            json!({ "ca_file": "ca.pem", "server_name": "shop.example" }),
            "1",
        ),
        (json!({ "insecure_skip_verify": true }), "1"),
        (
            json!({ "ca_file": "ca.pem", "server_name": "bank.example" }),
            "0",
        ),
        (json!({ "server_name": "shop.example" }), "0"),
    ] {
        let job = job(folder.path(), &address, |section| {
            section["http_sd_configs"] = json!([]);
            section["static_configs"] = fixed.clone();
            section["tls_config"] = tls.clone();
        });
        let targets = job.targets(job.fixed()).targets;
        let world = World::new(targets, job.config().clone());
        world.until("up", &[up]).await;
        world.end().await;
    }
}

#[test]
fn a_job_that_cannot_speak_tls_as_it_wants_says_which_file_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    for (tls, says) in [
        (
            json!({ "ca_file": "gone.pem" }),
            "gone.pem is no PEM file of certificates",
        ),
        (
            json!({ "insecure_skip_verify": true, "cert_file": "c.pem" }),
            "go together",
        ),
    ] {
        let job = job(folder.path(), "a:1", |section| {
            section["http_sd_configs"][0]["tls_config"] = tls.clone();
        });
        let error = Discovery::new(job, Pools::default()).err().unwrap();
        assert!(error.to_string().contains(says), "{error}");
    }
}

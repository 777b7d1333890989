use super::world::*;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};

#[tokio::test]
async fn http2_users_are_served_many_at_once_on_one_connection() {
    let well = Upstream::well("well").await;
    let mut routes = only("a", 5_000, &[&well]);
    routes.bulkhead = Bulkhead {
        connections: 64,
        in_flight: 64,
    };
    let router = routing(vec![routes]).await;
    let stream = TcpStream::connect(router.address()).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let driven = tokio::spawn(connection);
    let asked: Vec<_> = (0..40)
        .map(|_| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let request = http::Request::get("http://site.example/a/x")
                    .body(Empty::<Bytes>::new())
                    .unwrap();
                let answer = sender.send_request(request).await.unwrap();
                assert_eq!(answer.status(), 200);
                answer.into_body().collect().await.unwrap().to_bytes()
            })
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "well");
    }
    assert!(well.heads.lock().unwrap().iter().all(|head| {
        head.starts_with("GET /a/x HTTP/1.1\r\n") && head.contains("host: site.example\r\n")
    }));
    driven.abort();
}

#[tokio::test]
async fn bodies_go_through_frame_by_frame_in_both_directions() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let upstream = tokio::spawn(async move {
        // The first is a request without a body: health checks come on connections of their own.
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            while !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
                stream.read_buf(&mut bytes).await.unwrap();
            }
            if bytes.starts_with(b"POST") {
                while !bytes.windows(5).any(|w| w == b"first") {
                    stream.read_buf(&mut bytes).await.unwrap();
                }
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nheard\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                while !bytes.windows(6).any(|w| w == b"second") {
                    stream.read_buf(&mut bytes).await.unwrap();
                }
                stream.write_all(b"4\r\nboth\r\n0\r\n\r\n").await.unwrap();
            }
        }
    });
    let routes = service("a", 20_000, &[("v1", &address)], &[("v1", 10_000)]);
    let router = routing(vec![routes]).await;
    let mut user = TcpStream::connect(router.address()).await.unwrap();
    let head =
        "POST /a/ HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    user.write_all(format!("{head}5\r\nfirst\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    // The answer begins while the request has not ended.
    while !answer.windows(5).any(|w| w == b"heard") {
        assert!(user.read_buf(&mut answer).await.unwrap() > 0);
    }
    assert!(!answer.windows(4).any(|w| w == b"both"));
    user.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    user.read_to_end(&mut answer).await.unwrap();
    assert!(answer.windows(4).any(|w| w == b"both"));
    upstream.abort();
}

#[tokio::test]
async fn a_body_that_is_broken_off_is_broken_off_for_the_user_too() {
    let upstream = Upstream::new(|head| {
        if is_check(head) {
            return answer("200 OK", "", "");
        }
        // Ten bytes announced, three sent, and then silence until the deadline.
        Act::Answer("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_owned())
    })
    .await;
    let router = routing(vec![only("a", 300, &[&upstream])]).await;
    let text = get(&router, "/a/", "u").await;
    assert!(
        text.contains("content-length: 10") && text.ends_with("abc"),
        "{text}"
    );
    let lost = "outcomes_total{service=\"a\",version=\"v1\",instance=\"a-0\",outcome=\"lost\"}";
    until(|| metric(&router, lost) == Some(1.0)).await;
}

#[tokio::test]
async fn what_is_between_neighbours_stays_there_and_the_peer_is_named() {
    let upstream = Upstream::new(|_| {
        answer(
            "200 OK",
            "connection: x-private\r\nx-private: 1\r\nkeep-alive: timeout=5\r\nx-public: 1\r\n",
            "ok",
        )
    })
    .await;
    let router = routing(vec![only("a", 1_000, &[&upstream])]).await;
    let text = say(
        &router,
        "GET http://real.example/a/x?q=1 HTTP/1.1\r\nhost: other.example\r\nconnection: close, x-hop\r\nx-hop: 1\r\nte: trailers\r\nproxy-connection: keep-alive\r\nkeep-alive: 9\r\nx-forwarded-for: 10.1.1.1\r\nx-end: 1\r\n\r\n",
    )
    .await;
    assert!(
        text.contains("x-public: 1") && !text.contains("x-private"),
        "{text}"
    );
    assert!(!text.contains("keep-alive"), "{text}");
    let heads = upstream.heads.lock().unwrap();
    let head = &heads[0];
    assert!(head.starts_with("GET /a/x?q=1 HTTP/1.1\r\n"), "{head}");
    for there in [
        "host: real.example\r\n",
        "x-forwarded-for: 10.1.1.1, 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "x-end: 1\r\n",
    ] {
        assert!(head.contains(there), "{there} is missing in {head}");
    }
    for gone in [
        "x-hop",
        "te:",
        "proxy-connection",
        "keep-alive",
        "other.example",
        "connection:",
    ] {
        assert!(!head.contains(gone), "{gone} is in {head}");
    }
}

#[tokio::test]
async fn requests_whose_end_is_ambiguous_are_refused_and_reach_nobody() {
    let upstream = Upstream::well("well").await;
    let router = routing(vec![only("a", 1_000, &[&upstream])]).await;
    let smuggled = "GET /a/smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    for framing in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 6\r\n",
        "content-length: +5\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "host: y\r\ncontent-length: 0\r\n",
    ] {
        let text = format!("POST /a/ HTTP/1.1\r\nhost: x\r\n{framing}\r\n0\r\n\r\n{smuggled}");
        let text = say(&router, &text).await;
        assert!(text.starts_with("HTTP/1.1 400"), "{framing}: {text}");
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "{framing}: {text}");
    }
    assert_eq!(upstream.requests(), 0);
    // An encoding beside a length holds alone; what goes on has one framing, and what follows on the
    // connection is not read as a request.
    for framing in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
    ] {
        let text = format!("POST /a/ HTTP/1.1\r\nhost: x\r\n{framing}\r\n0\r\n\r\n{smuggled}");
        let text = say(&router, &text).await;
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "{framing}: {text}");
    }
    let heads = upstream.heads.lock().unwrap();
    // The upstream takes the last chunk for a head of its own.
    let heads: Vec<_> = heads.iter().filter(|head| *head != "0\r\n\r\n").collect();
    assert_eq!(heads.len(), 2);
    for head in heads {
        assert!(
            head.starts_with("POST /a/ ") && !head.contains("content-length"),
            "{head}"
        );
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    }
}

#[tokio::test]
async fn heads_beyond_the_limit_are_refused() {
    let upstream = Upstream::well("well").await;
    let router = routing(vec![only("a", 1_000, &[&upstream])]).await;
    let long = "x".repeat(80 * 1_024);
    let many = (0..150).fold(String::new(), |text, i| text + &format!("x-{i}: 1\r\n"));
    for extra in [format!("x-long: {long}\r\n"), many] {
        let mut stream = TcpStream::connect(router.address()).await.unwrap();
        let text = format!("GET /a/ HTTP/1.1\r\nhost: x\r\n{extra}\r\n");
        // The router may answer and close before it read all.
        let _ = stream.write_all(text.as_bytes()).await;
        let mut answer = [0; 12];
        let read = stream.read_exact(&mut answer).await;
        assert!(read.is_err() || answer == *b"HTTP/1.1 431", "{answer:?}");
    }
    assert_eq!(upstream.requests(), 0);
    assert!(get(&router, "/a/", "u").await.ends_with("well"));
}

#[tokio::test]
async fn answers_without_a_body_keep_their_connection() {
    let upstream = Upstream::new(|head| {
        if head.starts_with("HEAD") {
            Act::Answer("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_owned())
        } else if is_check(head) {
            answer("200 OK", "", "")
        } else {
            Act::Answer("HTTP/1.1 204 No Content\r\n\r\n".to_owned())
        }
    })
    .await;
    let router = routing(vec![only("a", 1_000, &[&upstream])]).await;
    for method in ["HEAD", "GET", "HEAD", "DELETE", "GET"] {
        let text = format!("{method} /a/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let text = say(&router, &text).await;
        assert!(text.starts_with("HTTP/1.1 20"), "{text}");
    }
    // One for the users, and one for the health check if it came already.
    assert!(upstream.connections.load(Ordering::Relaxed) <= 2);
    assert_eq!(metric(&router, "connections{service=\"a\"}"), Some(1.0));
}

#[tokio::test]
async fn a_kept_connection_that_the_backend_closed_costs_no_request() {
    let upstream = Upstream::new(|head| {
        if is_check(head) {
            return answer("200 OK", "", "");
        }
        Act::Answer(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".to_owned(),
        )
    })
    .await;
    let router = routing(vec![only("a", 1_000, &[&upstream])]).await;
    for user in 0..10 {
        let text = get(&router, "/a/", &format!("u{user}")).await;
        assert!(text.ends_with("ok"), "{text}");
    }
    assert_eq!(metric(&router, "retries_total{service=\"a\"}"), Some(0.0));
}

#[tokio::test]
async fn upgrades_are_refused_and_an_offer_of_http2_is_ignored() {
    let well = Upstream::well("well").await;
    let router = routing(vec![only("a", 1_000, &[&well])]).await;
    let ask = async |to: &str| {
        let head = "GET /a/ HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\n";
        say(&router, &format!("{head}upgrade: {to}\r\n\r\n")).await
    };
    assert!(ask("websocket").await.starts_with("HTTP/1.1 501"));
    assert!(ask("h2c").await.starts_with("HTTP/1.1 200"));
}

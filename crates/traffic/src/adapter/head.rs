//! What of a message's head goes on and what stays: the framing of each side is its own.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header, request};

use mainstay_core::probe::PROBE_HEADER;

use crate::DEADLINE_HEADER;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Bytes of `x-forwarded-for` that are passed on; a longer chain is a loop or an attack, and starts
/// again at the peer.
const FORWARDED_MAX: usize = 1_024;

/// What is meant for the next neighbour only.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    *name == header::CONNECTION
        || *name == header::TE
        || *name == header::TRAILER
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

/// Why a request cannot be passed on by any route. Where its body ends is not ambiguous any more: of a
/// length beside an encoding the server keeps the encoding, and closes the connection after it.
pub(crate) fn objection<B>(request: &Request<B>) -> Option<(StatusCode, &'static str)> {
    let headers = request.headers();
    if request.method() == Method::CONNECT {
        return Some((StatusCode::NOT_IMPLEMENTED, "CONNECT is not supported"));
    }
    if headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Some((StatusCode::BAD_REQUEST, "a request has one Host"));
    }
    let upgrade = headers.get(header::UPGRADE);
    if upgrade.is_some_and(|to| !to.as_bytes().eq_ignore_ascii_case(b"h2c")) {
        return Some((StatusCode::NOT_IMPLEMENTED, "upgrades are not supported"));
    }
    None
}

/// Removes what is between two neighbours only.
pub(crate) fn strip(headers: &mut HeaderMap) {
    // Most heads have nothing of it, and one look at the names is cheaper than a search for each.
    let mut gone: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_hop_by_hop(name))
        .cloned()
        .collect();
    if gone.contains(&header::CONNECTION) {
        let named = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .filter_map(|name| name.trim().parse().ok())
            // A user must not make the router drop what it decides by.
            .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH);
        gone.extend(named);
    }
    for name in gone {
        headers.remove(name);
    }
}

/// Makes the head of a user's request that of the router's own.
pub(crate) fn outgoing(parts: &mut request::Parts, peer: &HeaderValue) {
    strip(&mut parts.headers);
    parts.headers.remove(header::EXPECT);
    // Nobody outside poses as one of the router's own.
    parts.headers.remove(PROBE_HEADER);
    // What the user sent as an absolute form or over HTTP/2 names its host there.
    if let Some(authority) = parts.uri.authority() {
        if let Ok(host) = authority.as_str().parse() {
            parts.headers.insert(header::HOST, host);
        }
        if let Some(path) = parts.uri.path_and_query() {
            parts.uri = path.clone().into();
        }
    }
    parts.version = http::Version::HTTP_11;
    parts.extensions.clear();
    forwarded(&mut parts.headers, peer);
}

fn forwarded(headers: &mut HeaderMap, peer: &HeaderValue) {
    let chain = headers.get_all(&FORWARDED_FOR);
    let mut joined: Vec<u8> = Vec::new();
    for value in chain {
        joined.extend_from_slice(value.as_bytes());
        joined.extend_from_slice(b", ");
    }
    let value = if joined.is_empty() || joined.len() > FORWARDED_MAX {
        peer.clone()
    } else {
        joined.extend_from_slice(peer.as_bytes());
        HeaderValue::from_bytes(&joined).unwrap_or_else(|_| peer.clone())
    };
    headers.insert(FORWARDED_FOR, value);
    headers
        .entry(FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static("http"));
}

/// A peer's address as the value of a header.
pub(crate) fn peer(address: IpAddr) -> HeaderValue {
    HeaderValue::from_str(&address.to_canonical().to_string())
        .unwrap_or(HeaderValue::from_static("unknown"))
}

/// The least deadline that a request names; what is no number is as if it were not there.
pub(crate) fn deadline(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(DEADLINE_HEADER).iter();
    all.filter_map(|v| v.to_str().ok())
        .filter(|text| text.trim().parse::<u64>().is_ok())
        .min_by_key(|text| text.trim().parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_header_names_goes_with_it_but_not_the_host() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-secret, Host"),
            ("connection", "close"),
            ("x-secret", "1"),
            ("host", "a"),
            ("te", "trailers"),
            ("accept", "*/*"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "host"]);
    }

    #[test]
    fn the_least_of_several_deadlines_counts() {
        let mut headers = HeaderMap::new();
        for value in ["9000", "soon", "150", "99999999999999999999999"] {
            headers.append(DEADLINE_HEADER, HeaderValue::from_static(value));
        }
        assert_eq!(deadline(&headers), Some("150"));
    }

    #[test]
    fn the_chain_of_peers_grows_by_one_and_starts_again_when_it_is_too_long() {
        let peer = peer([10, 0, 0, 7].into());
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, HeaderValue::from_static("1.1.1.1"));
        headers.append(FORWARDED_FOR, HeaderValue::from_static("2.2.2.2"));
        forwarded(&mut headers, &peer);
        assert_eq!(headers[FORWARDED_FOR], "1.1.1.1, 2.2.2.2, 10.0.0.7");
        let long = "1.1.1.1, ".repeat(200);
        headers.insert(FORWARDED_FOR, HeaderValue::from_str(long.trim()).unwrap());
        forwarded(&mut headers, &peer);
        assert_eq!(headers[FORWARDED_FOR], "10.0.0.7");
    }
}

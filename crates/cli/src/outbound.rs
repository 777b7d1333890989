//! The client with which the server posts to others, and how their addresses are named where others can read.
//!
//! Guarantees: an answer has a deadline, redirects are not followed, and no proxy of the environment is asked.
//! Never shows what an address may hold of a secret.

use std::time::Duration;

use reqwest::{Client, Url, redirect::Policy};

/// A client whose answers may take `within`.
pub(crate) fn client(within: Duration) -> reqwest::Result<Client> {
    // An error only means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .timeout(within)
        .redirect(Policy::none())
        .no_proxy()
        .build()
}

/// Scheme, host and port: path, query and user may be secrets.
pub(crate) fn named(url: &Url) -> String {
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{port}", url.scheme())
}

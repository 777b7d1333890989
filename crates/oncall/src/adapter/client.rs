//! Clients for receivers: how each is reached by HTTP.
//!
//! Guarantees: files of secrets are read each time that they are needed; what cannot be done is said when the
//! configuration is read. Never shows a secret in an error.

use std::{path::Path, time::Duration};

use reqwest::{Certificate, Client, Identity, Proxy, RequestBuilder, redirect::Policy};

use crate::config::http::{Held, Http, Secret, Tls};

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;

/// Why a receiver cannot be reached as it is said.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file.
    #[error("{file}: {error}")]
    File {
        /// Which.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// A field.
    #[error("http_config: {field}: {why}")]
    Field {
        /// Which.
        field: &'static str,
        /// Why.
        why: String,
    },
}

fn wrong(field: &'static str, why: impl ToString) -> ClientError {
    ClientError::Field {
        field,
        why: why.to_string(),
    }
}

/// The text of a file, without the line's end.
pub(super) fn file(path: &str) -> Result<String, ClientError> {
    let text = std::fs::read_to_string(Path::new(path)).map_err(|error| ClientError::File {
        file: path.to_owned(),
        error,
    })?;
    Ok(text.trim().to_owned())
}

/// A secret, from where it is held; empty where there is none.
pub(super) fn revealed(held: &Held) -> Result<String, ClientError> {
    match held {
        Held::None => Ok(String::new()),
        Held::Here(secret) => Ok(secret.reveal().to_owned()),
        Held::File(path) => file(path),
    }
}

/// The bytes of PEM, from the file or as they are written.
pub(super) fn pem(text: &str, path: &str) -> Result<Option<String>, ClientError> {
    match (text.is_empty(), path.is_empty()) {
        (true, true) => Ok(None),
        (false, _) => Ok(Some(text.to_owned())),
        (true, false) => file(path).map(Some),
    }
}

/// A client that reaches a receiver so.
pub(super) fn client(http: &Http, user_agent: &str) -> Result<Client, ClientError> {
    // An error only means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirects = if http.follow_redirects {
        Policy::limited(REDIRECTS_MAX)
    } else {
        Policy::none()
    };
    let mut builder = Client::builder()
        .user_agent(user_agent)
        .connect_timeout(CONNECT_WITHIN)
        .redirect(redirects);
    if !http.enable_http2 {
        builder = builder.http1_only();
    }
    if !http.proxy_url.is_empty() {
        let proxy = Proxy::all(http.proxy_url.reveal());
        builder = builder.proxy(proxy.map_err(|_| wrong("proxy_url", "is no address"))?);
    } else if !http.proxy_from_environment {
        builder = builder.no_proxy();
    }
    if let Some(tls) = &http.tls_config {
        builder = with_tls(builder, tls)?;
    }
    builder.build().map_err(|error| wrong("tls_config", error))
}

fn with_tls(
    builder: reqwest::ClientBuilder,
    tls: &Tls,
) -> Result<reqwest::ClientBuilder, ClientError> {
    let fields = [
        ("tls_config.server_name", &tls.server_name),
        ("tls_config.min_version", &tls.min_version),
        ("tls_config.max_version", &tls.max_version),
    ];
    if let Some((field, _)) = fields.into_iter().find(|(_, value)| !value.is_empty()) {
        return Err(wrong(
            field,
            "is not done here; TLS 1.2 and 1.3 are spoken, and the host of the address expected",
        ));
    }
    let mut builder = builder.tls_danger_accept_invalid_certs(tls.insecure_skip_verify);
    if let Some(ca) = pem(&tls.ca, &tls.ca_file)? {
        let certificates = Certificate::from_pem_bundle(ca.as_bytes());
        let certificates = certificates.map_err(|error| wrong("tls_config.ca_file", error))?;
        builder = builder.tls_certs_only(certificates);
    }
    let cert = pem(&tls.cert, &tls.cert_file)?;
    let key = pem(tls.key.reveal(), &tls.key_file)?;
    match (cert, key) {
        (None, None) => Ok(builder),
        (Some(cert), Some(key)) => {
            let identity = Identity::from_pem(format!("{key}\n{cert}").as_bytes());
            Ok(builder.identity(identity.map_err(|error| wrong("tls_config.cert_file", error))?))
        }
        (Some(_), None) | (None, Some(_)) => Err(wrong(
            "tls_config",
            "a certificate needs its key, and a key its certificate",
        )),
    }
}

/// Says who we are, and what is sent along.
pub(super) fn authorized(
    mut request: RequestBuilder,
    http: &Http,
) -> Result<RequestBuilder, ClientError> {
    if let Some(basic) = &http.basic_auth {
        let username = match basic.username_file.as_str() {
            "" => basic.username.clone(),
            path => file(path)?,
        };
        let password = revealed(&Held::of(&basic.password, &basic.password_file))?;
        request = request.basic_auth(username, Some(password));
    }
    let bearer = Held::of(&http.bearer_token, &http.bearer_token_file);
    if bearer != Held::None {
        request = request.bearer_auth(revealed(&bearer)?);
    }
    if let Some(authorization) = &http.authorization {
        let held = Held::of(&authorization.credentials, &authorization.credentials_file);
        let value = format!("{} {}", authorization.scheme, revealed(&held)?);
        request = request.header("authorization", value);
    }
    for (name, header) in &http.http_headers {
        let shown = header.values.iter().cloned().map(Ok);
        let secret = header
            .secrets
            .iter()
            .map(Secret::reveal)
            .map(|it| Ok(it.to_owned()));
        let files = header.files.iter().map(|path| file(path));
        for value in shown.chain(secret).chain(files) {
            request = request.header(name, value?);
        }
    }
    Ok(request)
}

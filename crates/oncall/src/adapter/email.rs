//! Mail over SMTP.
//!
//! Guarantees: without TLS where it is required nothing is said, not even who we are. A mail that the server refuses
//! for good is not tried again.

use std::{collections::BTreeMap, time::Duration};

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Identity, Tls, TlsParameters},
        extension::ClientId,
    },
};

use super::client::{pem, revealed};
use crate::{
    config::{channels::Email, http::Held},
    machine::Failure,
    payload::Filler,
};

/// The port on which TLS begins at once.
const IMPLICIT_TLS: u16 = 465;
/// How long the server may think about one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

fn never(why: impl ToString) -> Failure {
    Failure {
        why: why.to_string(),
        again: false,
    }
}

/// Sends one mail.
pub(super) async fn send(config: &Email, fill: &Filler<'_>) -> Result<(), Failure> {
    let message = message(config, fill)?;
    let transport = transport(config)?;
    match transport.send(message).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure {
            again: !error.is_permanent(),
            why: format!("{}: {error}", config.smarthost),
        }),
    }
}

fn message(config: &Email, fill: &Filler<'_>) -> Result<Message, Failure> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    headers.insert(
        "Subject".to_owned(),
        "{{ template \"email.default.subject\" . }}".to_owned(),
    );
    headers.insert("To".to_owned(), config.to.clone());
    headers.insert("From".to_owned(), config.from.clone());
    for (name, text) in &config.headers {
        let same = headers
            .keys()
            .find(|it| it.eq_ignore_ascii_case(name))
            .cloned();
        headers.insert(same.unwrap_or_else(|| name.clone()), text.clone());
    }
    let mailbox = |text: &str| -> Result<Mailbox, Failure> {
        text.trim()
            .parse::<Mailbox>()
            .map_err(|error| never(format!("`{text}` is no mail address: {error}")))
    };
    let mut builder = Message::builder().message_id(None).date_now();
    for (name, text) in &headers {
        let text = fill.text(text).map_err(never)?;
        builder = match name.as_str() {
            "Subject" => builder.subject(text),
            "From" => builder.from(mailbox(&text)?),
            "To" => text.split(',').try_fold(builder, |builder, one| {
                Ok::<_, Failure>(builder.to(mailbox(one)?))
            })?,
            other => {
                let name = HeaderName::new_from_ascii(other.to_owned());
                let name = name.map_err(|_| never(format!("`{other}` is no name of a header")))?;
                builder.raw_header(HeaderValue::new(name, text))
            }
        };
    }
    let html = config.html.clone();
    let html = html.unwrap_or_else(|| "{{ template \"email.default.html\" . }}".to_owned());
    let html = (!html.is_empty())
        .then(|| fill.markup(&html))
        .transpose()
        .map_err(never)?;
    let text = fill.text(&config.text).map_err(never)?;
    let body = match html {
        Some(html) if text.is_empty() => {
            MultiPart::alternative().singlepart(SinglePart::html(html))
        }
        Some(html) => MultiPart::alternative_plain_html(text, html),
        None => MultiPart::alternative().singlepart(SinglePart::plain(text)),
    };
    builder.multipart(body).map_err(never)
}

pub(super) fn transport(config: &Email) -> Result<AsyncSmtpTransport<Tokio1Executor>, Failure> {
    let (host, port) = config
        .smarthost
        .rsplit_once(':')
        .unwrap_or((&config.smarthost, "25"));
    let port = port.parse::<u16>().map_err(never)?;
    let host = host.trim_matches(['[', ']']);
    let implicit = config.force_implicit_tls.unwrap_or(port == IMPLICIT_TLS);
    let tls = match (implicit, config.require_tls.unwrap_or(true)) {
        (true, _) => Tls::Wrapper(tls(config, host)?),
        (false, true) => Tls::Required(tls(config, host)?),
        (false, false) => Tls::Opportunistic(tls(config, host)?),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(port)
        .tls(tls)
        .timeout(Some(ANSWER_WITHIN));
    if !config.hello.is_empty() {
        builder = builder.hello_name(ClientId::Domain(config.hello.clone()));
    }
    let password = revealed(&Held::of(&config.auth_password, &config.auth_password_file));
    let password = password.map_err(never)?;
    if !config.auth_username.is_empty() {
        builder = builder.credentials(Credentials::new(config.auth_username.clone(), password));
    }
    Ok(builder.build())
}

fn tls(config: &Email, host: &str) -> Result<TlsParameters, Failure> {
    let own = config.tls_config.clone().unwrap_or_default();
    let domain = if own.server_name.is_empty() {
        host
    } else {
        &own.server_name
    };
    let mut builder = TlsParameters::builder(domain.to_owned());
    if own.insecure_skip_verify {
        builder = builder.dangerous_accept_invalid_certs(true);
    }
    if let Some(ca) = pem(&own.ca, &own.ca_file).map_err(never)? {
        builder =
            builder.add_root_certificate(Certificate::from_pem(ca.as_bytes()).map_err(never)?);
    }
    let cert = pem(&own.cert, &own.cert_file).map_err(never)?;
    let key = pem(own.key.reveal(), &own.key_file).map_err(never)?;
    if let (Some(cert), Some(key)) = (cert, key) {
        let identity = Identity::from_pem(cert.as_bytes(), key.as_bytes()).map_err(never)?;
        builder = builder.identify_with(identity);
    }
    builder.build_rustls().map_err(never)
}

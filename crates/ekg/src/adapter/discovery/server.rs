//! Servers that list targets, in JSON, as Prometheus asks them.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use mainstay_core::Span;
use tokio::time::timeout;

use super::{LIST_BYTES_MAX, Listed};
use crate::{
    adapter::{
        Credentials, Tls,
        fetch::{Ask, HttpClient},
    },
    job::Group,
};

/// The label that says which server named a target.
const URL_LABEL: &str = "__meta_url";
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A server that lists targets, and how it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct ListServer {
    /// Where.
    pub url: Uri,
    /// How often.
    pub every: Span,
    /// Whether redirects are followed.
    pub redirects: bool,
    /// Who asks.
    pub credentials: Option<Credentials>,
    /// How TLS is spoken.
    pub tls: Tls,
}

impl ListServer {
    /// What it lists, by its URL.
    pub(super) async fn read(&self, client: &HttpClient) -> BTreeMap<String, Listed> {
        let listed = timeout(ANSWER_WITHIN, self.groups(client)).await;
        let late = || Err(format!("no whole answer within {ANSWER_WITHIN:?}"));
        let listed = listed.unwrap_or_else(|_| late());
        [(self.url.to_string(), listed)].into()
    }

    async fn groups(&self, client: &HttpClient) -> Listed {
        let every = self.every.duration().as_secs_f64().to_string();
        let every = HeaderValue::from_str(&every).map_err(|error| error.to_string())?;
        let interval = HeaderName::from_static("x-prometheus-refresh-interval-seconds");
        let json = HeaderValue::from_static("application/json");
        let ask = Ask {
            url: &self.url,
            headers: HeaderMap::from_iter([(header::ACCEPT, json), (interval, every)]),
            credentials: self.credentials.as_ref(),
            gzip: true,
            redirects: self.redirects,
            body_bytes: usize::try_from(LIST_BYTES_MAX).unwrap_or(usize::MAX),
        };
        let answer = ask.fetch(client).await.map_err(|error| error.to_string())?;
        let groups: Vec<Group> = serde_json::from_slice(&answer.body)
            .map_err(|error| format!("it answers no list of targets in JSON: {error}"))?;
        let named = groups.into_iter().map(|mut group| {
            let url = self.url.to_string();
            group.labels.entry(URL_LABEL.to_owned()).or_insert(url);
            group
        });
        Ok(named.collect())
    }
}

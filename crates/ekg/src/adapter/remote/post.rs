//! One request to one receiver, as often as it takes.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use mainstay_core::ports::Clock;
use mainstay_tsdb::Labels;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::state::State;
use crate::{
    adapter::fetch::SendClient,
    metadata::{Described, Metadata},
    remote::{
        MessageKind,
        encode::{self, Item},
        pace::{Backoff, Verdict, verdict},
    },
};

/// Bytes of an answer that are read: what it says of a refusal.
const ANSWER_BYTES_MAX: usize = 4_096;
/// Characters of it that are logged.
const SHOWN_MAX: usize = 300;
/// How many samples a receiver took, where it says so.
const WRITTEN: &str = "x-prometheus-remote-write-samples-written";

/// Sends to one receiver.
pub(super) struct Sender {
    pub(super) state: Arc<State>,
    pub(super) client: SendClient,
    pub(super) metadata: Metadata,
    pub(super) clock: Arc<dyn Clock>,
}

/// What became of a request.
enum Delivered {
    Taken,
    Refused {
        status: StatusCode,
        text: String,
        count: u64,
    },
}

/// Samples that a receiver will never take.
#[derive(Default)]
struct Refused {
    count: u64,
    says: String,
}

impl Refused {
    fn add(&mut self, count: u64, says: String) {
        self.count += count;
        self.says = says;
    }

    /// Counts them, and logs them once.
    fn count(&self, state: &State) {
        if self.count > 0 {
            let counts = &state.counts.refused;
            counts.fetch_add(self.count, Ordering::Relaxed);
            let (receiver, refused) = (state.remote.name(), self.count);
            tracing::error!(
                receiver,
                refused,
                says = self.says,
                "samples are refused for good"
            );
        }
    }
}

/// Halves of several samples: of their series, or of the time of one. Each keeps the order.
fn halves(items: Vec<Item>) -> (Vec<Item>, Vec<Item>) {
    let series: BTreeSet<&Labels> = items.iter().map(|it| &it.labels).collect();
    let middle = series.len() / 2;
    let Some(first) = series.iter().nth(middle).filter(|_| middle > 0) else {
        let mut older = items;
        let newer = older.split_off(older.len() / 2);
        return (older, newer);
    };
    let first = Labels::clone(first);
    items.into_iter().partition(|it| it.labels < first)
}

/// What was answered.
struct Answer {
    status: StatusCode,
    retry_after_secs: Option<u64>,
    written: Option<u64>,
    text: String,
}

impl Sender {
    /// Sends samples until they are taken or refused for good; false where `stop` came first.
    ///
    /// A receiver may refuse a whole request for one sample that it has already. So where an earlier run may have sent
    /// some of them, what is refused is sent again in halves: of series, then of time.
    pub(super) async fn send(&self, items: &[Item], stop: &CancellationToken) -> bool {
        let mut left = vec![self.fresh(items)];
        let mut refused = Refused::default();
        while let Some(items) = left.pop() {
            if items.is_empty() {
                continue;
            }
            match self.deliver(&items, stop).await {
                None => return false,
                Some(Delivered::Taken) => {}
                Some(Delivered::Refused { status, text, .. })
                    if status == StatusCode::BAD_REQUEST && self.may_be_known(&items) =>
                {
                    let (first, second) = halves(items);
                    tracing::debug!(receiver = self.state.remote.name(), text, "sent in halves");
                    left.push(second);
                    left.push(first);
                }
                Some(Delivered::Refused {
                    status,
                    text,
                    count,
                }) => refused.add(count, format!("{status}: {text}")),
            }
        }
        refused.count(&self.state);
        true
    }

    /// Whether there are several, and one of them may have been sent by an earlier run.
    fn may_be_known(&self, items: &[Item]) -> bool {
        items.len() > 1 && items.iter().any(|it| it.at_ms <= self.state.began_ms)
    }

    /// Sends one request as often as it takes; nothing where `stop` came first.
    async fn deliver(&self, items: &[Item], stop: &CancellationToken) -> Option<Delivered> {
        let queue = self.state.remote.section().queue_config;
        let (least, most) = (queue.min_backoff.duration(), queue.max_backoff.duration());
        let mut backoff = Backoff::new(least, most);
        loop {
            let kind = self.state.speaks();
            let body = encode::request(kind, items, |name| self.metadata.of_series(name));
            let bytes = body.len() as u64;
            let answer = stop.run_until_cancelled(self.post(kind, body)).await?;
            let asked = match self.judged(kind, items, bytes, answer) {
                Ok(delivered) => return Some(delivered),
                Err(asked) => asked,
            };
            let again = items.len() as u64;
            self.state
                .counts
                .retried
                .fetch_add(again, Ordering::Relaxed);
            stop.run_until_cancelled(sleep(backoff.wait(asked))).await?;
        }
    }

    /// Counts what an answer means; the least wait where the samples are to be sent again.
    fn judged(
        &self,
        kind: MessageKind,
        items: &[Item],
        bytes: u64,
        answer: Result<Answer, String>,
    ) -> Result<Delivered, Duration> {
        let receiver = self.state.remote.name();
        let counts = &self.state.counts;
        let all = items.len() as u64;
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => {
                counts.answered("none".to_owned());
                tracing::warn!(receiver, why, "samples are sent again");
                return Err(Duration::ZERO);
            }
        };
        let (status, text) = (answer.status, answer.text);
        counts.answered(status.as_str().to_owned());
        match verdict(status.as_u16(), answer.retry_after_secs) {
            Verdict::Sent => {
                self.sent(items, bytes, all);
                Ok(Delivered::Taken)
            }
            Verdict::Again(asked) => {
                tracing::warn!(receiver, %status, says = text, "samples are sent again");
                Err(asked)
            }
            Verdict::NotSpoken if kind == MessageKind::V2 => {
                tracing::warn!(receiver, %status, says = text, "no remote write 2.0: 1.0 is spoken");
                self.state.speak_first();
                Err(Duration::ZERO)
            }
            Verdict::GivenUp | Verdict::NotSpoken => {
                let Some(written) = answer.written.map(|it| it.min(all)) else {
                    return Ok(Delivered::Refused {
                        status,
                        text,
                        count: all,
                    });
                };
                // It took what it can: there is no use in halves.
                self.sent(items, bytes, written);
                let mut refused = Refused::default();
                refused.add(all - written, format!("{status}: {text}"));
                refused.count(&self.state);
                Ok(Delivered::Taken)
            }
        }
    }

    fn sent(&self, items: &[Item], bytes: u64, taken: u64) {
        let counts = &self.state.counts;
        counts.sent.fetch_add(taken, Ordering::Relaxed);
        counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        let newest = items.iter().map(|it| it.at_ms).max().unwrap_or(0);
        if taken > 0 {
            counts.newest_sent_ms.fetch_max(newest, Ordering::Relaxed);
        }
    }

    /// Without what is older than `sample_age_limit`.
    fn fresh(&self, items: &[Item]) -> Vec<Item> {
        let limit = self.state.remote.section().queue_config.sample_age_limit;
        let limit = i64::try_from(limit.millis()).unwrap_or(i64::MAX);
        let oldest = match limit {
            0 => i64::MIN,
            limit => self.clock.now().millis().saturating_sub(limit),
        };
        let fresh: Vec<Item> = items
            .iter()
            .filter(|it| it.at_ms >= oldest)
            .cloned()
            .collect();
        let old = (items.len() - fresh.len()) as u64;
        self.state.counts.too_old.fetch_add(old, Ordering::Relaxed);
        fresh
    }

    /// Describes metrics to a receiver of remote write 1.0; what is not taken is said again at the next time.
    pub(super) async fn describe(&self, described: &[Arc<Described>]) {
        let body = encode::descriptions(described.iter().map(|it| &**it));
        let answer = self.post(MessageKind::V1, body).await;
        let why = match answer {
            Ok(answer) if answer.status.is_success() => return,
            Ok(answer) => format!("{}: {}", answer.status, answer.text),
            Err(why) => why,
        };
        let receiver = self.state.remote.name();
        tracing::warn!(receiver, why, "metrics are not described there");
    }

    async fn post(&self, kind: MessageKind, body: Vec<u8>) -> Result<Answer, String> {
        let within = self.state.remote.section().remote_timeout;
        let answered = timeout(within.duration(), self.ask(kind, body)).await;
        answered.unwrap_or_else(|_| Err(format!("no answer within {within}")))
    }

    async fn ask(&self, kind: MessageKind, body: Vec<u8>) -> Result<Answer, String> {
        let remote = &self.state.remote;
        let request = Request::post(&remote.url)
            .header(header::CONTENT_TYPE, encode::media(kind))
            .header(header::CONTENT_ENCODING, "snappy")
            .header("x-prometheus-remote-write-version", encode::version(kind))
            .header(
                header::USER_AGENT,
                concat!("Mainstay/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::new(Bytes::from(body)));
        let mut request = request.map_err(|error| error.to_string())?;
        request.headers_mut().extend(remote.headers.clone());
        if let Some(credentials) = &remote.credentials {
            let value = credentials.header().await;
            let value = value.map_err(|error| error.to_string())?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let response = self.client.request(request).await;
        let response = response.map_err(|error| format!("no connection: {}", deepest(&error)))?;
        let (parts, body) = response.into_parts();
        // What the body cannot tell, the status does.
        let said = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let said = said
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&said);
        Ok(Answer {
            status: parts.status,
            retry_after_secs: number(&parts.headers, header::RETRY_AFTER.as_str()),
            written: number(&parts.headers, WRITTEN),
            text: text.trim().chars().take(SHOWN_MAX).collect(),
        })
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// The cause behind all others, which alone says something.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(host: &str, at_ms: i64) -> Item {
        Item {
            labels: Labels::from_pairs([("host", host)]).unwrap(),
            at_ms,
            value: 0.0,
            histogram: None,
        }
    }

    #[test]
    fn halves_are_of_series_first_and_of_time_where_there_is_one() {
        let told = |items: &[Item]| -> Vec<String> {
            let told = |it: &Item| format!("{} {}", it.labels.get("host").unwrap_or(""), it.at_ms);
            items.iter().map(told).collect()
        };
        let (first, second) = halves(vec![item("a", 1), item("b", 1), item("a", 2), item("c", 1)]);
        assert_eq!(
            (told(&first), told(&second)),
            (
                vec!["a 1".into(), "a 2".into()],
                vec!["b 1".into(), "c 1".into()]
            )
        );
        let (older, newer) = halves(first);
        assert_eq!(
            (told(&older), told(&newer)),
            (vec!["a 1".to_owned()], vec!["a 2".to_owned()])
        );
    }
}

//! Where imported samples go.

use anyhow::{Context as _, anyhow};
use mainstay_ekg::import::packed;
use mainstay_tsdb::{Backfilled, Head, Order, Outcome};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::spawn_blocking};

use crate::{
    args::{Global, Import},
    client::Client,
    config::Config,
    metrics, ports,
};

/// How often a batch is sent that the server has no room for.
const TRIES: u32 = 5;

/// What became of samples.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) written: u64,
    pub(super) known: u64,
    pub(super) expired: u64,
    pub(super) refused: u64,
    /// The first refusals, word by word.
    pub(super) told: String,
}

pub(super) struct Sink {
    to: To,
    taken: Taken,
}

enum To {
    Server(Client),
    Folder(Box<Head>),
}

impl Sink {
    pub(super) async fn open(global: &Global, args: &Import) -> anyhow::Result<Self> {
        let to = if let Some(data_dir) = &args.data_dir {
            let config = args
                .config
                .as_deref()
                .map_or_else(|| Ok(Config::default()), Config::read)?;
            let head = metrics::open(data_dir.join("metrics"), &config.metrics).await?;
            To::Folder(Box::new(head))
        } else {
            let client = Client::new(global)?;
            let paths: Vec<String> = args
                .paths
                .iter()
                .map(|it| it.display().to_string())
                .collect();
            let title = format!("import samples from {}", paths.join(", "));
            let title: String = title.chars().take(150).collect();
            let record = json!({ "title": title, "reason": args.reason });
            let _: Value = client.post("/api/v1/changes/record", &record).await?;
            To::Server(client)
        };
        Ok(Self {
            to,
            taken: Taken::default(),
        })
    }

    pub(super) async fn take(&mut self, batch: Vec<Backfilled>) -> anyhow::Result<()> {
        match &mut self.to {
            To::Server(client) => {
                let body = spawn_blocking(move || packed(&batch)).await??;
                let data = send(client, body).await?;
                let count = |name: &str| data[name].as_u64().unwrap_or(0);
                let refused = data["refused"].as_object().into_iter().flatten();
                self.taken.written += count("written");
                self.taken.known += count("known");
                self.taken.expired += count("expired");
                self.taken.refused += refused.filter_map(|(_, n)| n.as_u64()).sum::<u64>();
                if self.taken.told.is_empty() {
                    data["told"]
                        .as_str()
                        .unwrap_or_default()
                        .clone_into(&mut self.taken.told);
                }
            }
            To::Folder(head) => {
                let (tell, told) = oneshot::channel();
                let obeyed = Box::new(|outcome| {
                    // Whoever waits for it is here.
                    let _ = tell.send(outcome);
                });
                head.order(Order::Backfill(batch), ports::now().millis(), obeyed);
                let Outcome {
                    written,
                    known,
                    expired,
                    refused,
                    ..
                } = told.await.context("the engine ended")??;
                self.taken.written += written;
                self.taken.known += known;
                self.taken.expired += expired;
                self.taken.refused += refused;
            }
        }
        Ok(())
    }

    pub(super) async fn close(self) -> anyhow::Result<Taken> {
        if let To::Folder(head) = self.to {
            // It ends its threads, which takes a while.
            spawn_blocking(move || drop(head)).await?;
        }
        Ok(self.taken)
    }
}

async fn send(client: &Client, body: Vec<u8>) -> anyhow::Result<Value> {
    let mut last = None;
    for _ in 0..TRIES {
        let sent = client.post_bytes("/api/v1/import", "application/x-protobuf", body.clone());
        match sent.await {
            Ok(answer) => {
                let answer: Value = answer;
                return Ok(answer["data"].clone());
            }
            Err(error) if error.is_away() => {
                last = Some(error);
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let why = last.map_or_else(|| anyhow!("it was not tried"), anyhow::Error::new);
    Err(why.context("the server does not take it; import the same again later"))
}

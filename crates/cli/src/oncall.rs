//! Incidents inside the server: their desk, whoever pages people, the auditor, and the alerts of its own rules.
//!
//! Guarantees: what a person does is in the ledger before it is answered, on every server; pages go out from the one
//! that leads. Alerts of its own rules open incidents as those that others post do. Never drops an alert without
//! saying so: what fires is told again each minute.

use std::sync::Arc;

use anyhow::Context as _;
use axum::body::Bytes;
use mainstay_core::{
    Actor, ChangeId, Name,
    escalation::EscalationPolicySpec,
    flaw::SpecFlaw,
    ports::{BoxFuture, Clock, Declined, Ledger, No, Tables},
};
use mainstay_ekg::adapter::Told;
use mainstay_oncall::{
    Labels, Posted,
    adapter::incidents::{self, Auditor, Book, Desk, Links, Pager, Paging, Ports, Rota},
};
use mainstay_rules::AlertState;
use mainstay_runtime::Inbox;
use mainstay_server::{IncidentsAsked, Leader};
use mainstay_store::Store;
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{config::Oncall, ports};

/// Answers of channels that wait for the walk of changes.
const ANSWERS_MAX: usize = 4_096;
/// The name of the secret that links are signed with.
const LINKS: &str = "links";
/// Bytes of that secret.
const SECRET_BYTES: usize = 32;

/// What incidents stand on.
pub(crate) struct Sources {
    pub(crate) store: Store,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) tables: Arc<dyn Tables>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where people reach this server.
    pub(crate) url: String,
    /// Where the walk of changes is told.
    pub(crate) inputs: mpsc::Sender<Inbox>,
    /// Alerts of its own rules.
    pub(crate) alerts: mpsc::Receiver<Vec<Told>>,
    /// Who leads.
    pub(crate) leader: watch::Receiver<Leader>,
    /// Where schedules are read.
    pub(crate) schedules: mainstay_oncall::schedule::adapter::Desk,
}

/// Incidents, as the API and the walk of changes see them.
pub(crate) struct Started {
    pub(crate) desk: Arc<Incidents>,
    pub(crate) pager: Pager,
    pub(crate) book: Arc<Book>,
    /// Run until told to stop.
    pub(crate) tasks: JoinSet<()>,
}

/// The desk behind the API.
pub(crate) struct Incidents(Desk);

/// Reads what there is, and begins.
pub(crate) async fn start(
    config: Oncall,
    sources: Sources,
    stop: &CancellationToken,
) -> anyhow::Result<Started> {
    let Sources {
        store,
        ledger,
        tables,
        clock,
        url,
        inputs,
        alerts,
        leader,
        schedules,
    } = sources;
    let rota = Arc::new(Rota::new(config.people)?);
    let newest = store.subscribe();
    // Before anybody is paged: a schedule that is not known yet names nobody.
    rota.read(&schedules).await;
    let secret = store.secret(LINKS, &fresh()?).await?;
    let links = Links::new(&secret, Some(url));
    let to_walk = inputs.clone();
    let ports = Ports {
        ledger: Arc::clone(&ledger),
        tables,
        clock: Arc::clone(&clock),
        newest: store.subscribe(),
        next_id: Arc::new(ports::new_incident_id),
        wrote: Arc::new(move |change, version| {
            // Room is left for what people order; what is not heard of so is read from the ledger.
            if to_walk.capacity() > to_walk.max_capacity() / 2 {
                let change = change.clone();
                let _ = to_walk.try_send(Inbox::Seen { change, version });
            }
        }),
    };
    let (book, since) = Book::open(&ports)
        .await
        .context("cannot read what is open of incidents")?;
    let (answers, from_channels) = mpsc::channel(ANSWERS_MAX);
    let pager = Pager::new(Paging {
        who: Arc::clone(&rota) as _,
        channels: Arc::clone(&rota) as _,
        links: links.clone(),
        clock: Arc::clone(&clock),
        answers,
        book: Arc::clone(&book),
        pages_per_minute: config.pages_per_minute,
    });
    let desk = Desk::new(ports.clone(), Arc::clone(&book), Arc::clone(&rota), links);
    let auditor = Auditor {
        desk: desk.clone(),
        ledger,
        leads: Arc::new(move || *leader.borrow() == Leader::Here),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(rota.follow(schedules, newest, stop.clone()));
    tasks.spawn(Arc::clone(&book).follow(ports, since, stop.clone()));
    tasks.spawn(auditor.run(stop.clone()));
    tasks.spawn(pager.clone().finish(stop.clone()));
    tasks.spawn(pass_on(from_channels, inputs, stop.clone()));
    tasks.spawn(take_alerts(desk.clone(), alerts, stop.clone()));
    Ok(Started {
        desk: Arc::new(Incidents(desk)),
        pager,
        book,
        tasks,
    })
}

fn fresh() -> anyhow::Result<String> {
    let mut random = [0_u8; SECRET_BYTES];
    getrandom::fill(&mut random).context("the operating system gives no random bytes")?;
    Ok(mainstay_core::hex(&random))
}

/// What came of pages, to the walk of changes.
async fn pass_on(
    mut answers: mpsc::Receiver<(ChangeId, String)>,
    inputs: mpsc::Sender<Inbox>,
    stop: CancellationToken,
) {
    while let Some(Some((change, body))) = stop.run_until_cancelled(answers.recv()).await {
        let input = Inbox::Input { change, body };
        if stop.run_until_cancelled(inputs.send(input)).await.is_none() {
            return;
        }
    }
    stop.cancelled().await;
}

/// Alerts of its own rules, to whoever they concern.
async fn take_alerts(desk: Desk, mut alerts: mpsc::Receiver<Vec<Told>>, stop: CancellationToken) {
    while let Some(Some(told)) = stop.run_until_cancelled(alerts.recv()).await {
        let posted: Vec<Posted> = told.iter().map(posted).collect();
        if let Err(declined) = desk.accept(&posted).await {
            tracing::error!(
                why = declined.what,
                "alerts opened no incidents; they are told again within a minute"
            );
        }
    }
    stop.cancelled().await;
}

fn posted(told: &Told) -> Posted {
    let alert = &told.alert;
    let ended = alert.state != AlertState::Firing;
    Posted {
        labels: alert.labels.iter().collect::<Labels>(),
        annotations: Labels::from_iter(&alert.annotations),
        ends_at: ended
            .then(|| jiff::Timestamp::from_millisecond(told.ends_at.millis()).ok())
            .flatten(),
        ..Posted::default()
    }
}

impl mainstay_server::Incidents for Incidents {
    fn flaws(&self, name: &Name, policy: &EscalationPolicySpec) -> Vec<SpecFlaw> {
        self.0.flaws(name, policy)
    }

    fn list(&self, asked: IncidentsAsked) -> BoxFuture<'_, Result<Vec<Value>, Declined>> {
        Box::pin(async move {
            let status = asked.status.as_deref();
            self.0.list_as(status, asked.severity, asked.limit).await
        })
    }

    fn show(&self, id: ChangeId) -> BoxFuture<'_, Result<Value, Declined>> {
        Box::pin(async move { self.0.show(&id).await })
    }

    fn open(&self, actor: Actor, request: Value) -> BoxFuture<'_, Result<Value, Declined>> {
        Box::pin(self.0.open_as(actor, request))
    }

    fn act(
        &self,
        actor: Actor,
        id: ChangeId,
        verb: String,
        request: Value,
    ) -> BoxFuture<'_, Result<Value, Declined>> {
        Box::pin(async move { self.0.act_as(actor, &id, &verb, request).await })
    }

    fn alerts(&self, body: Bytes) -> BoxFuture<'_, Result<Vec<String>, Declined>> {
        Box::pin(async move {
            let (posted, mut wrong) = incidents::posted(&body).map_err(|error| {
                let remedy = "send what Alertmanager's API takes";
                Declined::new(No::Invalid, "bad-alerts", error.to_string(), remedy)
            })?;
            let (posted, nameless): (Vec<Posted>, Vec<Posted>) =
                posted.into_iter().partition(|it| !it.labels.is_empty());
            self.0.accept(&posted).await?;
            wrong.extend(nameless.iter().map(|_| "an alert has no labels".to_owned()));
            Ok(wrong)
        })
    }

    fn linked(&self, token: &str) -> Result<Value, Declined> {
        self.0.linked(token)
    }

    fn acknowledge(&self, token: String) -> BoxFuture<'_, Result<Value, Declined>> {
        Box::pin(async move { self.0.acknowledge_by_link(&token).await })
    }
}

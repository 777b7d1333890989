//! What the server stands on where only its streams matter.

use axum::{
    body::Bytes,
    http::{Request, Response},
};
use mainstay_core::{
    Actor, Append, ChangeId, Entry, HostName, Name, ServiceName, Span, StreamId, Time,
    catalog::Spec,
    flaw::SpecFlaw,
    ports::{
        BoxFuture, Changes, Clock, Declined, Identity, InstanceCounts, Ledger, LedgerError, No,
        Tables, TokenHolder, Views,
    },
};
use mainstay_server::{
    Answer, Intake, Monitors, Oncall, OncallAnswer, OncallAsked, OncallOf, Queries, Rules,
    RulesAsked, Terms, Window,
};
use serde_json::{Value, json};

/// The wall clock.
pub(crate) struct Wall;

impl Clock for Wall {
    fn now(&self) -> Time {
        Time::from_millis(jiff::Timestamp::now().as_millisecond())
    }
}

/// A ledger, tables and samples without anything in them.
pub(crate) struct Empty;

impl Ledger for Empty {
    fn append(&self, _: Append) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn since(&self, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn stream<'a>(&'a self, _: &'a StreamId) -> BoxFuture<'a, Result<Vec<Entry>, LedgerError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl Tables for Empty {
    fn get<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LedgerError>> {
        Box::pin(async { Ok(None) })
    }
    fn list<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, String)>, LedgerError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// One token: `host-token`, with the scope `host`.
impl Identity for Empty {
    fn holder<'a>(
        &'a self,
        secret: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenHolder>, LedgerError>> {
        Box::pin(async move {
            Ok((secret == "host-token").then(|| TokenHolder {
                name: "h1".into(),
                scopes: vec!["host".into()],
            }))
        })
    }
}

fn declined<'a>() -> BoxFuture<'a, Result<String, Declined>> {
    let because = "nothing changes here";
    Box::pin(async move { Err(Declined::new(No::Unavailable, "empty", because, "")) })
}

impl Changes for Empty {
    fn propose(&self, _: String, _: Actor, _: String) -> BoxFuture<'_, Result<String, Declined>> {
        declined()
    }
    fn ready(&self) -> BoxFuture<'_, Result<(), Declined>> {
        Box::pin(async { Ok(()) })
    }
    fn may_stop(&self, _: Vec<ServiceName>) -> BoxFuture<'_, Result<(), Declined>> {
        Box::pin(async { Ok(()) })
    }
    fn may_scale(
        &self,
        _: Vec<(ServiceName, InstanceCounts)>,
    ) -> BoxFuture<'_, Result<(), Declined>> {
        Box::pin(async { Ok(()) })
    }
    fn may_leave(&self, _: Vec<HostName>) -> BoxFuture<'_, Result<(), Declined>> {
        Box::pin(async { Ok(()) })
    }
    fn steer(
        &self,
        _: ChangeId,
        _: String,
        _: Actor,
        _: String,
    ) -> BoxFuture<'_, Result<String, Declined>> {
        declined()
    }
}

impl Views for Empty {
    fn view<'a>(&'a self, _: &'a str, _: Option<&'a str>) -> BoxFuture<'a, Option<String>> {
        Box::pin(async { None })
    }
}

impl Rules for Empty {
    fn groups(&self, _: RulesAsked) -> Value {
        Value::Null
    }
    fn alerts(&self) -> Value {
        Value::Null
    }
    fn alertmanagers(&self) -> Value {
        Value::Null
    }
    fn reload(&self) -> Result<(), String> {
        Ok(())
    }
}

impl mainstay_server::Incidents for Empty {
    fn flaws(
        &self,
        _: &mainstay_core::Name,
        _: &mainstay_core::escalation::EscalationPolicySpec,
    ) -> Vec<mainstay_core::flaw::SpecFlaw> {
        Vec::new()
    }
    fn list(
        &self,
        _: mainstay_server::IncidentsAsked,
    ) -> BoxFuture<'_, Result<Vec<Value>, Declined>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn show(&self, _: ChangeId) -> BoxFuture<'_, Result<Value, Declined>> {
        Box::pin(async { Err(no_incident()) })
    }
    fn open(&self, _: Actor, _: Value) -> BoxFuture<'_, Result<Value, Declined>> {
        Box::pin(async { Err(no_incident()) })
    }
    fn act(
        &self,
        _: Actor,
        _: ChangeId,
        _: String,
        _: Value,
    ) -> BoxFuture<'_, Result<Value, Declined>> {
        Box::pin(async { Err(no_incident()) })
    }
    fn alerts(&self, _: Bytes) -> BoxFuture<'_, Result<Vec<String>, Declined>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn linked(&self, _: &str) -> Result<Value, Declined> {
        Err(no_incident())
    }
    fn acknowledge(&self, _: String) -> BoxFuture<'_, Result<Value, Declined>> {
        Box::pin(async { Err(no_incident()) })
    }
}

fn no_incident() -> Declined {
    Declined::new(No::Unknown, "unknown-incident", "there is none", "open one")
}

impl Oncall for Empty {
    fn flaws(&self, _: &Name, _: &Spec, _: &[Name]) -> Vec<SpecFlaw> {
        Vec::new()
    }
    fn ask(&self, _: OncallOf, _: OncallAsked) -> BoxFuture<'_, Result<OncallAnswer, Declined>> {
        Box::pin(async { Ok(OncallAnswer::Json("{}".to_owned())) })
    }
    fn order(
        &self,
        _: Name,
        _: String,
        _: Actor,
        _: String,
    ) -> BoxFuture<'_, Result<String, Declined>> {
        declined()
    }
}

impl Monitors for Empty {
    fn report(&self) -> BoxFuture<'_, Result<Value, String>> {
        Box::pin(async { Ok(Value::Null) })
    }
    fn check(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

impl mainstay_server::Gauges for Empty {
    fn gauges(&self) -> Vec<mainstay_server::Gauge> {
        Vec::new()
    }
}

impl mainstay_server::Upkeep for Empty {
    fn check(&self, _: &[String]) -> Result<(), String> {
        Ok(())
    }
    fn delete(
        &self,
        _: Vec<String>,
        _: Window,
    ) -> BoxFuture<'_, Result<(), mainstay_server::Undone>> {
        Box::pin(async { Ok(()) })
    }
    fn clean(&self) -> BoxFuture<'_, Result<(), mainstay_server::Undone>> {
        Box::pin(async { Ok(()) })
    }
    fn snapshot(&self, _: String, _: bool) -> BoxFuture<'_, Result<(), mainstay_server::Undone>> {
        Box::pin(async { Ok(()) })
    }
    fn import(
        &self,
        _: axum::http::Request<axum::body::Bytes>,
    ) -> BoxFuture<'_, axum::http::Response<axum::body::Bytes>> {
        Box::pin(async { axum::http::Response::default() })
    }
    fn copies(&self) -> Value {
        Value::Null
    }
}

impl Queries for Empty {
    fn query(&self, _: &str, _: Time, _: &Terms) -> Answer {
        json!({}).into()
    }
    fn query_range(&self, _: &str, _: Window, _: Span, _: &Terms) -> Answer {
        json!({}).into()
    }
    fn check(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn format_query(&self, _: &str) -> Value {
        json!({})
    }
    fn parse_query(&self, _: &str) -> Value {
        json!({})
    }
    fn query_exemplars(&self, _: &str, _: Window) -> Value {
        json!({})
    }
    fn series(&self, _: &[&str], _: Window) -> Value {
        json!({})
    }
    fn labels(&self, _: &[&str], _: Window) -> Value {
        json!({})
    }
    fn label_values(&self, _: &str, _: &[&str], _: Window) -> Value {
        json!({})
    }
    fn metadata(&self, _: Option<&str>, _: Option<usize>, _: Option<usize>) -> Value {
        json!({})
    }
    fn targets(&self, _: &str) -> Value {
        json!({})
    }
    fn target_metadata(&self, _: &str, _: &str, _: Option<usize>) -> Value {
        json!({})
    }
    fn relabel_steps(&self, _: &str, _: &str) -> Value {
        json!({})
    }
    fn pools(&self) -> Vec<String> {
        Vec::new()
    }
    fn remote_read(&self, _: &[u8]) -> Result<Box<dyn mainstay_server::Reading>, String> {
        Err("nothing is kept".to_owned())
    }
    fn export(&self, _: &[&str], _: Window) -> Result<Box<dyn mainstay_server::Reading>, String> {
        Err("nothing is kept".to_owned())
    }
    fn federate(&self, _: &[&str], _: Time) -> Result<String, Value> {
        Ok(String::new())
    }
    fn cardinality(&self, _: usize) -> Value {
        json!({})
    }
    fn retention(&self) -> Span {
        Span::ZERO
    }
}

impl Intake for Empty {
    fn remote_write(&self, _: Request<Bytes>) -> BoxFuture<'_, Response<Bytes>> {
        Box::pin(async { Response::new(Bytes::new()) })
    }
    fn otlp(&self, _: Request<Bytes>) -> BoxFuture<'_, Response<Bytes>> {
        Box::pin(async { Response::new(Bytes::new()) })
    }
    fn otlp_call(&self, _: Request<Bytes>) -> BoxFuture<'_, Response<Bytes>> {
        Box::pin(async { Response::new(Bytes::new()) })
    }
    fn received(&self) -> Vec<(&'static str, &'static str, u64)> {
        Vec::new()
    }
}

//! Stands where a room is not wired yet.
use mainstay_core::{
    Actor, ChangeId, Span, Time,
    ports::{BoxFuture, Changes, Declined, No, Views},
};
use mainstay_server::{Queries, Streams, Window};
use serde_json::{Value, json};
use tokio::sync::mpsc;

pub(crate) struct Unwired;

fn no<'a>() -> BoxFuture<'a, Result<String, Declined>> {
    Box::pin(async { Err(Declined::new(No::Unavailable, "unwired", "not wired", "")) })
}
impl Changes for Unwired {
    fn propose(&self, _: String, _: Actor, _: String) -> BoxFuture<'_, Result<String, Declined>> {
        no()
    }
    fn steer(
        &self,
        _: ChangeId,
        _: String,
        _: Actor,
        _: String,
    ) -> BoxFuture<'_, Result<String, Declined>> {
        no()
    }
}
impl Views for Unwired {
    fn view<'a>(&'a self, _: &'a str, _: Option<&'a str>) -> BoxFuture<'a, Option<String>> {
        Box::pin(async { None })
    }
}
impl Queries for Unwired {
    fn query(&self, _: &str, _: Time) -> Value {
        json!({})
    }
    fn query_range(&self, _: &str, _: Window, _: Span) -> Value {
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
}
impl Streams for Unwired {
    fn attend(&self, _: mpsc::Receiver<String>, _: mpsc::Sender<String>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

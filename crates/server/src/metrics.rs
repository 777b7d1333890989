//! PromQL over HTTP, in the shapes of Prometheus's API.

use axum::{Json, extract::State};
use mainstay_core::{Span, Time};
use serde_json::{Value, json};

use crate::App;

/// A window of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From.
    pub start: Time,
    /// To.
    pub end: Time,
}

/// Answers PromQL in Prometheus's JSON. Calls may compute for as long as a query is heavy: they are made on a
/// thread that may block.
pub trait Queries: Send + Sync {
    /// `/api/v1/query`.
    fn query(&self, expr: &str, at: Time) -> Value;
    /// `/api/v1/query_range`.
    fn query_range(&self, expr: &str, window: Window, step: Span) -> Value;
    /// `/api/v1/series`.
    fn series(&self, selectors: &[&str], window: Window) -> Value;
    /// `/api/v1/labels`.
    fn labels(&self, selectors: &[&str], window: Window) -> Value;
    /// `/api/v1/label/NAME/values`.
    fn label_values(&self, name: &str, selectors: &[&str], window: Window) -> Value;
}

macro_rules! stub { ($($name:ident),*) => { $(
    pub(crate) async fn $name(State(app): State<App>) -> Json<Value> {
        let _ = app.queries;
        Json(json!({"status": "error"}))
    } )* } }
stub!(query, query_form, query_range, query_range_form, series, series_form, labels, labels_form, label_values);

//! The API's description, which is docs/openapi.yaml.
//!
//! Guarantees: what is served is the committed document, in JSON. Never says anything of its own.
//!
//! ```text
//! curl http://127.0.0.1:7070/api/openapi.json
//! ```

use std::sync::LazyLock;

use axum::{
    body::Bytes,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use crate::problem::Problem;

/// The document as it is committed.
pub const OPENAPI: &str = include_str!("../../../docs/openapi.yaml");

/// It in JSON; none if it is no YAML, which a test of it excludes.
static JSON: LazyLock<Option<Bytes>> = LazyLock::new(|| {
    let document: Value = serde_saphyr::from_str(OPENAPI).ok()?;
    Some(document.to_string().into())
});

/// `GET /api/openapi.json`.
pub(crate) async fn document() -> Response {
    match &*JSON {
        Some(json) => {
            let format = [(header::CONTENT_TYPE, "application/json")];
            (format, json.clone()).into_response()
        }
        None => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "document-unreadable",
            "this build's docs/openapi.yaml is not YAML",
            "build again from a tree in which `cargo xtask coverage` passes",
        )
        .into_response(),
    }
}

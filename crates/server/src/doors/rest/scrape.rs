//! `/metrics`: for those who have a key where clients are served, for all where only operators are.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::{HeaderMap, header::ACCEPT};

use super::typed;
use crate::{app::App, doors::extract::Authenticated, metrics::Format};

/// What is counted and measured, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", operation_id = "metrics",
    responses((status = 200, description = "Prometheus text, or OpenMetrics when it is asked for", body = String), (status = "default", response = super::Refusal)),
)]
pub(super) async fn authenticated(app: State<Arc<App>>, _: Authenticated, headers: HeaderMap) -> Response {
    metrics(app, headers).await
}

/// The same without asking who calls.
pub(super) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let format = Format::accepted(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()));
    let text = app.metrics.render(app.snapshot(), format).await;
    typed(format.content_type(), text.into())
}

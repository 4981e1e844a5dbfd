//! Health, for people and for those who restart and route.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use busgate_core::{Error, HealthStatus};
use busgate_wire::json;
use bytes::Bytes;

use super::{Answer, answer, typed};
use crate::app::App;

const TEXT: &str = "text/plain; charset=utf-8";

/// How the gateway is, as found by trying its data path.
#[utoipa::path(
    get, path = "/v1/health", tag = "operation", operation_id = "health", security(()),
    responses((status = 200, description = "how it is", body = json::HealthAnswer)),
)]
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    answer(&json::health_answer(&app.health().await))
}

/// Whether the process runs.
#[utoipa::path(
    get, path = "/healthz", tag = "operation", operation_id = "alive", security(()),
    responses((status = 200, description = "it runs", body = String)),
)]
pub(super) async fn alive() -> Response {
    typed(TEXT, Bytes::from_static(b"ok\n"))
}

/// Whether it takes requests: not while it drains, nor while its transport is down.
#[utoipa::path(
    get, path = "/readyz", tag = "operation", operation_id = "ready", security(()),
    responses((status = 200, description = "it is ready", body = String), (status = "default", response = super::Refusal)),
)]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Answer {
    let health = app.health().await;
    if health.status == HealthStatus::Unhealthy {
        return Err(Error::unavailable(health.message).into());
    }
    Ok(typed(TEXT, Bytes::from_static(b"ready\n")))
}

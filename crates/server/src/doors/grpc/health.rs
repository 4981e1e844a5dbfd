//! `grpc.health.v1.Health`: serving as long as messages come through and the gateway does not go away.

use std::time::Duration;

use busgate_core::{Error, Gateway, HealthStatus};
use busgate_wire::{proto::event::v1::event_service_server::SERVICE_NAME, status::to_grpc};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

/// How often a watch tries the data path.
const INTERVAL: Duration = Duration::from_secs(5);

/// Answers health checks.
#[derive(Debug)]
pub(super) struct Probe {
    gateway: Gateway,
}

impl Probe {
    pub(super) fn new(gateway: Gateway) -> Self {
        Self { gateway }
    }
}

#[async_trait]
impl Health for Probe {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !is_known(&request) {
            return Err(to_grpc(&Error::not_found("no such service"), None));
        }
        Ok(Response::new(response(serving(&self.gateway).await)))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watch = Watch { gateway: self.gateway.clone(), known: is_known(&request), last: None };
        let changes = stream::unfold(Some(watch), |state| async {
            let mut watch = state?;
            let change = watch.next().await;
            let state = change.is_ok().then_some(watch);
            Some((change, state))
        });
        Ok(Response::new(changes.boxed()))
    }
}

/// A client that wants to hear of every change.
struct Watch {
    gateway: Gateway,
    known: bool,
    last: Option<ServingStatus>,
}

impl Watch {
    /// The next change. A gateway that goes away says so, and lets go of the client.
    async fn next(&mut self) -> Result<HealthCheckResponse, Status> {
        loop {
            if self.last.is_some() {
                if self.gateway.is_draining() && self.last != Some(ServingStatus::Serving) {
                    return Err(to_grpc(&Error::unavailable("the gateway is draining"), None));
                }
                _ = tokio::time::timeout(INTERVAL, self.gateway.draining()).await;
            }
            let now = if self.known { serving(&self.gateway).await } else { ServingStatus::ServiceUnknown };
            if self.last.replace(now) != Some(now) {
                return Ok(response(now));
            }
        }
    }
}

fn is_known(request: &Request<HealthCheckRequest>) -> bool {
    let service = request.get_ref().service.as_str();
    service.is_empty() || service == SERVICE_NAME
}

async fn serving(gateway: &Gateway) -> ServingStatus {
    match gateway.health().await.status {
        HealthStatus::Healthy | HealthStatus::Degraded => ServingStatus::Serving,
        HealthStatus::Unhealthy => ServingStatus::NotServing,
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

//! Health.

use busgate_core::{Health, HealthStatus};

use crate::proto::event::v1 as proto;

/// Writes the question how the gateway is.
#[must_use]
pub const fn health_request() -> proto::HealthRequest {
    proto::HealthRequest {}
}

/// Writes how the gateway is.
#[must_use]
pub fn health(health: &Health) -> proto::HealthResponse {
    let status = match health.status {
        HealthStatus::Healthy => proto::HealthStatus::Healthy,
        HealthStatus::Degraded => proto::HealthStatus::Degraded,
        HealthStatus::Unhealthy => proto::HealthStatus::Unhealthy,
    };
    proto::HealthResponse {
        status: status.into(),
        message: health.message.clone(),
        details: health.details.clone(),
    }
}

/// Reads how the gateway is; what it does not say counts as unhealthy.
#[must_use]
pub fn read_health(response: proto::HealthResponse) -> Health {
    let status = match response.status() {
        proto::HealthStatus::Healthy => HealthStatus::Healthy,
        proto::HealthStatus::Degraded => HealthStatus::Degraded,
        proto::HealthStatus::Unhealthy | proto::HealthStatus::Unspecified => HealthStatus::Unhealthy,
    };
    Health { status, message: response.message, details: response.details }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_arrives() {
        for status in [HealthStatus::Healthy, HealthStatus::Degraded, HealthStatus::Unhealthy] {
            let told = Health { status, ..Health::unhealthy("why").with("figure", &1) };
            assert_eq!(read_health(health(&told)), told);
        }
    }
}

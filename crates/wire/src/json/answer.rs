//! Health in JSON.

use std::collections::BTreeMap;

use busgate_core::{Health, HealthStatus};
use serde::{Deserialize, Serialize};

/// How the gateway is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthAnswer {
    /// `HEALTH_STATUS_HEALTHY`, `HEALTH_STATUS_DEGRADED` or `HEALTH_STATUS_UNHEALTHY`.
    pub status: String,
    /// One line for people.
    pub message: String,
    /// Figures and facts, by name.
    pub details: BTreeMap<String, String>,
}

/// The answer to a health request.
#[must_use]
pub fn health_answer(health: &Health) -> HealthAnswer {
    let status = match health.status {
        HealthStatus::Healthy => "HEALTH_STATUS_HEALTHY",
        HealthStatus::Degraded => "HEALTH_STATUS_DEGRADED",
        HealthStatus::Unhealthy => "HEALTH_STATUS_UNHEALTHY",
    };
    HealthAnswer { status: status.into(), message: health.message.clone(), details: health.details.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::to_bytes;

    #[test]
    fn health_is_written_as_the_seed_does() {
        let expected = r#"{"status":"HEALTH_STATUS_HEALTHY","message":"ok","details":{}}"#;
        assert_eq!(to_bytes(&health_answer(&Health::healthy())), expected);
    }
}

//! How a transport is, as found by trying it.

use std::collections::BTreeMap;

/// How well it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthStatus {
    /// A message came through.
    Healthy,
    /// Messages come through, but something is wrong.
    Degraded,
    /// Messages do not come through.
    Unhealthy,
}

/// What a probe of the data path found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// How well it works.
    pub status: HealthStatus,
    /// One line for people.
    pub message: String,
    /// Figures and facts, by name.
    pub details: BTreeMap<String, String>,
}

impl Health {
    /// Everything works.
    #[must_use]
    pub fn healthy() -> Self {
        Self { status: HealthStatus::Healthy, message: "ok".into(), details: BTreeMap::new() }
    }

    /// Messages do not come through, because of `message`.
    #[must_use]
    pub fn unhealthy(message: impl Into<String>) -> Self {
        Self { status: HealthStatus::Unhealthy, message: message.into(), details: BTreeMap::new() }
    }

    /// Adds a figure or fact.
    #[must_use]
    pub fn with(mut self, name: &str, value: &impl ToString) -> Self {
        self.details.insert(name.into(), value.to_string());
        self
    }
}

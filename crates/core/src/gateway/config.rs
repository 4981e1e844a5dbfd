//! The bounds of a gateway.

use std::time::Duration;

use crate::{AckSecret, Limits, RetryPolicy};

/// What a gateway allows and how it behaves. Every bound has a default.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// The limits of one message and batch.
    pub limits: Limits,
    /// How leases run and messages come back when a subscription doesn't say.
    pub retry: RetryPolicy,
    /// How many of an event's newest messages live subscribers share.
    pub ring_messages: usize,
    /// How many bytes of them.
    pub ring_bytes: usize,
    /// How many sessions may be open at once.
    pub max_sessions: usize,
    /// How many events one pattern subscription may stand for.
    pub max_pattern_events: usize,
    /// Whether publishing or subscribing registers an event that is not there yet.
    pub auto_register: bool,
    /// How long a publish may take before it answers `timeout`, its effect unknown.
    pub publish_timeout: Duration,
    /// How long settling, listing and reading may take.
    pub call_timeout: Duration,
    /// Whether other gateways are on the same transport. Nodes with the same `ack_secret` then tell each other what they
    /// settled for each other's clients, so that a window is free at once and not when the lease runs out.
    pub shared: bool,
    /// What ack ids are signed with.
    pub ack_secret: AckSecret,
    /// How often pattern subscriptions look for events that other nodes registered.
    pub discovery_interval: Duration,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            retry: RetryPolicy::default(),
            ring_messages: 8192,
            ring_bytes: 32 * 1024 * 1024,
            max_sessions: 100_000,
            max_pattern_events: 1024,
            auto_register: false,
            publish_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(10),
            shared: false,
            ack_secret: AckSecret::generate(),
            discovery_interval: Duration::from_secs(5),
        }
    }
}

//! The consumers that are made here: durable ones of groups, and those that a node reads by itself.

use std::time::Duration;

use busgate_core::Result;
use serde_json::{Value, json};

use crate::{api::nanos, config::NatsConfig, event::Event, start::From};

/// The server gives a dead node's deliveries to another after the lease's length, within these bounds.
const ACK_WAIT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// How long the server keeps a consumer that nobody acks and nobody asks.
const IDLE: Duration = Duration::from_secs(60);

/// Of a group or a named consumer: each delivery is acked, on any node. Without a length of its own, its clock follows the
/// `lease` of its first subscription.
pub(crate) fn of_group(
    event: &Event,
    name: &str,
    lease: Duration,
    from: From,
    node: &NatsConfig,
) -> Result<Value> {
    let ack_wait = node.ack_wait.unwrap_or_else(|| lease.clamp(ACK_WAIT.0, ACK_WAIT.1));
    let own = json!({
        "durable_name": name,
        "name": name,
        "ack_policy": "explicit",
        "ack_wait": nanos(ack_wait),
        "max_deliver": -1,
        "max_ack_pending": node.max_ack_pending,
        "replay_policy": "instant",
    });
    of_event(event, from, own)
}

/// Of one who reads alone: nothing is acked, and it is gone soon after nobody asks it.
pub(crate) fn without_acks(event: &Event, name: &str, from: From) -> Result<Value> {
    let own = json!({
        "name": name,
        "ack_policy": "none",
        "replay_policy": "instant",
        "max_deliver": -1,
        "mem_storage": true,
        "num_replicas": 1,
        "inactive_threshold": nanos(IDLE),
    });
    of_event(event, from, own)
}

/// The event's messages from there on, and no other's.
fn of_event(event: &Event, from: From, mut config: Value) -> Result<Value> {
    merge(&mut config, from.policy()?);
    if !event.is_whole {
        merge(&mut config, json!({ "filter_subject": event.subject }));
    }
    Ok(config)
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

//! What a server that goes away, comes back, forgets or refuses must not cost. Each test has servers of its own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "faults/direct.rs"]
mod direct;
#[path = "faults/ids.rs"]
mod ids;
#[path = "faults/native.rs"]
mod native;
#[path = "faults/nodes.rs"]
mod nodes;
#[path = "faults/order.rs"]
mod order;
#[path = "faults/refusal.rs"]
mod refusal;
#[path = "faults/replicas.rs"]
mod replicas;
#[path = "faults/restart.rs"]
mod restart;
#[path = "faults/runs.rs"]
mod runs;
#[path = "faults/support.rs"]
mod support;

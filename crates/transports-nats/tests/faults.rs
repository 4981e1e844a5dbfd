//! What a server or a node that goes away, comes back or forgets must not cost. Each test has servers of its own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "faults/cluster.rs"]
mod cluster;
#[path = "faults/cut.rs"]
mod cut;
#[path = "faults/nodes.rs"]
mod nodes;
#[path = "faults/restart.rs"]
mod restart;
#[path = "faults/support.rs"]
mod support;
#[path = "faults/wire.rs"]
mod wire;

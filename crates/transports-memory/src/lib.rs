//! The in-memory transport: everything but durability, within bounds.
//!
//! Each event is a ring of messages under its own lock. Unnamed broadcast reads the ring; groups and named consumers
//! lease from it through core's [`Group`](busgate_core::Group).

mod burial;
mod codec;
mod config;
mod crew;
mod error;
mod history;
mod lease;
mod member;
mod probe;
mod reader;
mod registry;
#[cfg(test)]
mod tests;
mod timer;
mod topic;
mod transport;

pub use self::{
    config::{DEFAULT_MAX_BYTES, DEFAULT_MAX_EVENTS, DEFAULT_MAX_GROUPS, DEFAULT_MAX_MESSAGES, MemoryConfig},
    transport::MemoryTransport,
};

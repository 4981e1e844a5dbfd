//! NATS JetStream behind the one contract of busgate.
//!
//! Each event is a stream; groups and named consumers are durable consumers of it, unnamed broadcast and pages read by
//! consumers of their own. Leases, attempts and fencing are kept by the node that handed a message out, and by a small
//! record on the server of what went wrong, so that any node settles what another delivered.

mod api;
mod catalog;
mod codec;
mod config;
mod consumer;
mod core_subjects;
mod crew;
mod delivery;
mod error;
mod event;
mod lease;
mod link;
mod member;
mod name;
mod node;
mod page;
mod probe;
mod pull;
mod reader;
mod record;
mod records;
mod registration;
mod start;
mod stream;
mod tap;
mod text;
mod token;
mod transport;

pub use self::{
    config::{
        Credentials, DEFAULT_CONNECT_TIMEOUT, DEFAULT_MAX_ACK_PENDING, DEFAULT_REQUEST_TIMEOUT, Mapping,
        NatsConfig, Secret, Storage, Tls,
    },
    core_subjects::CoreTransport,
    transport::NatsTransport,
};

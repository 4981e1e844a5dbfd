//! Redis Streams behind the one contract of busgate: an event is a stream, a worker group is a group of it. What Redis has no
//! notion of (leases of their own length, delays, order within a key, fencing, deduplication) is done by scripts, each atomic,
//! in keys beside the stream.

mod batch;
mod codec;
mod config;
mod crew;
mod ear;
mod error;
mod id;
mod keys;
mod lease;
mod link;
mod member;
mod node;
mod reader;
mod reply;
mod script;
mod topic;
mod transport;

pub use self::{
    config::{Credentials, RedisConfig, Tls, Topology},
    transport::RedisTransport,
};

//! Apache Kafka behind the one contract of busgate.
//!
//! An event is a topic; what a topic can't say rides in headers. Broadcast reads without a consumer group; worker groups
//! and named consumers are Kafka groups whose members keep what is unfinished in the metadata of their commits.

mod admin;
mod asker;
mod clients;
mod codec;
mod config;
mod dedup;
mod error;
mod event;
mod follower;
mod group;
mod lease;
mod offsets;
mod place;
mod producer;
mod reader;
mod registry;
mod retention;
mod settle;
mod shared;
mod shelf;
mod start;
mod tail;
mod tap;
mod transport;
mod varint;

pub use self::{
    config::{Acks, Deduplication, GroupProtocol, KafkaConfig, Mechanism, Sasl, Tls, Unkeyed},
    transport::KafkaTransport,
};

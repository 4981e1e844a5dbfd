//! Real brokers for tests and benchmarks: started, paused, killed and started again.
//!
//! A test of what a transport does takes the servers that `cargo xtask test` runs for all ([`shared`]). A test of what
//! happens when a broker goes away starts its own ([`Redis`], [`Nats`], [`Kafka`], [`RedisCluster`], [`RedisSentinel`],
//! [`NatsCluster`]), if need be behind a [`Toxiproxy`]. Each takes ports of the kernel's choice and a folder of its own,
//! is ready when `start` answers, and ends with whoever started it, also when that is killed.

mod broker;
mod error;
mod kafka;
mod kind;
mod nats;
mod place;
mod process;
mod redis;
mod services;
mod toxiproxy;

pub use self::{
    broker::Broker,
    error::{Error, Result},
    kafka::{Kafka, Listener, prepare as prepare_kafka},
    kind::{Kind, shared},
    nats::{Nats, NatsCluster},
    place::{free_port, program},
    redis::{Redis, RedisCluster, RedisSentinel},
    services::Services,
    toxiproxy::{Link, Toxiproxy},
};

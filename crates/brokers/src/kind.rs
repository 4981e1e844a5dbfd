//! The servers that all tests share, and how a test finds them.

use std::fmt;

/// A server, or a set of them, that `cargo xtask test` runs for all tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Redis 7.0, which Debian 12 brings.
    Redis70,
    /// Redis 8.2.
    Redis82,
    /// Valkey 9.
    Valkey9,
    /// Three masters of Redis 7.0 as a cluster.
    RedisCluster,
    /// A master of Redis 7.0 with a replica, under three sentinels.
    RedisSentinel,
    /// NATS 2.15 with JetStream.
    Nats215,
    /// NATS 2.9 with JetStream, which Debian 12 brings.
    Nats29,
    /// Three nodes of NATS 2.15, for streams with three replicas.
    NatsCluster,
    /// One node of Apache Kafka 4.3.
    Kafka,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 9] = [
        Self::Redis70,
        Self::Redis82,
        Self::Valkey9,
        Self::RedisCluster,
        Self::RedisSentinel,
        Self::Nats215,
        Self::Nats29,
        Self::NatsCluster,
        Self::Kafka,
    ];

    /// The environment variable that holds its URL while tests run.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Redis70 => "BUSGATE_TEST_REDIS_7_0",
            Self::Redis82 => "BUSGATE_TEST_REDIS_8_2",
            Self::Valkey9 => "BUSGATE_TEST_VALKEY_9",
            Self::RedisCluster => "BUSGATE_TEST_REDIS_CLUSTER",
            Self::RedisSentinel => "BUSGATE_TEST_REDIS_SENTINEL",
            Self::Nats215 => "BUSGATE_TEST_NATS_2_15",
            Self::Nats29 => "BUSGATE_TEST_NATS_2_9",
            Self::NatsCluster => "BUSGATE_TEST_NATS_CLUSTER",
            Self::Kafka => "BUSGATE_TEST_KAFKA",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis70 => "Redis 7.0",
            Self::Redis82 => "Redis 8.2",
            Self::Valkey9 => "Valkey 9",
            Self::RedisCluster => "Redis Cluster",
            Self::RedisSentinel => "Redis Sentinel",
            Self::Nats215 => "NATS 2.15",
            Self::Nats29 => "NATS 2.9",
            Self::NatsCluster => "NATS cluster",
            Self::Kafka => "Apache Kafka",
        })
    }
}

/// The URL of the server that all tests share. Take an event prefix of your own there.
///
/// # Panics
/// Where nobody started it, with a word on who would: a test without its broker has failed.
#[must_use]
#[allow(clippy::panic, reason = "it is a test that asks, and a test fails by panicking")]
#[allow(clippy::disallowed_methods, reason = "tests are configured by what starts them")]
pub fn shared(kind: Kind) -> String {
    let variable = kind.variable();
    std::env::var(variable).unwrap_or_else(|_| {
        panic!(
            "no {kind} for this test: run it by `cargo xtask test`, or start the servers by \
             `cargo xtask services` and set {variable}"
        )
    })
}

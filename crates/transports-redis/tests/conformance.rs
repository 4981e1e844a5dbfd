//! The contract, kept by Redis Streams on every server it is tested with.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use async_trait::async_trait;
use busgate_brokers::{Kind, shared};
use busgate_conformance::{Harness, Stop};
use busgate_core::{DeadLetters, SystemClock, Transport};
use busgate_transports_redis::{RedisConfig, RedisTransport};

/// A node on a server that other tests use as well: the laws take event names of their own.
#[derive(Debug)]
struct RedisHarness {
    config: RedisConfig,
    /// With the dead letters that the gateway adds.
    buries: bool,
}

impl RedisHarness {
    fn new(kind: Kind) -> Self {
        Self { config: shared(kind).parse().unwrap(), buries: false }
    }

    fn burying(kind: Kind) -> Self {
        Self { buries: true, ..Self::new(kind) }
    }

    async fn connect(&self) -> Arc<dyn Transport> {
        let transport = RedisTransport::connect(self.config.clone()).await.unwrap();
        if self.buries { DeadLetters::over(transport, SystemClock::shared()) } else { transport }
    }
}

#[async_trait]
impl Harness for RedisHarness {
    async fn open(&self) -> Arc<dyn Transport> {
        self.connect().await
    }

    async fn open_second(&self, _first: &Arc<dyn Transport>) -> Option<Arc<dyn Transport>> {
        Some(self.connect().await)
    }

    /// The node is stateless: what there is, is on the server. A killed one is dropped as it stands.
    async fn reopen(&self, previous: Arc<dyn Transport>, stop: Stop) -> Option<Arc<dyn Transport>> {
        if stop == Stop::Close {
            previous.close().await.unwrap();
        }
        drop(previous);
        Some(self.connect().await)
    }
}

macro_rules! suites {
    ($($name:ident: $harness:expr;)*) => {
        $(
            mod $name {
                use super::{Kind, RedisHarness};

                busgate_conformance::suite!(real, $harness);
            }
        )*
    };
}

suites! {
    redis_7_0: RedisHarness::new(Kind::Redis70);
    redis_8_2: RedisHarness::new(Kind::Redis82);
    valkey_9: RedisHarness::new(Kind::Valkey9);
    cluster: RedisHarness::new(Kind::RedisCluster);
    sentinel: RedisHarness::new(Kind::RedisSentinel);
    dead_letters: RedisHarness::burying(Kind::Redis82);
}

//! The contract, kept by Redis Streams on every server it is tested with.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use async_trait::async_trait;
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
    fn new(variable: &str) -> Self {
        let url = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set"));
        Self { config: url.parse().unwrap(), buries: false }
    }

    fn burying(variable: &str) -> Self {
        Self { buries: true, ..Self::new(variable) }
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

    async fn open_second(&self, _: &Arc<dyn Transport>) -> Option<Arc<dyn Transport>> {
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
                use super::RedisHarness;

                busgate_conformance::suite!(real, $harness);
            }
        )*
    };
}

suites! {
    redis_7_0: RedisHarness::new("BUSGATE_TEST_REDIS_7_0");
    redis_8_2: RedisHarness::new("BUSGATE_TEST_REDIS_8_2");
    valkey_9: RedisHarness::new("BUSGATE_TEST_VALKEY_9");
    dead_letters: RedisHarness::burying("BUSGATE_TEST_REDIS_8_2");
}

//! The contract, kept on NATS JetStream.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use async_trait::async_trait;
use busgate_brokers::{Kind, shared};
use busgate_conformance::{Harness, Pace, Stop, Time};
use busgate_core::{MessageId, Transport};
use busgate_transports_nats::{CoreTransport, NatsConfig, NatsTransport};

/// One prefix on a server that all tests share.
#[derive(Debug)]
struct Nats {
    config: NatsConfig,
}

impl Nats {
    fn new(kind: Kind, options: &str) -> Self {
        let id = MessageId::generate();
        let run = id.as_str().rsplit('-').next().unwrap();
        let config = format!("{}?prefix=law{run}.{options}", shared(kind)).parse().unwrap();
        Self { config }
    }
}

#[async_trait]
impl Harness for Nats {
    async fn open(&self) -> Arc<dyn Transport> {
        NatsTransport::connect(self.config.clone()).await.unwrap()
    }

    async fn open_second(&self, _: &Arc<dyn Transport>) -> Option<Arc<dyn Transport>> {
        Some(self.open().await)
    }

    /// A node that is killed says nothing more: all that it had is dropped with it.
    async fn reopen(&self, previous: Arc<dyn Transport>, stop: Stop) -> Option<Arc<dyn Transport>> {
        if stop == Stop::Close {
            previous.close().await.unwrap();
        }
        drop(previous);
        Some(self.open().await)
    }

    /// What comes back takes several round trips to a server that shares the machine with all tests; three servers that
    /// agree on every message take longer.
    fn pace(&self, time: Time) -> Pace {
        let pace = Pace::of(time);
        if self.config.replicas == 1 {
            return Pace { slack: pace.slack * 2, ..pace };
        }
        Pace {
            slack: pace.slack * 5,
            patience: pace.patience * 2,
            deadline: pace.deadline * 2,
            wall: pace.wall * 2,
            ..pace
        }
    }
}

mod v2_15 {
    use super::{Kind, Nats};

    busgate_conformance::suite!(real, Nats::new(Kind::Nats215, "&ack_wait=3s"));
}

mod v2_9 {
    use super::{Kind, Nats};

    busgate_conformance::suite!(real, Nats::new(Kind::Nats29, "&ack_wait=3s"));
}

mod cluster {
    use super::{Kind, Nats};

    busgate_conformance::suite!(
        real,
        Nats::new(Kind::NatsCluster, "&ack_wait=3s&replicas=3&request_timeout=20s")
    );
}

/// Core subjects on the same server.
#[derive(Debug)]
struct Core {
    config: NatsConfig,
}

impl Core {
    fn new(kind: Kind) -> Self {
        let mut config = Nats::new(kind, "").config;
        config.core = true;
        Self { config }
    }
}

#[async_trait]
impl Harness for Core {
    async fn open(&self) -> Arc<dyn Transport> {
        CoreTransport::connect(self.config.clone()).await.unwrap()
    }

    async fn open_second(&self, _: &Arc<dyn Transport>) -> Option<Arc<dyn Transport>> {
        Some(self.open().await)
    }

    async fn reopen(&self, previous: Arc<dyn Transport>, _: Stop) -> Option<Arc<dyn Transport>> {
        previous.close().await.unwrap();
        drop(previous);
        Some(self.open().await)
    }
}

mod core {
    use super::{Core, Kind};

    busgate_conformance::suite!(real, Core::new(Kind::Nats215));
}

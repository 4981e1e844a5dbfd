//! The contract, kept by Kafka: with groups the broker leads, and with groups that lead themselves.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use busgate_conformance::{Harness, Pace, Stop, Time};
use busgate_core::{Clock, MessageId, SystemClock, Transport};
use busgate_transports_kafka::{GroupProtocol, KafkaConfig, KafkaTransport};

mod support;

/// Nodes over the shared broker, each law's under a prefix of their own.
#[derive(Debug)]
struct Kafka {
    url: String,
    protocol: GroupProtocol,
    clock: Arc<dyn Clock>,
    run: String,
    opened: AtomicU32,
}

impl Kafka {
    fn new(protocol: GroupProtocol) -> Self {
        let url = busgate_brokers::shared(busgate_brokers::Kind::Kafka);
        let id = MessageId::generate();
        let run = id.as_str().rsplit('-').next().unwrap().to_owned();
        Self { url, protocol, clock: SystemClock::shared(), run, opened: AtomicU32::new(0) }
    }

    async fn node(&self) -> Arc<dyn Transport> {
        let opened = self.opened.load(Ordering::Relaxed);
        let url = format!(
            "{}?prefix=c{opened}.{}.&partitions=3&connect_timeout=30s&timeout=20s",
            self.url, self.run
        );
        let mut config: KafkaConfig = url.parse().unwrap();
        config.clock = Arc::clone(&self.clock);
        config.group_protocol = Some(self.protocol);
        KafkaTransport::connect(config).await.unwrap()
    }
}

/// A broker that keeps the topics of all laws gets slow.
impl Drop for Kafka {
    fn drop(&mut self) {
        let (url, prefixes) = (self.url.clone(), format!(".{}.", self.run));
        let swept = std::thread::spawn(move || support::sweep(&url, &prefixes)).join();
        if swept.is_err() && !std::thread::panicking() {
            eprintln!("the topics of this law are still there");
        }
    }
}

#[async_trait]
impl Harness for Kafka {
    async fn open(&self) -> Arc<dyn Transport> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.node().await
    }

    async fn open_second(&self, _: &Arc<dyn Transport>) -> Option<Arc<dyn Transport>> {
        Some(self.node().await)
    }

    async fn reopen(&self, previous: Arc<dyn Transport>, stop: Stop) -> Option<Arc<dyn Transport>> {
        if stop == Stop::Close {
            previous.close().await.unwrap();
        }
        drop(previous);
        Some(self.node().await)
    }

    fn pace(&self, time: Time) -> Pace {
        Pace::of(time)
    }
}

mod consumer {
    use super::{GroupProtocol, Kafka};

    busgate_conformance::suite!(real, Kafka::new(GroupProtocol::Consumer));
}

mod classic {
    use super::{GroupProtocol, Kafka};

    busgate_conformance::suite!(real, Kafka::new(GroupProtocol::Classic));
}

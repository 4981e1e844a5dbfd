//! What the suite plays on: a client, TCP, and a gateway over memory, the log or a broker.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use busgate_brokers::{Kind, shared};
use busgate_client::{ClosePolicy, RemoteTransport};
use busgate_conformance::{Harness, Pace, Stop, Time};
use busgate_core::{Clock, MessageId, SystemClock, Transport};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::gateway::Gateway;

#[path = "../../../transports-log/tests/support/mod.rs"]
mod support;

/// One law's gateways, the newest last.
#[derive(Debug)]
pub(crate) struct Remote {
    clock: Arc<dyn Clock>,
    directory: Mutex<Option<TempDir>>,
    gateways: Mutex<Vec<Gateway>>,
    beneath: Beneath,
}

/// What the gateways are over.
#[derive(Debug)]
enum Beneath {
    Memory,
    Log,
    /// The broker at this URL, with names that no other test has.
    Broker(String),
}

impl Remote {
    pub(crate) fn over_memory() -> Self {
        Self::new(Beneath::Memory)
    }

    pub(crate) fn over_log() -> Self {
        Self::new(Beneath::Log)
    }

    pub(crate) fn over(broker: Kind) -> Self {
        Self::new(Beneath::Broker(format!("{}?prefix=t{}.", shared(broker), MessageId::generate())))
    }

    fn new(beneath: Beneath) -> Self {
        let (directory, gateways) = (Mutex::default(), Mutex::default());
        Self { clock: SystemClock::shared(), directory, gateways, beneath }
    }

    async fn start(&self) -> Gateway {
        match &self.beneath {
            Beneath::Memory => Gateway::memory().await,
            Beneath::Log => Gateway::log(&self.fresh_directory(), &self.clock).await,
            Beneath::Broker(url) => Gateway::broker(url, &self.clock).await,
        }
    }

    fn fresh_directory(&self) -> PathBuf {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        *self.directory.lock() = Some(directory);
        path
    }

    /// A client of `gateway`, which lives as long as the harness.
    async fn client(&self, gateway: Gateway) -> Arc<dyn Transport> {
        let builder = RemoteTransport::builder(gateway.url())
            // Tokens whose deliveries were dropped look held: closing must not wait for them.
            .close_policy(ClosePolicy::Wait(Duration::ZERO));
        let client = builder.connect().await.unwrap();
        self.gateways.lock().push(gateway);
        client
    }
}

#[async_trait]
impl Harness for Remote {
    async fn open(&self) -> Arc<dyn Transport> {
        self.client(self.start().await).await
    }

    /// Another node over the same back end, and a client of that one.
    async fn open_second(&self, _: &Arc<dyn Transport>) -> Option<Arc<dyn Transport>> {
        let first = self.gateways.lock().pop().unwrap();
        let beside = match &self.beneath {
            Beneath::Broker(_) => self.start().await,
            Beneath::Memory | Beneath::Log => first.beside().await,
        };
        self.gateways.lock().push(first);
        Some(self.client(beside).await)
    }

    async fn reopen(&self, previous: Arc<dyn Transport>, stop: Stop) -> Option<Arc<dyn Transport>> {
        let gateway = self.gateways.lock().pop().unwrap();
        let old = self.directory.lock().take();
        let left = old.as_ref().map(TempDir::path).map(Path::to_owned);
        let next = match (stop, left) {
            (Stop::Close, left) => {
                previous.close().await.unwrap();
                gateway.stop().await;
                *self.directory.lock() = old;
                match left {
                    Some(path) => Gateway::log(&path, &self.clock).await,
                    None => self.start().await,
                }
            }
            (Stop::Kill, Some(path)) => {
                gateway.settle_down().await;
                let copy = self.fresh_directory();
                drop(gateway);
                support::copy_as_killed(&path, &copy);
                Gateway::log(&copy, &self.clock).await
            }
            (Stop::Kill, None) => {
                if matches!(self.beneath, Beneath::Broker(_)) {
                    gateway.settle_down().await;
                }
                drop(gateway);
                self.start().await
            }
        };
        drop(previous);
        Some(self.client(next).await)
    }

    fn stamps_time(&self) -> bool {
        true
    }

    fn longest_entry(&self) -> usize {
        512
    }

    fn pace(&self, time: Time) -> Pace {
        // A lease starts when the gateway hands the message off, and anew when the program gets it a twentieth of the lease
        // after the client did, or later. What it took on its way, on a busy machine, is all that a lease may be short by.
        let pace = Pace::of(time);
        // The back ends play more seeds in suites of their own.
        let seeds = (if matches!(self.beneath, Beneath::Memory) { 2 } else { 1 }, 1);
        let pace = Pace { early: pace.early + pace.short / 5, seeds, ..pace };
        match self.beneath {
            Beneath::Memory | Beneath::Log => pace,
            // It looks for leases that ran out every so often, and is on the same machine as everybody who asks it.
            // Volume is the back ends' own to show: here each ack of a small window is a round trip through all of it.
            Beneath::Broker(_) => Pace { slack: pace.slack * 3, many: 200, ..pace },
        }
    }
}

//! A bus over an empty memory transport, one event, and eyes to see what became of its messages.

use std::{sync::Arc, time::Duration};

use busgate_core::{
    Bus, Cursor, EventName, Holder, Message, Metadata, ReadRequest, Start, Transport,
    bus::{Event, Subscriber, SubscriberStats},
};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

/// How long a test waits for what should come, on its paused clock.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) customer: String,
}

impl Order {
    pub(crate) fn new(id: u64) -> Self {
        Self { id, customer: String::from("nobody") }
    }

    pub(crate) fn of(customer: &str, id: u64) -> Self {
        Self { id, customer: customer.to_owned() }
    }
}

pub(crate) struct Stage {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) bus: Bus,
    pub(crate) orders: Event<Order>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(MemoryConfig::default()).await
    }

    pub(crate) async fn with(config: MemoryConfig) -> Self {
        let transport: Arc<dyn Transport> = MemoryTransport::new(config);
        let bus = Bus::new(Arc::clone(&transport));
        let orders = bus.event::<Order>("orders").unwrap();
        orders.register().await.unwrap();
        Self { transport, bus, orders }
    }

    pub(crate) async fn publish(&self, ids: std::ops::Range<u64>) {
        let orders: Vec<_> = ids.map(Order::new).collect();
        for receipt in self.orders.publish_many(&orders).await {
            receipt.unwrap();
        }
    }

    /// Everything that the event holds.
    pub(crate) async fn held(&self, event: &str) -> Vec<(Cursor, Arc<Message>)> {
        let request = ReadRequest { start: Start::Beginning, limit: 10_000, max_bytes: usize::MAX };
        match self.transport.read(&EventName::new(event).unwrap(), request).await {
            Ok(page) => page.messages,
            Err(_) => Vec::new(),
        }
    }

    /// The stories of the dead letters, once there are as many.
    pub(crate) async fn dead(&self, count: usize) -> Vec<Metadata> {
        let letters = async {
            loop {
                let letters = self.held("_dlq.orders").await;
                if letters.len() >= count {
                    return letters;
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        let letters = timeout(PATIENCE, letters).await.expect("dead letters");
        letters.into_iter().map(|(_, letter)| letter.metadata.clone()).collect()
    }

    /// How many messages a group has not done yet, in whatever state.
    pub(crate) async fn undone(&self, group: &str) -> u64 {
        let lag = self.transport.lag(self.orders.name()).await.unwrap();
        let of = |holder: &Holder| matches!(holder, Holder::Group(name) if name.as_str() == group);
        let lag = lag.into_iter().find(|lag| of(&lag.holder)).expect("the group");
        lag.waiting.unwrap() + lag.in_flight + lag.delayed
    }
}

/// Waits until the figures are as wanted.
pub(crate) async fn until(subscriber: &Subscriber, wanted: impl Fn(SubscriberStats) -> bool) {
    let reached = async {
        while !wanted(subscriber.stats()) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("stuck at {:?}", subscriber.stats()));
}

/// What handlers write down.
#[derive(Debug)]
pub(crate) struct Notes<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Notes<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Notes<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Writes down, and answers how many stand there now.
    pub(crate) fn write(&self, note: T) -> usize {
        let mut notes = self.0.lock();
        notes.push(note);
        notes.len()
    }

    pub(crate) fn read(&self) -> Vec<T> {
        self.0.lock().clone()
    }

    pub(crate) async fn wait(&self, count: usize) -> Vec<T> {
        let written = async {
            while self.0.lock().len() < count {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, written).await.expect("more notes");
        self.read()
    }
}

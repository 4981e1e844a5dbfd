//! The service itself. It knows a bus, and nothing of what is underneath.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use busgate_client::{
    Bus, Failure, Receipt, Result,
    bus::{
        Event, Subscriber,
        middleware::{Retry, Timeout},
    },
};
use serde::{Deserialize, Serialize};

/// What a customer wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) customer: String,
    pub(crate) cents: u64,
}

/// An order that is paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Paid {
    pub(crate) order: u64,
}

/// Where the money comes from.
#[async_trait]
pub(crate) trait Till: Send + Sync + 'static {
    async fn charge(&self, customer: &str, cents: u64) -> Result<(), Refusal>;
}

/// Why there is no money.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There will be none.
    #[cfg_attr(not(test), allow(dead_code, reason = "this till takes everything"))]
    Declined,
    /// Nobody answers right now.
    #[cfg_attr(not(test), allow(dead_code, reason = "this till takes everything"))]
    Unreachable,
}

/// A till that only writes receipts.
#[derive(Debug)]
pub(crate) struct Receipts;

#[async_trait]
impl Till for Receipts {
    async fn charge(&self, customer: &str, cents: u64) -> Result<(), Refusal> {
        eprintln!("{customer} pays {cents}");
        Ok(())
    }
}

/// Takes orders and bills them.
#[derive(Debug)]
pub(crate) struct OrderService {
    created: Event<Order>,
    _billing: Subscriber,
}

impl OrderService {
    /// Makes its events known and starts billing.
    pub(crate) async fn start(bus: &Bus, till: Arc<dyn Till>) -> Result<Self> {
        // One customer's orders are billed one after the other, and an order placed twice is one order.
        let created = bus
            .event::<Order>("order.created")?
            .keyed_by(|order| order.customer.clone())
            .identified_by(|order| format!("order-{}", order.id));
        let paid = bus.event::<Paid>("order.paid")?.identified_by(|paid| format!("paid-{}", paid.order));
        created.register().await?;
        paid.register().await?;

        let billing = created
            .subscribe()
            .group("billing")
            .concurrency(8)
            .layer(Retry::new(2))
            .layer(Timeout::after(Duration::from_secs(10)))
            .handle(move |order, _context| bill(Arc::clone(&till), paid.clone(), order))
            .await?;
        Ok(Self { created, _billing: billing })
    }

    /// Takes an order. When this answers `Ok`, it will be billed.
    pub(crate) async fn place(&self, order: &Order) -> Result<Receipt> {
        self.created.publish(order).await
    }
}

/// Bills one order: `Ok` is done, an error brings it back, a reject is a dead letter.
async fn bill(till: Arc<dyn Till>, paid: Event<Paid>, order: Order) -> Result<(), Failure> {
    till.charge(&order.customer, order.cents).await.map_err(|refusal| match refusal {
        Refusal::Declined => Failure::reject("the card was declined"),
        Refusal::Unreachable => {
            Failure::retry_after(Duration::from_secs(60)).because("the till is unreachable")
        }
    })?;
    paid.publish(&Paid { order: order.id }).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use busgate_client::{EventName, ReadRequest, Start, Transport};
    use busgate_transports_memory::{MemoryConfig, MemoryTransport};
    use tokio::{
        sync::mpsc::{UnboundedSender, unbounded_channel},
        time::{Instant, sleep},
    };

    use super::*;

    /// A till that declines Mallory, and is unreachable for whoever comes first.
    struct Moody(UnboundedSender<(String, Instant)>);

    #[async_trait]
    impl Till for Moody {
        async fn charge(&self, customer: &str, _: u64) -> Result<(), Refusal> {
            let _ = self.0.send((customer.to_owned(), Instant::now()));
            match customer {
                "mallory" => Err(Refusal::Declined),
                "early" => Err(Refusal::Unreachable),
                _ => Ok(()),
            }
        }
    }

    fn order(id: u64, customer: &str) -> Order {
        Order { id, customer: customer.to_owned(), cents: 100 }
    }

    async fn payloads(transport: &Arc<MemoryTransport>, event: &str) -> Vec<String> {
        let request = ReadRequest { start: Start::Beginning, limit: 100, max_bytes: usize::MAX };
        let page = transport.read(&EventName::new(event).unwrap(), request).await;
        let messages = page.map(|page| page.messages).unwrap_or_default();
        messages.iter().map(|(_, message)| String::from_utf8_lossy(&message.payload).into_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_placed_twice_is_paid_once() {
        let transport = MemoryTransport::new(MemoryConfig::default());
        let orders = OrderService::start(&Bus::new(transport.clone()), Arc::new(Receipts)).await.unwrap();
        assert!(!orders.place(&order(1, "ada")).await.unwrap().duplicate);
        assert!(orders.place(&order(1, "ada")).await.unwrap().duplicate);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(payloads(&transport, "order.paid").await, [r#"{"order":1}"#]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_declined_card_is_a_dead_letter_and_others_go_on() {
        let transport = MemoryTransport::new(MemoryConfig::default());
        let (charged, _charges) = unbounded_channel();
        let till = Arc::new(Moody(charged));
        let orders = OrderService::start(&Bus::new(transport.clone()), till).await.unwrap();
        orders.place(&order(1, "mallory")).await.unwrap();
        orders.place(&order(2, "ada")).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(payloads(&transport, "order.paid").await, [r#"{"order":2}"#]);
        assert_eq!(payloads(&transport, "_dlq.order.created").await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreachable_till_is_asked_again_a_minute_later() {
        let transport = MemoryTransport::new(MemoryConfig::default());
        let (charged, mut charges) = unbounded_channel();
        let orders = OrderService::start(&Bus::new(transport), Arc::new(Moody(charged))).await.unwrap();
        orders.place(&order(1, "early")).await.unwrap();
        let (first, second) = (charges.recv().await.unwrap().1, charges.recv().await.unwrap().1);
        assert_eq!((second - first).as_secs(), 60);
    }
}

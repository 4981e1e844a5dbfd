//! The way through busgate: a transport in this process, or a gateway behind its client.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_client::RemoteTransport;
use busgate_core::{
    Delivery, EventConfig, EventName, GroupName, Item, Message, MessageId, Settled, Settlement, Start,
    SubscribeOptions, Subscription, Timestamp, Transport, Verb,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{Acks, Done, Side};
use crate::{Failure, load::pool};

pub(super) struct Gate {
    transport: Arc<dyn Transport>,
    event: EventName,
    acks: Acks,
}

impl Gate {
    pub(super) async fn open(target: &str, event: &str, acks: Acks) -> Result<Self, Failure> {
        let event = EventName::new(event)?;
        let transport: Arc<dyn Transport> = if target.starts_with("http") {
            // As many at once as the brokers' own clients take.
            RemoteTransport::builder(target).subscribe_buffer(pool::WINDOW).connect().await?
        } else {
            pool::open(target).await?
        };
        transport.register(&event, &EventConfig::default()).await?;
        Ok(Self { transport, event, acks })
    }
}

#[async_trait]
impl Side for Gate {
    async fn publish(&self, payload: Bytes) -> Result<(), Failure> {
        let mut message = Message::new(MessageId::generate(), payload);
        message.timestamp = Timestamp::from_millis(1);
        for receipt in self.transport.publish(&self.event, vec![message]).await {
            receipt?;
        }
        Ok(())
    }

    async fn work(&self, _: usize, done: &Done) -> Result<(), Failure> {
        let options = SubscribeOptions::pool(GroupName::new("workers")?, Start::Beginning);
        let messages = Arc::clone(&self.transport).subscribe(&self.event, options).await?;
        match self.acks {
            Acks::Each => ack_each(messages, done).await,
            Acks::Together => ack_together(messages, &*self.transport, done).await,
        }
    }

    async fn clear(&self) -> Result<(), Failure> {
        self.transport.unregister(&self.event).await?;
        Ok(self.transport.close().await?)
    }
}

/// Acks each message for itself, as many at once as come.
async fn ack_each(mut messages: Subscription, done: &Done) -> Result<(), Failure> {
    let mut acks = FuturesUnordered::new();
    loop {
        tokio::select! {
            item = messages.next() => acks.push(ack(delivery(item.ok_or("the subscription ended")?)?, done)),
            Some(acked) = acks.next(), if !acks.is_empty() => acked?,
        }
    }
}

async fn ack(delivery: Delivery, done: &Done) -> Result<(), Failure> {
    let message = Arc::clone(&delivery.message);
    is_acked(delivery.ack().await)?;
    done.acked(&message.payload);
    Ok(())
}

/// Acks what came in one call, and then what has come meanwhile.
async fn ack_together(messages: Subscription, transport: &dyn Transport, done: &Done) -> Result<(), Failure> {
    let mut batches = messages.ready_chunks(pool::WINDOW);
    while let Some(items) = batches.next().await {
        let batch = items.into_iter().map(delivery).collect::<Result<Vec<_>, _>>()?;
        let settlement = |delivery: &Delivery| {
            let token = delivery.token().ok_or("a delivery without a lease")?.clone();
            Ok::<_, Failure>(Settlement { token, verb: Verb::Ack })
        };
        let settlements = batch.iter().map(settlement).collect::<Result<_, _>>()?;
        for (delivery, answer) in batch.iter().zip(transport.settle(settlements).await) {
            is_acked(answer)?;
            done.acked(&delivery.message.payload);
        }
    }
    Err("the subscription ended".into())
}

fn delivery(item: busgate_core::Result<Item>) -> Result<Delivery, Failure> {
    match item? {
        Item::Delivery(delivery) => Ok(delivery),
        Item::Gap(gap) => Err(format!("there was a gap: {gap:?}").into()),
    }
}

fn is_acked(answer: busgate_core::Result<Settled>) -> Result<(), Failure> {
    match answer? {
        Settled::Acked => Ok(()),
        other => Err(format!("an ack was answered {other:?}").into()),
    }
}

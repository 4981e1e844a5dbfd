//! The way through busgate: a transport in this process, or a gateway behind its client.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_core::{
    Delivery, EventConfig, EventName, GroupName, Item, Message, MessageId, Settled, Start, SubscribeOptions,
    Timestamp, Transport,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{Done, Side};
use crate::{Failure, load::pool};

pub(super) struct Gate {
    transport: Arc<dyn Transport>,
    event: EventName,
}

impl Gate {
    pub(super) async fn open(target: &str, event: &str) -> Result<Self, Failure> {
        let (transport, event) = (pool::open(target).await?, EventName::new(event)?);
        transport.register(&event, &EventConfig::default()).await?;
        Ok(Self { transport, event })
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
        let mut messages = Arc::clone(&self.transport).subscribe(&self.event, options).await?;
        let mut acks = FuturesUnordered::new();
        loop {
            tokio::select! {
                item = messages.next() => match item.ok_or("the subscription ended")?? {
                    Item::Delivery(delivery) => acks.push(ack(delivery, done)),
                    Item::Gap(gap) => return Err(format!("there was a gap: {gap:?}").into()),
                },
                Some(acked) = acks.next(), if !acks.is_empty() => acked?,
            }
        }
    }

    async fn clear(&self) -> Result<(), Failure> {
        self.transport.unregister(&self.event).await?;
        Ok(self.transport.close().await?)
    }
}

async fn ack(delivery: Delivery, done: &Done) -> Result<(), Failure> {
    let message = Arc::clone(&delivery.message);
    match delivery.ack().await? {
        Settled::Acked => {
            done.acked(&message.payload);
            Ok(())
        }
        other => Err(format!("an ack was answered {other:?}").into()),
    }
}

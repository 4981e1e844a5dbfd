//! Health as found by doing: publish, deliver and ack on an event nobody else sees, all of it synced.

use std::{sync::Arc, time::Duration};

use busgate_core::{
    Delivery, Error, EventConfig, EventName, GroupName, Item, Message, MessageId, Result, Settled, Start,
    SubscribeOptions, Subscription, Transport,
};
use futures_util::StreamExt;

use super::LogTransport;
use crate::{
    error::closed,
    event::{Event, PROBE_EVENT},
};

impl LogTransport {
    /// Sends one message all the way.
    pub(super) async fn probe(&self) -> Result<()> {
        let _alone = self.probing.lock().await;
        let this = self.this.upgrade().ok_or_else(closed)?;
        let event = EventName::new(PROBE_EVENT)?;
        let config = EventConfig {
            dedup_window: Some(Duration::ZERO),
            retention_messages: Some(1),
            ..EventConfig::default()
        };
        this.register(&event, &config).await?;
        let options = SubscribeOptions::pool(GroupName::default(), Start::Latest);
        let mut items = Arc::clone(&this).subscribe(&event, options).await?;
        let sent = MessageId::generate();
        this.publish(&event, vec![Message::new(sent.clone(), "probe")])
            .await
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        loop {
            let delivery = next(&mut items).await?;
            let is_sent = delivery.message.id == sent;
            let settled = delivery.ack().await?;
            if is_sent {
                return if settled == Settled::Acked { Ok(()) } else { Err(lost("an ack")) };
            }
        }
    }

    /// The events that others see.
    pub(super) fn seen(&self) -> Vec<Arc<Event>> {
        self.catalog.all().into_iter().filter(|event| event.name.as_str() != PROBE_EVENT).collect()
    }
}

/// The next delivery: what a probe that was cut off left behind, or the one that is waited for.
async fn next(items: &mut Subscription) -> Result<Delivery> {
    loop {
        match items.next().await {
            Some(Ok(Item::Delivery(delivery))) => return Ok(delivery),
            Some(Ok(Item::Gap(_))) => {}
            Some(Err(error)) => return Err(error),
            None => return Err(lost("its event")),
        }
    }
}

fn lost(what: &str) -> Error {
    Error::internal(format!("the probe lost {what}"))
}

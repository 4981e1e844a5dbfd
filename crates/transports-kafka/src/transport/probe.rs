//! Health as found by doing: publish and read on an event nobody else sees.

use std::time::Duration;

use busgate_core::{Error, EventConfig, EventName, Message, MessageId, Result};

use super::KafkaTransport;
use crate::reader::Limit;

/// The event of the probe.
pub(super) const EVENT: &str = "_probe";

/// How long its messages are held.
const HELD: Duration = Duration::from_secs(600);

impl KafkaTransport {
    /// Sends one message all the way to the broker and reads it back.
    pub(super) async fn probe(&self) -> Result<()> {
        let name = EventName::new(EVENT)?;
        let config = EventConfig {
            dedup_window: Some(Duration::ZERO),
            retention_age: Some(HELD),
            ..EventConfig::default()
        };
        self.shared.check_open()?;
        if self.event(&name).await.is_err() {
            self.shared.registry.register(&self.shared, &name, &config).await?;
        }
        let event = self.event(&name).await?;
        let sent = Message::new(MessageId::generate(), "probe");
        let place = self.write(&event, std::iter::once(&sent), None).await.pop();
        let place = place.unwrap_or_else(|| Err(lost("a publish")))?;
        let mut from = self.shared.asker.ends(&event.topic, event.partitions()).await?;
        if let Some(slot) = usize::try_from(place.partition).ok().and_then(|index| from.get_mut(index)) {
            *slot = place.offset;
        }
        let limit = Limit { messages: 1000, bytes: usize::MAX };
        let chunk = self.shared.reader.page(&self.shared, &event, from, limit).await?;
        let found = chunk.messages.iter().any(|(_, message)| message.id == sent.id);
        if found { Ok(()) } else { Err(lost("a message")) }
    }
}

fn lost(what: &str) -> Error {
    Error::internal(format!("the probe lost {what}"))
}

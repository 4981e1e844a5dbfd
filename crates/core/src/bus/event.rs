//! A typed event: what is published to it and what its handlers get is one Rust type.

use std::{fmt, marker::PhantomData, sync::Arc};

use super::{
    Codec, Encode, Json, Publish, Subscribe,
    inner::{Inner, refuse_own},
};
use crate::{Error, EventConfig, EventInfo, EventName, Message, MessageId, Receipt, Result};

/// An event of a [`Bus`](super::Bus) whose messages are values of `T`. Cloning it is cheap.
pub struct Event<T, C = Json> {
    pub(super) inner: Arc<Inner>,
    pub(super) name: EventName,
    pub(super) codec: Arc<C>,
    key: Option<Of<T>>,
    id: Option<Of<T>>,
    values: PhantomData<fn(T) -> T>,
}

/// What a value says of itself.
type Of<T> = Arc<dyn Fn(&T) -> String + Send + Sync>;

impl<T> Event<T> {
    pub(super) fn new(inner: Arc<Inner>, name: EventName) -> Self {
        Self { inner, name, codec: Arc::new(Json), key: None, id: None, values: PhantomData }
    }
}

impl<T, C: Codec> Event<T, C> {
    /// The same event with another codec.
    #[must_use]
    pub fn with_codec<D: Codec>(self, codec: D) -> Event<T, D> {
        let Self { inner, name, key, id, values, .. } = self;
        Event { inner, name, codec: Arc::new(codec), key, id, values }
    }

    /// Every published value's key: the messages of a key are handled one after the other.
    ///
    /// ```
    /// # use busgate_core::{Bus, Result};
    /// # struct Order { customer: String }
    /// # fn of(bus: &Bus) -> Result<()> {
    /// let orders = bus.event::<Order>("order.created")?.keyed_by(|order| order.customer.clone());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn keyed_by(mut self, key: impl Fn(&T) -> String + Send + Sync + 'static) -> Self {
        self.key = Some(Arc::new(key));
        self
    }

    /// Every published value's message id, in place of a new one: publishing a value again within the event's window
    /// is then a duplicate, which nobody gets.
    #[must_use]
    pub fn identified_by(mut self, id: impl Fn(&T) -> String + Send + Sync + 'static) -> Self {
        self.id = Some(Arc::new(id));
        self
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &EventName {
        &self.name
    }

    /// Makes the event known to the transport, with its defaults. Again is fine.
    ///
    /// # Errors
    /// As [`Transport::register`](crate::Transport::register); `invalid` for the gateway's own names.
    pub async fn register(&self) -> Result<()> {
        self.register_with(&EventConfig::default()).await
    }

    /// Makes the event known to the transport.
    ///
    /// # Errors
    /// As [`Transport::register`](crate::Transport::register); `invalid` for the gateway's own names.
    pub async fn register_with(&self, config: &EventConfig) -> Result<()> {
        refuse_own(&self.name)?;
        self.inner.transport.register(&self.name, config).await
    }

    /// What the transport knows of it, if it is registered.
    ///
    /// # Errors
    /// As [`Transport::events`](crate::Transport::events).
    pub async fn info(&self) -> Result<Option<EventInfo>> {
        Ok(self.inner.transport.events().await?.into_iter().find(|info| info.name == self.name))
    }

    /// Publishes a value: `.await` it at once, or say more about the message first.
    ///
    /// `Ok` means that it is as durable as the transport claims.
    ///
    /// ```
    /// # use busgate_core::{Bus, Result};
    /// # #[derive(serde::Serialize)] struct Order { id: u64 }
    /// # async fn of(bus: &Bus, order: Order) -> Result<()> {
    /// let orders = bus.event::<Order>("order.created")?;
    /// orders.publish(&order).await?;
    /// let receipt = orders.publish(&order).id("order-7").key("customer-3").meta("tenant", "eu").await?;
    /// assert!(!receipt.duplicate);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Once awaited: `invalid` when the value does not encode, or for what was said about the message; `too_large`;
    /// `unavailable` after the bus was closed; and what the transport answers.
    pub fn publish(&self, value: &T) -> Publish<'_>
    where
        C: Encode<T>,
    {
        Publish::new(&self.inner, &self.name, self.message(value))
    }

    /// Publishes values in order, in one batch. The answers are in the order of the values, each for itself.
    ///
    /// # Errors
    /// Per value, as [`Event::publish`].
    pub async fn publish_many<'a>(
        &self,
        values: impl IntoIterator<Item = &'a T, IntoIter: Send> + Send,
    ) -> Vec<Result<Receipt>>
    where
        C: Encode<T>,
        T: 'a,
    {
        let batch: Vec<_> = values.into_iter().map(|value| self.message(value)).collect();
        self.inner.send_all(&self.name, batch).await
    }

    /// A subscription: say who gets what, then give it a handler.
    ///
    /// ```
    /// # use busgate_core::{Bus, Result};
    /// # #[derive(serde::Deserialize)] struct Order { id: u64 }
    /// # async fn of(bus: &Bus) -> Result<()> {
    /// let orders = bus.event::<Order>("order.created")?;
    /// let billing = orders
    ///     .subscribe()
    ///     .group("billing")
    ///     .concurrency(8)
    ///     .handle(|order, context| async move {
    ///         println!("order {}, attempt {}", order.id, context.attempt());
    ///         Ok(())
    ///     })
    ///     .await?;
    /// billing.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe(&self) -> Subscribe<T, C> {
        Subscribe::new(self)
    }

    fn message(&self, value: &T) -> Result<Message>
    where
        C: Encode<T>,
    {
        let payload = self.codec.encode(value).map_err(|error| {
            Error::invalid(format!("event `{}`: the value does not encode: {error}", self.name))
        })?;
        let mut message = self.inner.message(payload, self.codec.content_type());
        message.key = self.key.as_ref().map(|key| key(value));
        if let Some(id) = &self.id {
            message.id = MessageId::new(id(value))?;
        }
        Ok(message)
    }
}

impl<T, C> Clone for Event<T, C> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            name: self.name.clone(),
            codec: Arc::clone(&self.codec),
            key: self.key.clone(),
            id: self.id.clone(),
            values: PhantomData,
        }
    }
}

impl<T, C: fmt::Debug> fmt::Debug for Event<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("name", &self.name).field("codec", &self.codec).finish_non_exhaustive()
    }
}

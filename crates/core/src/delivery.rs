//! A message in the hands of one subscriber.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    Cursor, Error, EventName, LeaseToken, Message, Nack, Result, Settled, Settlement, Transport, Verb,
};

/// A message as a subscription hands it out.
///
/// Settling takes the delivery by value, so that settling twice does not compile. Dropping it unsettled never loses
/// the message: its lease runs out, and it comes back.
pub struct Delivery {
    /// The event it is in.
    pub event: EventName,
    /// The message, shared with everyone else who gets it.
    pub message: Arc<Message>,
    /// Its place in the event.
    pub cursor: Cursor,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    lease: Option<Lease>,
}

struct Lease {
    token: LeaseToken,
    transport: Arc<dyn Transport>,
}

impl Delivery {
    /// A delivery nobody needs to settle: unnamed broadcast.
    #[must_use]
    pub fn unleased(event: EventName, message: Arc<Message>, cursor: Cursor) -> Self {
        Self { event, message, cursor, attempt: 1, lease: None }
    }

    /// A delivery that `transport` waits to see settled.
    #[must_use]
    pub fn leased(
        token: LeaseToken,
        message: Arc<Message>,
        cursor: Cursor,
        attempt: u32,
        transport: Arc<dyn Transport>,
    ) -> Self {
        Self { event: token.event.clone(), message, cursor, attempt, lease: Some(Lease { token, transport }) }
    }

    /// The lease as data, if there is one.
    #[must_use]
    pub fn token(&self) -> Option<&LeaseToken> {
        self.lease.as_ref().map(|lease| &lease.token)
    }

    /// The lease as data, without the delivery.
    pub(crate) fn into_token(self) -> Option<LeaseToken> {
        self.lease.map(|lease| lease.token)
    }

    /// Says it is done. Without a lease there is nothing to say, and the answer is the same.
    ///
    /// # Errors
    /// As [`Transport::settle`].
    pub async fn ack(self) -> Result<Settled> {
        self.settle(Verb::Ack, Settled::Acked).await
    }

    /// Gives it back.
    ///
    /// # Errors
    /// `unsupported` without a lease, else as [`Transport::settle`].
    pub async fn nack(self, nack: Nack) -> Result<Settled> {
        self.require_lease()?;
        self.settle(Verb::Nack(nack), Settled::Nacked).await
    }

    /// Sends it to the dead letters.
    ///
    /// # Errors
    /// `unsupported` without a lease, else as [`Transport::settle`].
    pub async fn reject(self, reason: impl Into<String>) -> Result<Settled> {
        self.require_lease()?;
        self.settle(Verb::Reject { reason: reason.into() }, Settled::Rejected).await
    }

    /// Makes the lease run for `duration` from now.
    ///
    /// # Errors
    /// `unsupported` without a lease, else as [`Transport::settle`].
    pub async fn extend(&mut self, duration: Duration) -> Result<Settled> {
        self.require_lease()?;
        self.settle_with(Verb::Extend(duration), Settled::Extended).await
    }

    fn require_lease(&self) -> Result<()> {
        if self.lease.is_some() {
            return Ok(());
        }
        Err(Error::unsupported("an unnamed broadcast delivery has no lease to settle"))
    }

    async fn settle(self, verb: Verb, without_lease: Settled) -> Result<Settled> {
        self.settle_with(verb, without_lease).await
    }

    async fn settle_with(&self, verb: Verb, without_lease: Settled) -> Result<Settled> {
        let Some(lease) = &self.lease else { return Ok(without_lease) };
        let batch = vec![Settlement { token: lease.token.clone(), verb }];
        let mut results = lease.transport.settle(batch).await;
        results.pop().unwrap_or_else(|| Err(Error::internal("the transport answered no settlement")))
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("event", &self.event)
            .field("id", &self.message.id)
            .field("cursor", &self.cursor)
            .field("attempt", &self.attempt)
            .field("leased", &self.lease.is_some())
            .finish_non_exhaustive()
    }
}

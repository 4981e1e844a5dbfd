//! Hearing that a consumer has another leader.
//!
//! Servers tell each other when a message was published, not when it was delivered: whoever leads next takes what is held
//! of messages older than the server's clock for lost, and gives it to others at once.

use async_nats::Subscriber;
use futures_util::StreamExt;

use super::Run;
use crate::{crew::Crew, pull::Puller};

impl Crew {
    /// Hears of elections, where there are any.
    pub(super) async fn elections(&self) -> Option<Subscriber> {
        let (stream, consumer) = (&self.event.stream, &self.consumer);
        let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.LEADER_ELECTED.{stream}.{consumer}");
        if self.is_replicated { self.link.subscribe(subject).await.ok() } else { None }
    }
}

impl Run {
    /// What the last leader delivered may be another's by now, also what is still to be taken in of it.
    pub(super) async fn be_usurped(&mut self) {
        while let Some(heard) = self.puller.as_mut().and_then(Puller::next_now) {
            self.hear(Ok(heard)).await;
        }
        tracing::debug!(event = %self.crew.event.name, "the consumer has another leader: what is held is in doubt");
        self.crew.change(|state, _| state.book.usurp());
    }
}

/// Resolves when there was an election.
pub(super) async fn elected(elections: &mut Option<Subscriber>) {
    let heard = match elections {
        Some(subscriber) => subscriber.next().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}

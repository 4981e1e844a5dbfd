//! Where a session's messages come from: one event or several, leased or followed live.

use std::{collections::HashSet, sync::Arc};

use futures_util::{
    FutureExt, StreamExt,
    stream::{self, BoxStream, SelectAll},
};
use tokio::{sync::watch, time::Instant};

use super::{End, Inner, subscribe::Plan};
use crate::{
    Envelope, EventName, Gap, Item, LeaseToken, Result, Start, Subscription,
    hub::{Follower, Step},
};

/// What a source yields.
#[derive(Debug)]
pub(super) enum Input {
    Message { envelope: Arc<Envelope>, attempt: u32, token: Option<LeaseToken> },
    Gap(Gap),
    End(End),
}

/// Where a session's messages come from.
pub(super) enum Source {
    Leased(Subscription),
    Follow(Box<Follower>),
    Many(Box<Many>),
}

impl Source {
    /// The next input. Cancel-safe.
    pub(super) async fn next(&mut self) -> Input {
        match self {
            Self::Leased(subscription) => subscription.next().await.into(),
            Self::Follow(follower) => follower.next().await.into(),
            Self::Many(many) => many.next().await,
        }
    }

    /// The next input, if it takes no waiting.
    pub(super) fn try_next(&mut self) -> Option<Input> {
        match self {
            Self::Leased(subscription) => subscription.next().now_or_never().map(Into::into),
            Self::Follow(follower) => follower.try_next().map(Into::into),
            Self::Many(many) => many.try_next(),
        }
    }

    fn into_stream(self, event: EventName) -> BoxStream<'static, (EventName, Input)> {
        let parts = stream::unfold(Some((self, event)), |state| async {
            let (mut source, event) = state?;
            let input = source.next().await;
            let over = matches!(input, Input::End(_));
            Some(((event.clone(), input), (!over).then_some((source, event))))
        });
        parts.boxed()
    }
}

impl From<Step> for Input {
    fn from(step: Step) -> Self {
        match step {
            Step::Message(envelope) => Self::Message { envelope, attempt: 1, token: None },
            Step::Gap(gap) => Self::Gap(gap),
            Step::End(end) => Self::End(end),
        }
    }
}

impl From<Option<Result<Item>>> for Input {
    fn from(item: Option<Result<Item>>) -> Self {
        match item {
            None => Self::End(End::Closed),
            Some(Err(error)) => Self::End(End::Failed(error)),
            Some(Ok(Item::Gap(gap))) => Self::Gap(gap),
            Some(Ok(Item::Delivery(delivery))) => Self::Message {
                attempt: delivery.attempt,
                token: delivery.token().cloned(),
                envelope: Arc::new(Envelope::new(delivery.event, delivery.message, delivery.cursor)),
            },
        }
    }
}

/// The events that a pattern stands for, those that are registered later included.
pub(super) struct Many {
    inner: Arc<Inner>,
    plan: Plan,
    parts: SelectAll<BoxStream<'static, (EventName, Input)>>,
    known: HashSet<EventName>,
    registrations: watch::Receiver<u64>,
    /// When to look for new events. In the past until a look has come to its end, so that a dropped one is made again.
    look_at: Instant,
}

impl Many {
    pub(super) async fn open(inner: Arc<Inner>, plan: Plan, start: Start) -> Result<Self> {
        let registrations = inner.registrations.subscribe();
        let look_at = Instant::now();
        let mut many =
            Self { inner, plan, parts: SelectAll::new(), known: HashSet::new(), registrations, look_at };
        many.look(&start).await?;
        Ok(many)
    }

    async fn next(&mut self) -> Input {
        loop {
            if Instant::now() >= self.look_at
                && let Err(error) = self.look(&Start::Beginning).await
            {
                return Input::End(End::Failed(error));
            }
            let part = tokio::select! {
                biased;
                Ok(()) = self.registrations.changed() => { self.look_at = Instant::now(); None }
                Some(part) = self.parts.next() => Some(part),
                () = tokio::time::sleep_until(self.look_at) => None,
            };
            if let Some(input) = part.and_then(|part| self.take(part)) {
                return input;
            }
        }
    }

    fn try_next(&mut self) -> Option<Input> {
        loop {
            let part = self.parts.next().now_or_never().flatten()?;
            if let Some(input) = self.take(part) {
                return Some(input);
            }
        }
    }

    /// An event that is unregistered leaves; the session goes on with the others.
    fn take(&mut self, (event, input): (EventName, Input)) -> Option<Input> {
        if matches!(input, Input::End(End::Closed)) {
            self.known.remove(&event);
            // It may have been registered anew meanwhile.
            self.look_at = Instant::now();
            return None;
        }
        Some(input)
    }

    /// Takes in the events it does not know yet. One that comes up later is read from its beginning.
    async fn look(&mut self, start: &Start) -> Result<()> {
        let most = self.inner.config.max_pattern_events;
        for event in self.inner.matching(&self.plan.target).await? {
            if self.known.contains(&event) {
                continue;
            }
            if self.known.len() >= most {
                tracing::warn!(pattern = %self.plan.target, most, "a pattern stands for too many events, the rest is left out");
                break;
            }
            match self.inner.open(&self.plan, &event, start.clone()).await {
                Ok(source) => {
                    self.parts.push(source.into_stream(event.clone()));
                    self.known.insert(event);
                }
                Err(error) if error.kind() == crate::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.look_at = Instant::now() + self.inner.config.discovery_interval;
        Ok(())
    }
}

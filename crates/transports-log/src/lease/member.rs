//! One subscription of a group or named consumer.

use std::sync::{Arc, atomic::Ordering};

use busgate_core::{
    Delivery, Error, ErrorKind, Gap, Item, LeaseToken, Moment, Result, RetryPolicy, SubscribeOptions,
    Subscription, Taken, Transport, Verb,
};
use futures_util::stream;
use tokio::sync::watch;

use super::{Entry, Seat, Step};
use crate::{
    error::closed,
    event::{Event, Phase},
    reader::Loader,
    transport::LogTransport,
};

/// How much of the log one read from disk brings.
const LOAD: (usize, usize) = (256, 1024 * 1024);

/// A member. Dropping it unsubscribes; what it did not yield is back at once.
#[derive(Debug)]
pub(crate) struct Member {
    transport: Arc<LogTransport>,
    event: Arc<Event>,
    seat: Arc<Seat>,
    id: u64,
    policy: Arc<RetryPolicy>,
    window: usize,
    wake: watch::Receiver<()>,
    /// What is yielded before anything else.
    gap: Option<Gap>,
    /// Taken, but behind the gap.
    held: Option<Taken>,
}

impl Member {
    /// Takes a seat. A named consumer's earlier member ends.
    pub(crate) fn new(
        transport: Arc<LogTransport>,
        event: Arc<Event>,
        seat: Arc<Seat>,
        options: SubscribeOptions,
        gap: Option<Gap>,
    ) -> Self {
        let id = transport.new_member();
        let before = seat.latest.swap(id, Ordering::AcqRel);
        seat.members.fetch_add(1, Ordering::Relaxed);
        let wake = seat.wake.subscribe();
        let policy = Arc::new(options.retry);
        let window = options.max_in_flight;
        let member = Self { transport, event, seat, id, policy, window, wake, gap, held: None };
        if member.is_consumer() && before != 0 {
            member.seat.return_member(before, member.transport.queue());
        }
        member
    }

    /// The member as a stream.
    pub(crate) fn into_subscription(self) -> Subscription {
        Subscription::new(stream::unfold(Some(self), |member| async move {
            let mut member = member?;
            match member.next().await {
                Some(Ok(item)) => Some((Ok(item), Some(member))),
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        }))
    }

    async fn next(&mut self) -> Option<Result<Item>> {
        loop {
            self.wake.mark_unchanged();
            match self.event.phase() {
                Phase::Open => {}
                Phase::Unregistered => return None,
                Phase::Closed => return Some(Err(closed())),
            }
            if self.is_consumer() && self.seat.latest.load(Ordering::Acquire) != self.id {
                return Some(Err(Error::new(ErrorKind::Exists, "the consumer has subscribed elsewhere")));
            }
            if let Some(gap) = self.gap.take() {
                return Some(Ok(Item::Gap(gap)));
            }
            if let Some(taken) = self.held.take() {
                return Some(self.deliver(taken));
            }
            let offer = (&self.policy, self.window);
            let queue = self.transport.queue();
            let turn = self.seat.take(self.transport.now(), self.id, offer, &self.event, queue);
            if turn.missed > 0 {
                let next = self.event.bounds().first;
                self.gap = Some(self.event.gap(Some(turn.missed), next));
            }
            match turn.step {
                Step::Taken(taken) => self.held = Some(taken),
                Step::Load(offset) => {
                    if let Err(error) = self.load(offset).await {
                        return Some(Err(error));
                    }
                }
                Step::Idle if self.gap.is_some() => {}
                Step::Idle => {
                    // The seat outlives its members: the sender can't be gone.
                    let _ = self.wake.changed().await;
                }
            }
        }
    }

    async fn load(&self, from: u64) -> Result<()> {
        let loader: &Loader = self.transport.loader();
        let messages = loader.load(&self.event, from, LOAD).await?;
        self.seat.keep(from, messages);
        Ok(())
    }

    fn deliver(&self, taken: Taken) -> Result<Item> {
        let token = LeaseToken {
            event: self.event.name.clone(),
            holder: self.seat.holder.clone(),
            entry: Entry { event: self.event.id, offset: taken.offset }.to_bytes(),
            epoch: taken.epoch,
        };
        let cursor = self.event.cursor(taken.offset)?;
        let transport = Arc::clone(&self.transport) as Arc<dyn Transport>;
        Ok(Item::Delivery(Delivery::leased(token, taken.message, cursor, taken.attempt, transport)))
    }

    fn is_consumer(&self) -> bool {
        matches!(self.seat.holder, busgate_core::Holder::Consumer(_))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.seat.members.fetch_sub(1, Ordering::Relaxed);
        if let Some(taken) = self.held.take() {
            let now: Moment = self.transport.now();
            let entry = Entry { event: self.event.id, offset: taken.offset };
            let release = Verb::Release { counted: false };
            self.seat.settle(now, (entry, taken.epoch), &release, &self.event, self.transport.queue());
        }
    }
}

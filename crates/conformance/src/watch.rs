//! A subscription as laws look at it: whatever must come comes within the pace's patience.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use busgate_core::{Delivery, ErrorKind, Gap, Item, LeaseToken, Result, Settled, Subscription};
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, timeout};

use crate::{Broken, Pace, Verdict};

/// A subscription under watch.
#[derive(Debug)]
pub struct Watch {
    subscription: Subscription,
    pace: Pace,
}

impl Watch {
    pub(crate) const fn new(subscription: Subscription, pace: Pace) -> Self {
        Self { subscription, pace }
    }

    /// The next thing at all: an item, an error, or the end.
    ///
    /// # Errors
    /// When nothing comes.
    pub async fn next(&mut self) -> Verdict<Option<Result<Item>>> {
        self.next_within(self.pace.patience).await
    }

    async fn next_within(&mut self, patience: Duration) -> Verdict<Option<Result<Item>>> {
        let since = Instant::now();
        let found = timeout(patience, self.subscription.next()).await;
        match found {
            // The end of patience polls once more: what is found by that alone is what nobody was woken for.
            Ok(found) if since.elapsed() < patience => Ok(found),
            Ok(found) => Err(Broken::new(format!("nobody was woken for {found:?}"))),
            Err(_) => Err(Broken::new(format!("nothing came within {patience:?}"))),
        }
    }

    /// The next delivery.
    ///
    /// # Errors
    /// When nothing, or anything else, comes.
    pub async fn delivery(&mut self) -> Verdict<Delivery> {
        Self::delivered(self.next().await?)
    }

    fn delivered(found: Option<Result<Item>>) -> Verdict<Delivery> {
        match found {
            Some(Ok(Item::Delivery(delivery))) => Ok(delivery),
            other => Err(Broken::new(format!("wanted a delivery, found {other:?}"))),
        }
    }

    /// The next delivery, if one comes within `patience`.
    ///
    /// # Errors
    /// When anything else comes.
    pub async fn delivery_within(&mut self, patience: Duration) -> Verdict<Option<Delivery>> {
        match timeout(patience, self.subscription.next()).await {
            Ok(found) => Self::delivered(found).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The next delivery, which must be this message on its first attempt.
    ///
    /// # Errors
    /// When it is not.
    pub async fn first(&mut self, id: &str) -> Verdict<Delivery> {
        self.attempt(id, 1).await
    }

    /// The next delivery, which must be this message on this attempt.
    ///
    /// # Errors
    /// When it is not.
    pub async fn attempt(&mut self, id: &str, attempt: u32) -> Verdict<Delivery> {
        let delivery =
            self.delivery().await.map_err(|broken| broken.during(&format!("waiting for `{id}`")))?;
        ensure_eq!(delivery.message.id.as_str(), id, "the next message");
        ensure_eq!(delivery.attempt, attempt, "the attempt of `{id}`");
        Ok(delivery)
    }

    /// The next delivery, which must be this message on this attempt, and come this long after `since`: neither
    /// earlier, nor later than the pace's slack.
    ///
    /// # Errors
    /// When it is not, or does not.
    pub async fn attempt_after(
        &mut self,
        id: &str,
        attempt: u32,
        since: Instant,
        after: Duration,
    ) -> Verdict<Delivery> {
        let (pace, waited) = (self.pace.clone(), after + self.pace.patience);
        let found =
            self.next_within(waited).await.map_err(|broken| broken.during(&format!("waiting for `{id}`")))?;
        let (delivery, came) = (Self::delivered(found)?, since.elapsed());
        ensure_eq!(delivery.message.id.as_str(), id, "the next message");
        ensure_eq!(delivery.attempt, attempt, "the attempt of `{id}`");
        ensure!(came + pace.early >= after, "`{id}` came back after {came:?}, before its time of {after:?}");
        ensure!(
            came <= after + pace.slack,
            "`{id}` came back after {came:?}, long after its time of {after:?}"
        );
        Ok(delivery)
    }

    /// The lease of the next delivery, which must be this message on its first attempt.
    ///
    /// # Errors
    /// When it is not, or has no lease.
    pub async fn lease(&mut self, id: &str) -> Verdict<LeaseToken> {
        token(&self.first(id).await?)
    }

    /// Acks the next deliveries, which must be these messages on their first attempt.
    ///
    /// # Errors
    /// When they are not.
    pub async fn ack_all(&mut self, ids: impl IntoIterator<Item = impl AsRef<str>>) -> Verdict {
        for id in ids {
            let id = id.as_ref();
            let settled = self.first(id).await?.ack().await?;
            ensure_eq!(settled, Settled::Acked, "the ack of `{id}`");
        }
        Ok(())
    }

    /// Acks the next `count` deliveries, whichever they are, and tells their ids.
    ///
    /// # Errors
    /// When fewer come, or one does not come on its first attempt.
    pub async fn ack_some(&mut self, count: usize) -> Verdict<Vec<String>> {
        let mut ids = Vec::with_capacity(count);
        for nth in 0..count {
            let step = format!("after {nth} of {count}");
            let delivery = self.delivery().await.map_err(|broken| broken.during(&step))?;
            ensure_eq!(delivery.attempt, 1, "the attempt of `{}`", delivery.message.id);
            ids.push(delivery.message.id.to_string());
            ensure_eq!(delivery.ack().await?, Settled::Acked, "an ack");
        }
        Ok(ids)
    }

    /// Nothing comes for a while.
    ///
    /// # Errors
    /// When something does.
    pub async fn quiet(&mut self) -> Verdict {
        self.quiet_for(self.pace.quiet).await
    }

    /// Nothing comes for this long.
    ///
    /// # Errors
    /// When something does.
    pub async fn quiet_for(&mut self, silence: Duration) -> Verdict {
        match timeout(silence, self.subscription.next()).await {
            Ok(found) => Err(Broken::new(format!("wanted silence, found {found:?}"))),
            Err(_) => Ok(()),
        }
    }

    /// The next item, which must be a gap.
    ///
    /// # Errors
    /// When it is not.
    pub async fn gap(&mut self) -> Verdict<Gap> {
        match self.next().await.map_err(|broken| broken.during("waiting for a gap"))? {
            Some(Ok(Item::Gap(gap))) => Ok(gap),
            other => Err(Broken::new(format!("wanted a gap, found {other:?}"))),
        }
    }

    /// The subscription ends without an error.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ends(&mut self) -> Verdict {
        let last = self.next().await?;
        ensure!(last.is_none(), "wanted the end of the subscription, found {last:?}");
        Ok(())
    }

    /// The subscription ends with an error of this kind.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ends_with(&mut self, kind: ErrorKind) -> Verdict {
        let last = self.next().await?;
        ensure!(
            matches!(&last, Some(Err(error)) if error.kind() == kind),
            "wanted the end with {kind}, found {last:?}"
        );
        let beyond = self.next().await?;
        ensure!(beyond.is_none(), "after the error comes {beyond:?}");
        Ok(())
    }

    /// Polls it once, and drops the wait.
    pub async fn glance(&mut self) -> Option<Result<Item>> {
        let subscription = &mut self.subscription;
        poll_fn(|cx| match Pin::new(&mut *subscription).poll_next(cx) {
            Poll::Ready(found) => Poll::Ready(found),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}

/// The lease of a delivery.
pub(crate) fn token(delivery: &Delivery) -> Verdict<LeaseToken> {
    delivery.token().cloned().ok_or_else(|| Broken::new(format!("{delivery:?} has no lease")))
}

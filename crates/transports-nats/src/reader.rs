//! Unnamed broadcast: a consumer that nobody has to ack, made again wherever it stopped.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use busgate_core::{Delivery, Item, Result, Start};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    codec,
    delivery::Delivered,
    error,
    event::{End, Event},
    link::Link,
    pull::Heard,
    start::{From, locate, missed},
    tap::Tap,
};

/// How long to wait when nothing was asked for: something always is.
const UNASKED: Duration = Duration::from_secs(60);

/// How long to wait after a fault.
const MOMENT: Duration = Duration::from_millis(50);

/// One unnamed subscription.
#[derive(Debug)]
pub(crate) struct Reader {
    link: Arc<Link>,
    event: Arc<Event>,
    window: usize,
    tap: Option<Tap>,
    /// Where to go on.
    from: From,
    /// The next sequence of the consumer, if none is lost.
    epoch: u64,
    items: VecDeque<Item>,
    changes: watch::Receiver<u64>,
    ending: watch::Receiver<Option<End>>,
    ended: bool,
}

impl Reader {
    pub(crate) async fn open(
        link: &Arc<Link>,
        event: Arc<Event>,
        start: &Start,
        window: usize,
    ) -> Result<Self> {
        let (from, gap) = locate(link, &event, start).await?;
        let mut reader = Self {
            link: Arc::clone(link),
            window,
            tap: None,
            from,
            epoch: 1,
            items: gap.map(Item::Gap).into_iter().collect(),
            changes: link.changes(),
            ending: event.ending(),
            event,
            ended: false,
        };
        reader.changes.mark_unchanged();
        reader.attach().await?;
        Ok(reader)
    }

    async fn attach(&mut self) -> Result<()> {
        self.tap = None;
        let (mut tap, _) = Tap::open(&self.link, &self.event, self.from).await?;
        self.epoch = 1;
        tap.puller.ask(self.window).await?;
        self.tap = Some(tap);
        Ok(())
    }

    /// The next item; the end when the event was unregistered.
    pub(crate) async fn next(&mut self) -> Option<Result<Item>> {
        loop {
            if self.ended {
                return None;
            }
            // The end comes before what was read ahead: an event that is gone has no messages.
            if let Some(end) = self.event.ended() {
                self.ended = true;
                return (end == End::Closed).then(|| Err(error::closed()));
            }
            if let Some(item) = self.items.pop_front() {
                return Some(Ok(item));
            }
            if let Err(error) = self.turn().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }

    /// Waits for something to happen, and takes it in.
    async fn turn(&mut self) -> Result<()> {
        let Some(tap) = &mut self.tap else { return self.come_back().await };
        if tap.puller.outstanding() <= self.window / 2 {
            let more = self.window - tap.puller.outstanding();
            if tap.puller.ask(more).await.is_err() {
                self.tap = None;
                return Ok(());
            }
        }
        let silent_at = tap.puller.silent_at().unwrap_or_else(|| Instant::now() + UNASKED);
        let heard = tokio::select! {
            biased;
            heard = tap.puller.next() => heard,
            _ = self.ending.changed() => return Ok(()),
            _ = self.changes.changed() => Ok(Heard::Gone),
            () = sleep_until(silent_at) => Ok(Heard::Gone),
        };
        match heard {
            Ok(Heard::Message(message)) => self.accept(message).await,
            Ok(Heard::Nothing) => Ok(()),
            Ok(Heard::Trouble) => {
                tap.puller.reset();
                sleep(MOMENT).await;
                Ok(())
            }
            Ok(Heard::Gone) | Err(_) => {
                self.tap = None;
                Ok(())
            }
        }
    }

    /// Makes the consumer again; waits while the server is away.
    async fn come_back(&mut self) -> Result<()> {
        match self.attach().await {
            Ok(()) => return Ok(()),
            Err(refused) if error::is_not_found(&refused) => {
                self.event.finish(End::Unregistered);
                return Ok(());
            }
            Err(refused) if !refused.kind().is_transient() => return Err(refused),
            Err(refused) => {
                tracing::debug!(event = %self.event.name, error = %refused, "a reader waits for the server");
            }
        }
        tokio::select! {
            _ = self.ending.changed() => {}
            _ = self.changes.changed() => {}
            () = sleep(MOMENT * 20) => {}
        }
        Ok(())
    }

    async fn accept(&mut self, message: async_nats::Message) -> Result<()> {
        let Some(delivered) = Delivered::of(message.reply.as_ref()) else { return Ok(()) };
        if delivered.epoch != self.epoch {
            // One was lost on the way: again from where we are.
            self.tap = None;
            return Ok(());
        }
        self.epoch += 1;
        let sequence = delivered.stamp.sequence;
        if let From::Sequence(next) = self.from
            && next < sequence
            && let Some(gap) = missed(&self.link, &self.event, next, sequence).await?
        {
            self.items.push_back(Item::Gap(gap));
        }
        self.from = From::Sequence(sequence + 1);
        let cursor = self.event.before(sequence + 1).to_cursor()?;
        let message = codec::delivered(message, delivered)?;
        let delivery = Delivery::unleased(self.event.name.clone(), Arc::new(message), cursor);
        self.items.push_back(Item::Delivery(delivery));
        Ok(())
    }
}

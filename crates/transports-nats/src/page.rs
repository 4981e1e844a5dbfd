//! Pages of history, read to the end that the stream's leader knows.

use std::{sync::Arc, time::Duration};

use busgate_core::{Effect, Page, ReadRequest, Result};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    api::ConsumerInfo,
    codec,
    delivery::Delivered,
    error,
    event::Event,
    link::Link,
    pull::Heard,
    start::{From, known_stream, locate, missed},
    tap::Tap,
};

/// How many messages are asked for at a time.
const CHUNK: usize = 64;

/// How long a server of a cluster may be behind its leader before that is asked whether there is more.
const LAG: Duration = Duration::from_millis(500);

/// How long to wait until such a server is asked again.
const MOMENT: Duration = Duration::from_millis(10);

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A page in the making.
struct Reading<'a> {
    event: &'a Event,
    request: &'a ReadRequest,
    from: From,
    tap: Tap,
    page: Page,
    bytes: usize,
    /// The last sequence, as the leader knows it.
    last: u64,
    /// Until when less than that is not the end.
    lag: Option<Instant>,
}

/// Reads one page.
pub(crate) async fn read(link: &Arc<Link>, event: &Event, request: &ReadRequest) -> Result<Page> {
    let (from, gap) = locate(link, event, &request.start).await?;
    let info = known_stream(link, event).await?;
    let last = info.state.last_seq;
    if let From::Sequence(next) = from
        && next > last
    {
        return Ok(Page { gap, messages: Vec::new(), next: event.before(next).to_cursor()?, end: true });
    }
    let (tap, consumer) = Tap::open(link, event, from).await?;
    let next = event.before(first_of(from, &consumer)).to_cursor()?;
    let page = Page { gap, messages: Vec::new(), next, end: last == 0 };
    let lags = info.config.num_replicas > 1 && event.is_whole;
    let lag = lags.then(|| Instant::now() + LAG);
    let mut reading = Reading { event, request, from, tap, page, bytes: 0, last, lag };
    reading.page.end |= consumer.num_pending == 0 && reading.is_all_there().await?;
    reading.run(Instant::now() + PATIENCE).await?;
    Ok(reading.page)
}

fn first_of(from: From, consumer: &ConsumerInfo) -> u64 {
    match from {
        From::Sequence(next) => next,
        From::Beginning | From::Time(_) => consumer.delivered.stream_seq.saturating_add(1),
    }
}

impl Reading<'_> {
    async fn run(&mut self, deadline: Instant) -> Result<()> {
        while !self.page.end && self.page.messages.len() < self.request.limit {
            if Instant::now() > deadline {
                return Err(error::late().with_effect(Effect::None));
            }
            let room = (self.request.limit - self.page.messages.len()).min(CHUNK);
            self.tap.puller.ask_now(room).await?;
            if !self.fill().await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether what this server has no more of is all there is. The last one, if it was not deleted, is still to come.
    async fn is_all_there(&mut self) -> Result<bool> {
        match self.lag {
            None => return Ok(true),
            Some(until) if Instant::now() < until => return Ok(false),
            Some(_) => {}
        }
        // From a time on, there may be nothing at all.
        let is_wanted = !matches!(self.from, From::Time(_)) || !self.page.messages.is_empty();
        let is_behind = is_wanted && self.tap.link.has_message(&self.event.stream, self.last).await?;
        self.lag = is_behind.then(|| Instant::now() + LAG);
        Ok(!is_behind)
    }

    /// Takes in what was asked for; whether there may be more.
    async fn fill(&mut self) -> Result<bool> {
        while self.tap.puller.outstanding() > 0 {
            let Some(silent_at) = self.tap.puller.silent_at() else { break };
            let heard = tokio::select! {
                heard = self.tap.puller.next() => heard?,
                () = sleep_until(silent_at) => return Err(error::late().with_effect(Effect::None)),
            };
            match heard {
                Heard::Message(message) => {
                    if !self.take(message).await? {
                        return Ok(false);
                    }
                }
                // There is no more, though it looked so: what was pending is gone, or is not here yet.
                Heard::Nothing if self.tap.puller.outstanding() == 0 => {
                    self.page.end = self.is_all_there().await?;
                    if !self.page.end {
                        sleep(MOMENT).await;
                    }
                    return Ok(!self.page.end);
                }
                Heard::Nothing => {}
                Heard::Trouble => {
                    self.tap.puller.reset();
                    sleep(MOMENT).await;
                }
                Heard::Gone => return Err(error::no_jetstream()),
            }
        }
        Ok(true)
    }

    /// Takes one message in; whether there is room for more.
    async fn take(&mut self, message: async_nats::Message) -> Result<bool> {
        let Some(delivered) = Delivered::of(message.reply.as_ref()) else { return Ok(true) };
        let sequence = delivered.stamp.sequence;
        let message = codec::delivered(message, delivered)?;
        self.bytes += message.weight();
        let page = &mut self.page;
        if self.bytes > self.request.max_bytes && !page.messages.is_empty() {
            return Ok(false);
        }
        if page.messages.is_empty()
            && page.gap.is_none()
            && let From::Sequence(next) = self.from
            && next < sequence
        {
            page.gap = missed(&self.tap.link, self.event, next, sequence).await?;
        }
        let cursor = self.event.before(sequence + 1).to_cursor()?;
        page.next = cursor.clone();
        page.messages.push((cursor, Arc::new(message)));
        let is_last = sequence >= self.last || self.lag.is_none();
        self.page.end = delivered.pending == 0 && is_last;
        Ok(!self.page.end)
    }
}

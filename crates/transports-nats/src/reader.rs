//! Unnamed broadcast: a consumer of its own that nobody has to ack, made again wherever it stopped.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use busgate_core::{Delivery, Error, Gap, Item, Message, Result, Start, Timestamp};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    api::{ConsumerInfo, StreamInfo},
    codec,
    delivery::Delivered,
    error,
    event::{End, Event},
    link::Link,
    pull::{Heard, Puller},
};

/// How long the server keeps a reader's consumer that nobody asks.
const IDLE: Duration = Duration::from_secs(60);

/// How long to wait after a fault.
const MOMENT: Duration = Duration::from_millis(50);

/// How often to ask for what should be there: a busy cluster may take some hundred milliseconds to tell all its servers.
const TRIES: usize = 20;

/// Where a consumer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Beginning,
    Time(Timestamp),
    Sequence(u64),
}

impl From {
    /// The part of a consumer's configuration that says it.
    pub(crate) fn policy(self) -> Result<Value> {
        Ok(match self {
            Self::Beginning => json!({ "deliver_policy": "all" }),
            Self::Time(time) => {
                let nanos = i128::from(time.as_nanos().max(0));
                let at = async_nats::datetime::from_nanos(nanos);
                let at = at.map_err(|_| Error::invalid("the start time is out of range"))?;
                json!({ "deliver_policy": "by_start_time", "opt_start_time": text(at) })
            }
            Self::Sequence(next) => {
                json!({ "deliver_policy": "by_start_sequence", "opt_start_seq": next.max(1) })
            }
        })
    }
}

/// As RFC 3339 writes it.
fn text(at: async_nats::datetime::DateTime) -> String {
    let (date, nanos) = (at.date(), at.nanosecond());
    let (month, day) = (u8::from(date.month()), date.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z", date.year())
}

/// Where an event's subscription starts, and what it can't have any more.
pub(crate) async fn locate(link: &Link, event: &Event, start: &Start) -> Result<(From, Option<Gap>)> {
    let cursor = match start {
        Start::Beginning => return Ok((From::Beginning, None)),
        // By the leader: another server of a cluster may not know yet what has been accepted.
        Start::Latest => {
            let info = known_stream(link, event).await?;
            return Ok((From::Sequence(info.state.last_seq.saturating_add(1)), None));
        }
        Start::At(time) => return Ok((From::Time(*time), None)),
        Start::After(cursor) => cursor,
    };
    let position = busgate_core::Position::parse(cursor)?;
    if !position.is_of(&event.name) {
        return Err(busgate_core::Position::foreign());
    }
    let info = known_stream(link, event).await?;
    let (first, end) = (info.state.first(), info.state.last_seq.saturating_add(1));
    let known = position.life == event.life && position.next <= end;
    if known && position.next >= first {
        return Ok((From::Sequence(position.next), None));
    }
    let missed = (known && event.is_whole).then(|| first - position.next);
    let cursor = Some(event.before(first).to_cursor()?);
    Ok((From::Sequence(first), Some(Gap { missed, cursor })))
}

/// The stream of an event that is known. A server of a cluster that was asked too early does not know it yet.
pub(crate) async fn known_stream(link: &Link, event: &Event) -> Result<StreamInfo> {
    for _ in 0..TRIES {
        match link.stream(&event.stream).await? {
            Some(info) => return Ok(info),
            None if event.ended().is_some() => break,
            None => sleep(MOMENT).await,
        }
    }
    Err(error::not_registered(&event.name))
}

/// A consumer that nobody acks.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) puller: Puller,
    name: String,
    pub(crate) link: Arc<Link>,
    stream: String,
}

impl Tap {
    pub(crate) async fn open(link: &Arc<Link>, event: &Event, from: From) -> Result<(Self, ConsumerInfo)> {
        let name = format!("r-{:016x}-{}", fresh(), link.serial());
        let mut config = json!({
            "name": name,
            "ack_policy": "none",
            "replay_policy": "instant",
            "max_deliver": -1,
            "mem_storage": true,
            "num_replicas": 1,
            "inactive_threshold": u64::try_from(IDLE.as_nanos()).unwrap_or(u64::MAX),
        });
        merge(&mut config, from.policy()?);
        if !event.is_whole {
            merge(&mut config, json!({ "filter_subject": event.subject }));
        }
        let puller = Puller::open(link, &event.stream, &name).await?;
        let mut answer = link.create_consumer(&event.stream, &name, &config).await?;
        if matches!(&answer, Err(refused) if refused.code() == 404) {
            known_stream(link, event).await?;
            sleep(MOMENT).await;
            answer = link.create_consumer(&event.stream, &name, &config).await?;
        }
        let info = answer.map_err(|refused| match refused.code() {
            404 => error::not_registered(&event.name),
            _ => error::api(refused),
        })?;
        let (link, stream) = (Arc::clone(link), event.stream.clone());
        Ok((Self { puller, name, link, stream }, info))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.link.drop_consumer(&self.stream, &self.name);
    }
}

/// A number that no other process draws.
pub(crate) fn fresh() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8)
}

pub(crate) fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

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
        let silent_at = tap.puller.silent_at().unwrap_or_else(|| Instant::now() + IDLE);
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
        let message = decode(message, delivered)?;
        let delivery = Delivery::unleased(self.event.name.clone(), Arc::new(message), cursor);
        self.items.push_back(Item::Delivery(delivery));
        Ok(())
    }
}

/// The gap when after `next` comes `sequence`. In a stream with other subjects only retention makes one.
pub(crate) async fn missed(link: &Link, event: &Event, next: u64, sequence: u64) -> Result<Option<Gap>> {
    let missed = if event.is_whole {
        Some(sequence - next)
    } else {
        match link.stream(&event.stream).await {
            Ok(Some(info)) if info.state.first() > next => None,
            _ => return Ok(None),
        }
    };
    Ok(Some(Gap { missed, cursor: Some(event.before(sequence).to_cursor()?) }))
}

pub(crate) fn decode(message: async_nats::Message, delivered: Delivered) -> Result<Message> {
    codec::inbound(message.headers.as_ref(), message.payload, delivered.stamp)
}

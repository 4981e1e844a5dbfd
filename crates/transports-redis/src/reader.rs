//! Reading without leases: pages of history, and unnamed subscriptions that read on as messages come.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use busgate_core::{Cursor, Delivery, Error, ErrorKind, Item, Message, Page, ReadRequest, Result};
use futures_util::{Stream, stream};
use redis::Cmd;
use tokio::{sync::watch, time::sleep};

use crate::{
    ear::Listening,
    error,
    id::EntryId,
    node::Node,
    reply::{Gone, Outcome, Reply},
    script,
    topic::{From, Topic},
};

/// How many messages, and how many bytes of them, a subscription reads at once.
const CHUNK: (usize, usize) = (256, 2 << 20);

/// How often a subscription looks for messages it was not told of.
const LOOK: Duration = Duration::from_secs(1);

/// What was read.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) life: u64,
    /// Something was lost before it, as many messages if that is known; it ended here.
    gap: Option<(Option<u64>, Option<EntryId>)>,
    pub(crate) end: bool,
    /// The least id of the first message.
    from: EntryId,
    /// The last id the stream has given.
    last: Option<EntryId>,
    /// How many messages of the stream are before it.
    ordinal: Option<u64>,
    pub(crate) messages: Vec<(EntryId, Message)>,
}

/// How much to read.
#[derive(Clone, Copy, Debug)]
struct Limit {
    messages: usize,
    bytes: usize,
}

impl Node {
    async fn part(
        &self,
        topic: &Topic,
        from: &From,
        ordinal: Option<u64>,
        limit: Limit,
        waits: bool,
    ) -> Result<Result<Part, Gone>> {
        let arguments = |command: &mut Cmd| {
            command.arg(topic.mapped_flag()).arg(self.default_age());
            from.write(command);
            command.arg(ordinal.and_then(|ordinal| i64::try_from(ordinal).ok()).unwrap_or(-1));
            command.arg(limit.messages).arg(limit.bytes).arg(if waits { self.name.as_str() } else { "" });
        };
        let keys = [topic.keys.stream.as_str(), &topic.keys.record];
        let value = self.link.run(script::READ.call(&keys, arguments)).await?;
        match Reply::outcome("read", value)? {
            Outcome::Done(reply) => part(reply).map(Ok),
            Outcome::Gone(gone) => Ok(Err(gone)),
            Outcome::Other(..) => Err(error::nonsense("read")),
        }
    }

    /// Reads one page.
    ///
    /// # Errors
    /// `not_found` when there is no such event, `invalid` for a cursor that is not one of it.
    pub(crate) async fn page(&self, topic: &Topic, request: &ReadRequest) -> Result<Page> {
        let from = topic.from(&request.start)?;
        let limit = Limit { messages: request.limit, bytes: request.max_bytes };
        let part = self
            .part(topic, &from, None, limit, false)
            .await?
            .map_err(|_| error::not_registered(&topic.name))?;
        let life = part.life;
        let next = match (part.messages.last(), part.last) {
            (Some((id, _)), _) => topic.cursor(life, *id)?,
            // Nothing from there on: what comes is after all there ever was.
            (None, Some(last)) => topic.cursor(life, last)?,
            (None, None) => topic.cursor_before(life, part.from)?,
        };
        let gap = part.gap.map(|(missed, after)| topic.gap(life, missed, after)).transpose()?;
        let place = |(id, message): (EntryId, Message)| Ok((topic.cursor(life, id)?, Arc::new(message)));
        let messages = part.messages.into_iter().map(place).collect::<Result<_>>()?;
        Ok(Page { gap, messages, next, end: part.end })
    }
}

fn part(mut reply: Reply) -> Result<Part> {
    let life = reply.life()?.ok_or_else(|| error::nonsense("read"))?;
    let (lost, missed, end) = (reply.flag()?, reply.count()?, reply.flag()?);
    let (before, from, strictly, last) = (reply.text()?, reply.id()?, reply.flag()?, reply.text()?);
    let from = if strictly { EntryId::from_place(from.place_after()) } else { from };
    let ordinal = reply.count()?;
    let messages = reply.entries()?;
    let gap = lost.then(|| (missed, before.parse().ok().filter(|id| *id != EntryId::ZERO)));
    Ok(Part { life, gap, end, from, last: last.parse().ok(), ordinal, messages })
}

/// An unnamed subscription.
pub(crate) struct Reader {
    node: Arc<Node>,
    topic: Arc<Topic>,
    life: u64,
    next: EntryId,
    ordinal: Option<u64>,
    items: VecDeque<Item>,
    bell: watch::Receiver<u64>,
    /// Whether there may be more than what was read.
    more: bool,
    ended: bool,
    _listening: Listening,
}

impl Reader {
    /// Finds where to begin.
    ///
    /// # Errors
    /// As [`Node::page`].
    pub(crate) async fn open(node: Arc<Node>, topic: Arc<Topic>, from: &From) -> Result<Self> {
        let none = Limit { messages: 0, bytes: 0 };
        let found = node.part(&topic, from, None, none, false).await?;
        let part = found.map_err(|_| error::not_registered(&topic.name))?;
        let topic = node.keep(topic);
        let listening = Listening::new(&node, &topic);
        let bell = topic.bell.subscribe();
        let (life, next, ordinal, more) = (part.life, part.from, part.ordinal, !part.end);
        let mut items = VecDeque::new();
        if let Some((missed, after)) = part.gap {
            items.push_back(Item::Gap(topic.gap(life, missed, after)?));
        }
        Ok(Self { node, topic, life, next, ordinal, items, bell, more, ended: false, _listening: listening })
    }

    /// As the stream it is.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Item>> + Send {
        stream::unfold(self, |mut reader| async move {
            let item = reader.next().await?;
            Some((item, reader))
        })
    }

    async fn next(&mut self) -> Option<Result<Item>> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Some(Ok(item));
            }
            if self.ended {
                return None;
            }
            if !self.more {
                let look = sleep(LOOK.mul_f64(0.75 + fastrand::f64() / 2.0));
                tokio::select! {
                    // The topic keeps the other end.
                    _ = self.bell.changed() => {}
                    () = look => {}
                }
            }
            if let Err(error) = self.fetch().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }

    /// Reads on; what is away for a while is waited for.
    async fn fetch(&mut self) -> Result<()> {
        if self.node.link.is_closed() {
            return Err(error::closed());
        }
        self.bell.mark_unchanged();
        let from = From { kind: "on", next: self.next, life: self.life };
        let limit = Limit { messages: CHUNK.0, bytes: CHUNK.1 };
        let found = self.node.part(&self.topic, &from, self.ordinal, limit, true).await;
        match found {
            Ok(Ok(part)) => self.take(part),
            Ok(Err(gone)) => self.recover(&gone).await,
            Err(error) => self.wait_out(error).await,
        }
    }

    fn take(&mut self, part: Part) -> Result<()> {
        self.more = !part.end;
        self.ordinal = part.ordinal;
        if let Some((missed, after)) = part.gap {
            self.items.push_back(Item::Gap(self.topic.gap(self.life, missed, after)?));
        }
        let count = part.messages.len() as u64;
        self.ordinal = self.ordinal.map(|ordinal| ordinal + count);
        if let Some((last, _)) = part.messages.last() {
            self.next = EntryId::from_place(last.place_after());
        } else if part.from > self.next {
            self.next = part.from;
        }
        for (id, message) in part.messages {
            let cursor: Cursor = self.topic.cursor(self.life, id)?;
            let delivery = Delivery::unleased(self.topic.name.clone(), Arc::new(message), cursor);
            self.items.push_back(Item::Delivery(delivery));
        }
        Ok(())
    }

    async fn recover(&mut self, gone: &Gone) -> Result<()> {
        match self.node.renew(&self.topic, self.life, gone).await {
            Ok(None) => self.ended = true,
            Ok(Some(life)) => {
                (self.life, self.next, self.ordinal, self.more) = (life, EntryId::ZERO, None, true);
                self.items.push_back(Item::Gap(self.topic.gap(life, None, None)?));
            }
            Err(error) => self.wait_out(error).await?,
        }
        Ok(())
    }

    async fn wait_out(&mut self, error: Error) -> Result<()> {
        if self.node.link.is_closed() {
            return Err(error::closed());
        }
        if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Exhausted) {
            return Err(error);
        }
        tracing::debug!(%error, event = %self.topic.name, "a subscription waits for redis");
        self.more = true;
        sleep(Duration::from_millis(200).mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        Ok(())
    }
}

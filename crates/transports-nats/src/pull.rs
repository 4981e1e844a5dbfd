//! Asking a consumer for messages: how many were asked for, and whether anybody still hears us.

use std::{sync::Arc, time::Duration};

use async_nats::{Message, Subject, Subscriber};
use busgate_core::{Error, Result};
use futures_util::StreamExt;
use tokio::time::Instant;

use crate::{error, link::Link};

/// How long one request waits at the server.
const EXPIRES: Duration = Duration::from_secs(30);

/// How often the server says that it still has a request.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// A request that was not heard of for this long is lost.
const SILENCE: Duration = Duration::from_secs(7);

/// A consumer to which nobody listens for this long is gone.
const UNHEARD: Duration = Duration::from_secs(1);

/// The most messages of one request: servers bound it.
const MOST: usize = 10_000;

/// Requests to one consumer, and what comes of them.
#[derive(Debug)]
pub(crate) struct Puller {
    link: Arc<Link>,
    /// Where requests go.
    subject: Subject,
    /// Where messages come.
    inbox: Subject,
    subscriber: Subscriber,
    /// How many messages were asked for and did not come yet.
    outstanding: usize,
    heard: Instant,
    /// Since when nobody listens to requests: in a cluster it takes a moment until a new consumer does.
    unheard: Option<Instant>,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message.
    Message(Message),
    /// A request ended, or is still there.
    Nothing,
    /// A request ended because of a fault: ask again after a moment.
    Trouble,
    /// The consumer is not there, or nobody answers for it.
    Gone,
}

impl Puller {
    pub(crate) async fn open(link: &Arc<Link>, stream: &str, consumer: &str) -> Result<Self> {
        link.check()?;
        let inbox = Subject::from(link.client.new_inbox());
        let subscriber = link.subscribe(inbox.clone()).await?;
        let subject = format!("{}.CONSUMER.MSG.NEXT.{stream}.{consumer}", link.api()).into();
        let link = Arc::clone(link);
        Ok(Self { link, subject, inbox, subscriber, outstanding: 0, heard: Instant::now(), unheard: None })
    }

    pub(crate) const fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Asks for `count` more, which come as soon as they are there.
    pub(crate) async fn ask(&mut self, count: usize) -> Result<()> {
        let count = count.min(MOST);
        let (expires, heartbeat) = (EXPIRES.as_nanos(), HEARTBEAT.as_nanos());
        let asked = format!(r#"{{"batch":{count},"expires":{expires},"idle_heartbeat":{heartbeat}}}"#);
        self.send(count, asked).await
    }

    /// Asks for what is there now, `count` at most.
    pub(crate) async fn ask_now(&mut self, count: usize) -> Result<()> {
        let count = count.min(MOST);
        self.send(count, format!(r#"{{"batch":{count},"no_wait":true}}"#)).await
    }

    async fn send(&mut self, count: usize, asked: String) -> Result<()> {
        self.link.check()?;
        if self.outstanding == 0 {
            self.heard = Instant::now();
        }
        let sent =
            self.link.client.publish_with_reply(self.subject.clone(), self.inbox.clone(), asked.into());
        sent.await.map_err(|cause| error::away().with_source(cause))?;
        self.outstanding += count;
        Ok(())
    }

    /// What comes next. Dropping the wait loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Heard> {
        match self.subscriber.next().await {
            Some(message) => Ok(self.take(message)),
            None => Err::<_, Error>(error::away()),
        }
    }

    /// What has come already.
    pub(crate) fn next_now(&mut self) -> Option<Heard> {
        use futures_util::FutureExt;
        let message = self.subscriber.next().now_or_never().flatten()?;
        Some(self.take(message))
    }

    /// When to give up on what was asked for, if nothing comes.
    pub(crate) fn silent_at(&self) -> Option<Instant> {
        (self.outstanding > 0).then(|| self.heard + SILENCE)
    }

    /// What was asked for is lost.
    pub(crate) fn reset(&mut self) {
        self.outstanding = 0;
    }

    fn take(&mut self, message: Message) -> Heard {
        self.heard = Instant::now();
        let status = message.status.map(|status| status.as_u16());
        if status != Some(503) {
            self.unheard = None;
        }
        let Some(status) = status else {
            self.outstanding = self.outstanding.saturating_sub(1);
            return Heard::Message(message);
        };
        if status == 100 {
            return Heard::Nothing;
        }
        let left = message.headers.as_ref().and_then(|headers| headers.get("Nats-Pending-Messages"));
        let left = left.and_then(|text| text.as_str().parse::<usize>().ok());
        // Servers that do not say how many are left have one request of ours at a time.
        self.outstanding = left.map_or(0, |left| self.outstanding.saturating_sub(left));
        let text = message.description.unwrap_or_default();
        match status {
            404 | 408 => Heard::Nothing,
            503 if self.heard < *self.unheard.get_or_insert(self.heard) + UNHEARD => Heard::Trouble,
            503 => Heard::Gone,
            _ if text.contains("Deleted") => Heard::Gone,
            _ => Heard::Trouble,
        }
    }

    /// Takes the requests back: what is sent to the server from here on, it hears after that.
    pub(crate) async fn withdraw(&mut self) -> bool {
        self.outstanding = 0;
        self.subscriber.drain().await.is_ok()
    }

    /// What came before the server heard of the withdrawal.
    pub(crate) async fn rest(mut self) -> Vec<Message> {
        let mut late = Vec::new();
        let rest = async {
            while let Some(message) = self.subscriber.next().await {
                if message.status.is_none() {
                    late.push(message);
                }
            }
        };
        // A server that is away gives back what it had by itself.
        let _ = tokio::time::timeout(SILENCE, rest).await;
        late
    }
}

//! The records of messages that came back, as all nodes share them.
//!
//! One small message per message and consumer in a stream of the gateway's own, written only when something went wrong
//! with a delivery, and only over the one that was read (compare and set). Most messages never have one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{
    HeaderMap,
    jetstream::{
        self, ErrorCode,
        context::{PublishError, PublishErrorKind},
        message::PublishMessage,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use busgate_core::{Error, MAX_NACK_DELAY, Result};
use tokio::time::sleep;

use crate::{
    api::{StreamConfig, nanos},
    config::NatsConfig,
    error,
    link::Link,
    record::Record,
    stream,
};

/// How often to try against other nodes that write the same record.
pub(crate) const RIVALS: usize = 8;

/// No record is needed for longer than a nack may hold a message back.
const AGE: Duration = Duration::from_secs(MAX_NACK_DELAY.as_secs() + 24 * 3600);

/// How often to try while the stream does not listen, and how long to wait in between.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(50);

/// The records of all events of one prefix.
#[derive(Debug)]
pub(crate) struct Records {
    link: Arc<Link>,
    stream: StreamConfig,
    root: String,
    exists: AtomicBool,
}

impl Records {
    pub(crate) fn new(link: Arc<Link>, config: &NatsConfig) -> Self {
        let root = format!("{}_busgate.state", config.prefix);
        let description = "what busgate knows of messages that came back";
        let stream = StreamConfig {
            max_msgs_per_subject: 1,
            max_age: nanos(AGE),
            ..stream::own("state", description, format!("{root}.>"), config)
        };
        Self { link, stream, root, exists: AtomicBool::new(false) }
    }

    /// The subject of one message's record: of a consumer in one life of it.
    pub(crate) fn subject(&self, stream: &str, consumer: &str, sequence: u64) -> String {
        format!("{}.{stream}.{consumer}.{sequence}", self.root)
    }

    /// What is known, and under which number it may be replaced (0: there is nothing).
    pub(crate) async fn get(&self, subject: &str) -> Result<(Record, u64)> {
        let Some(found) = self.link.last_of(&self.stream.name, subject).await? else {
            return Ok((Record::default(), 0));
        };
        let text = STANDARD.decode(&found.data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let record = text.as_deref().and_then(Record::read);
        Ok((
            record.ok_or_else(|| Error::internal(format!("the record `{subject}` can't be read")))?,
            found.seq,
        ))
    }

    /// Replaces what stood under `expected`; its new number, or `None` when another was faster.
    pub(crate) async fn put(&self, subject: &str, record: Record, expected: u64) -> Result<Option<u64>> {
        let mut tries = 0;
        loop {
            self.ensure().await?;
            match self.try_put(subject, record, expected).await {
                // The stream is about to listen, or somebody deleted it under us.
                Err(refused) if error::is_not_found(&refused) && tries < TRIES => {
                    self.exists.store(false, Ordering::Release);
                    tries += 1;
                    sleep(PAUSE).await;
                }
                Err(refused) if error::is_not_found(&refused) => return Err(error::no_jetstream()),
                put => return put,
            }
        }
    }

    async fn try_put(&self, subject: &str, record: Record, expected: u64) -> Result<Option<u64>> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        let message = PublishMessage::build().headers(headers).payload(record.write().into());
        let sent =
            self.link.context.send_publish(subject.to_owned(), message).await.map_err(error::publish)?;
        match sent.await {
            Ok(ack) => Ok(Some(ack.sequence)),
            Err(refused) if is_conflict(&refused) => Ok(None),
            Err(refused) if refused.kind() == PublishErrorKind::StreamNotFound => {
                self.link.check()?;
                Err(Error::not_found("the records are gone"))
            }
            Err(refused) => Err(error::publish(refused)),
        }
    }

    /// Forgets one, when its message is done.
    pub(crate) fn forget(&self, number: u64) {
        if number > 0 {
            self.link.drop_message(&self.stream.name, number);
        }
    }

    /// Forgets all of a stream that is gone.
    pub(crate) async fn forget_all(&self, stream: &str) -> Result<()> {
        self.link.purge(&self.stream.name, &format!("{}.{stream}.>", self.root)).await
    }

    /// Makes the stream of the records, if it is not there yet.
    pub(crate) async fn ensure(&self) -> Result<()> {
        if self.exists.load(Ordering::Acquire) {
            return Ok(());
        }
        self.link.ensure_stream(&self.stream).await?;
        self.exists.store(true, Ordering::Release);
        Ok(())
    }
}

/// Whether another record stands there than was expected.
fn is_conflict(refused: &PublishError) -> bool {
    let source = std::error::Error::source(refused);
    let code =
        source.and_then(|source| source.downcast_ref::<jetstream::Error>()).map(jetstream::Error::error_code);
    matches!(
        code,
        Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
    )
}

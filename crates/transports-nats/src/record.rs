//! What other nodes must know of a message that came back: how many attempts count, and which tokens are closed.
//!
//! One small message per message and consumer in a stream of the gateway's own, written only when something went wrong
//! with a delivery, and only over the one that was read (compare and set). Most messages never have one.

use std::{
    fmt::Write,
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

use crate::{api::StreamConfig, catalog::own_stream, config::NatsConfig, error, link::Link};

/// No record is needed for longer than a nack may hold a message back.
const AGE: Duration = Duration::from_secs(MAX_NACK_DELAY.as_secs() + 24 * 3600);

/// How often to try while the stream does not listen, and how long to wait in between.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(50);

/// How often a message may come back from a node that died before that counts as an attempt.
const FORGIVEN: u32 = 16;

/// What is known of one message for one consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Tokens of earlier epochs are closed.
    pub(crate) fence: u64,
    /// How many deliveries count as attempts.
    pub(crate) attempts: u32,
    /// The last delivery that was counted.
    pub(crate) counted: u64,
    /// How many deliveries there were when it was written; 0 when that was not known.
    pub(crate) delivered: u64,
    /// How many deliveries nobody told the end of.
    pub(crate) lost: u32,
    /// Whether the token of the last of those deliveries is closed.
    pub(crate) is_closed: bool,
    /// Whether it is done for good, whatever the server thinks.
    pub(crate) is_done: bool,
}

impl Record {
    /// How many attempts were made, as far as they count.
    pub(crate) const fn attempts(&self) -> u32 {
        self.attempts.saturating_add(self.lost.saturating_sub(FORGIVEN))
    }

    /// Counts the delivery `epoch`, once.
    pub(crate) const fn count(mut self, epoch: u64) -> Self {
        if self.counted < epoch {
            self.attempts = self.attempts.saturating_add(1);
            self.counted = epoch;
        }
        self
    }

    /// Closes the token of `epoch` and all before it.
    pub(crate) const fn close(mut self, epoch: u64) -> Self {
        if self.fence <= epoch {
            self.fence = epoch.saturating_add(1);
        }
        self.is_closed = true;
        self
    }

    /// Whether a token of this epoch still settles.
    pub(crate) const fn is_open(&self, epoch: u64) -> bool {
        !self.is_done && self.fence <= epoch
    }

    fn write(&self) -> String {
        let Self { fence, attempts, counted, delivered, lost, is_closed, is_done } = self;
        let mut text = String::with_capacity(48);
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "1 {fence} {attempts} {counted} {delivered} {lost} {} {}",
            u8::from(*is_closed),
            u8::from(*is_done)
        );
        text
    }

    fn read(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').map(|digits| digits.parse::<u64>().ok());
        let mut next = || numbers.next().flatten();
        if next()? != 1 {
            return None;
        }
        let (fence, attempts, counted, delivered) = (next()?, next()?, next()?, next()?);
        let (lost, is_closed, is_done) = (next()?, next()? == 1, next()? == 1);
        let (attempts, lost) = (u32::try_from(attempts).ok()?, u32::try_from(lost).ok()?);
        Some(Self { fence, attempts, counted, delivered, lost, is_closed, is_done })
    }
}

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
        let name = format!("{}_busgate_state", config.prefix.replace('_', "=").replace('.', "_"));
        let stream = StreamConfig {
            description: "what busgate knows of messages that came back".into(),
            max_msgs_per_subject: 1,
            max_age: u64::try_from(AGE.as_nanos()).unwrap_or(u64::MAX),
            duplicate_window: 100_000_000,
            ..own_stream(name, format!("{root}.>"), config)
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
        match self.link.create_stream(&self.stream).await? {
            Ok(_) => {}
            // Made with other settings by a node that was configured otherwise: it serves as well.
            Err(refused) if refused.error_code() == ErrorCode::STREAM_NAME_EXIST => {}
            Err(refused) => return Err(error::api(refused)),
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_delivery_is_counted_once() {
        let record = Record::default().count(7).count(7).count(9);
        assert_eq!((record.attempts(), record.counted), (2, 9));
    }

    #[test]
    fn a_closed_token_stays_closed() {
        let record = Record::default().close(7);
        assert!(!record.is_open(6) && !record.is_open(7) && record.is_open(8));
        assert_eq!(record.close(3), record.close(7));
        assert!(!Record { is_done: true, ..Record::default() }.is_open(8));
    }

    #[test]
    fn nodes_that_die_over_and_over_use_up_attempts() {
        assert_eq!(Record { attempts: 1, lost: FORGIVEN, ..Record::default() }.attempts(), 1);
        assert_eq!(Record { attempts: 1, lost: FORGIVEN + 3, ..Record::default() }.attempts(), 4);
    }

    proptest! {
        #[test]
        fn records_read_back(fence: u64, attempts: u32, counted: u64, delivered: u64, lost: u32, is_closed: bool, is_done: bool) {
            let record = Record { fence, attempts, counted, delivered, lost, is_closed, is_done };
            prop_assert_eq!(Record::read(&record.write()), Some(record));
        }

        #[test]
        fn anything_else_is_refused_or_read(text: String) {
            let _ = Record::read(&text);
        }
    }
}

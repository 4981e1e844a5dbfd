//! The one producer of a node: idempotent, pipelined, and made anew after a fatal error.

mod batch;
mod known;
mod partitioner;

use std::{fmt, sync::Arc, time::Duration};

use busgate_core::{Effect, Error, Result, Tasks};
use parking_lot::RwLock;
use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
    message::{DeliveryResult, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode as Code,
};

pub(crate) use self::{batch::Landing, partitioner::partition_of};
use self::{
    batch::{Batch, Ticket},
    known::Known,
};
use crate::{
    clients::{Clients, Context, refused},
    error,
    place::Place,
};

/// How long closing waits for what is on its way.
const FLUSH: Duration = Duration::from_secs(2);

/// A record that is to be written.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// The topic.
    pub(crate) topic: &'a str,
    /// The partition.
    pub(crate) partition: i32,
    /// The key.
    pub(crate) key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub(crate) payload: Option<&'a [u8]>,
    /// The headers.
    pub(crate) headers: Option<OwnedHeaders>,
    /// The time in milliseconds; now, without one.
    pub(crate) timestamp: Option<i64>,
}

type Line = ThreadedProducer<Deliveries>;

/// What librdkafka calls with the outcome of each record.
#[derive(Clone, Debug)]
struct Deliveries(Context);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Self::DeliveryOpaque) {
        ticket.answer(match result {
            Ok(record) => Ok(Place::of(record)),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
        });
    }
}

/// Writes records.
pub(crate) struct Producer {
    line: RwLock<Option<Arc<Line>>>,
    settings: ClientConfig,
    context: Deliveries,
    known: Known,
    /// Ends what a producer that was replaced leaves behind.
    tasks: Tasks,
}

impl Producer {
    pub(crate) fn new(clients: &Clients) -> Result<Self> {
        let (settings, context) = (clients.producer(), Deliveries(clients.context()));
        let line = Self::start(&settings, &context)?;
        Ok(Self {
            line: RwLock::new(Some(line)),
            settings,
            context,
            known: Known::default(),
            tasks: Tasks::new(),
        })
    }

    fn start(settings: &ClientConfig, context: &Deliveries) -> Result<Arc<Line>> {
        let line = Line::from_config_and_context(settings, context.clone()).map_err(refused)?;
        Ok(Arc::new(line))
    }

    fn line(&self) -> Result<Arc<Line>> {
        self.line.read().clone().ok_or_else(error::closed)
    }

    /// How many of the `count` partitions of a topic records may be written to: what was added a moment ago the producer
    /// does not know, and refuses. It is told to look.
    pub(crate) fn writable(&self, topic: &str, count: u16) -> u16 {
        let (writable, is_to_look) = self.known.writable(topic, count);
        if is_to_look && let Ok(line) = self.line() {
            let (known, topic) = (self.known.clone(), topic.to_owned());
            self.tasks.spawn(async move {
                let looked = tokio::task::spawn_blocking(move || known.look(&line, &topic));
                // It can only fail when the runtime ends, and then nobody waits.
                let _ = looked.await;
            });
        }
        writable
    }

    /// Writes records, all at once; the answers are in their order, each for itself.
    ///
    /// # Errors
    /// Per record, with its effect; a full queue takes nothing more, and says so.
    pub(crate) async fn send(&self, drafts: Vec<Draft<'_>>) -> Vec<Result<Place>> {
        self.send_and_tell(drafts, None).await
    }

    /// Writes records; `landing` is told what became of them also when nobody waits for it any more.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) async fn send_and_tell(
        &self,
        drafts: Vec<Draft<'_>>,
        landing: Option<Landing>,
    ) -> Vec<Result<Place>> {
        let count = drafts.len();
        let line = match self.line() {
            Ok(line) => line,
            Err(error) => return vec![Err(error); count],
        };
        let (batch, answered) = Batch::new(count, landing);
        let line = self.enqueue(line, drafts, &batch);
        drop(batch);
        let gone = || Error::unavailable("the producer is gone").with_effect(Effect::Unknown);
        let Ok(answers) = answered.await else { return vec![Err(gone()); count] };
        if answers.iter().any(Result::is_err) && line.client().fatal_error().is_some() {
            self.renew(&line);
        }
        answers
    }

    /// Writes one record.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) async fn send_one(&self, draft: Draft<'_>) -> Result<Place> {
        let answer = self.send(vec![draft]).await.pop();
        answer.unwrap_or_else(|| Err(Error::internal("no answer to a record")))
    }

    /// Hands the records to librdkafka. A producer with a fatal error is replaced on the way: what it refused was not
    /// written, so the next one takes it.
    fn enqueue(&self, line: Arc<Line>, drafts: Vec<Draft<'_>>, batch: &Arc<Batch>) -> Arc<Line> {
        let mut line = line;
        for (index, draft) in drafts.into_iter().enumerate() {
            let ticket = Box::new(Ticket::new(Arc::clone(batch), index));
            let Err((error, record)) = line.send(draft.record(ticket)) else { continue };
            let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
            if code != Code::Fatal {
                record.delivery_opaque.answer(Err(code));
                continue;
            }
            line = self.renew(&line).unwrap_or(line);
            if let Err((error, record)) = line.send(record) {
                record.delivery_opaque.answer(Err(error.rdkafka_error_code().unwrap_or(Code::Unknown)));
            }
        }
        line
    }

    /// Replaces a producer that can't go on, unless that was done meanwhile.
    fn renew(&self, broken: &Arc<Line>) -> Option<Arc<Line>> {
        let mut current = self.line.write();
        let now = current.as_ref()?;
        if !Arc::ptr_eq(now, broken) {
            return Some(Arc::clone(now));
        }
        tracing::warn!(error = ?broken.client().fatal_error(), "the producer is made anew after a fatal error");
        let line = Self::start(&self.settings, &self.context)
            .inspect_err(|error| tracing::error!(%error, "the producer can't be made anew"))
            .ok()?;
        let old = current.replace(Arc::clone(&line));
        drop(current);
        self.known.clear();
        self.end(old);
        Some(line)
    }

    /// Lets go of a producer off the runtime: that waits for its threads.
    fn end(&self, line: Option<Arc<Line>>) {
        self.tasks.spawn(async move {
            // It can only fail when the runtime ends, and then nobody waits.
            let _ = tokio::task::spawn_blocking(move || drop(line)).await;
        });
    }

    /// Sends what is on its way, for a bounded time, and ends.
    pub(crate) async fn close(&self) {
        let line = self.line.write().take();
        let flushed = tokio::task::spawn_blocking(move || {
            if let Some(line) = line {
                // What is still there is answered as purged.
                let _ = line.flush(FLUSH);
            }
        });
        // It can only fail when the runtime ends, and then nobody waits.
        let _ = flushed.await;
    }
}

impl<'a> Draft<'a> {
    fn record(self, ticket: Box<Ticket>) -> BaseRecord<'a, [u8], [u8], Box<Ticket>> {
        let mut record = BaseRecord::with_opaque_to(self.topic, ticket).partition(self.partition);
        record.key = self.key;
        record.payload = self.payload;
        record.headers = self.headers;
        record.timestamp = self.timestamp;
        record
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

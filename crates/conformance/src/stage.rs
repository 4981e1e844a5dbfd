//! What a law works with: one transport, its pace, and names of its own.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use busgate_core::{
    Capabilities, Clock, Cursor, EventConfig, EventName, LeaseToken, Message, MessageId, Nack, Page,
    ReadRequest, Receipt, Result, Settled, Settlement, Start, SubscribeOptions, SystemClock, Tasks,
    Timestamp, Transport, Verb,
};
use tokio::{sync::oneshot, time::Instant};

use crate::{Broken, Harness, Pace, Stop, Verdict, Watch};

/// What a law works with.
pub struct Stage {
    harness: Arc<dyn Harness>,
    transport: Arc<dyn Transport>,
    pace: Pace,
    clock: SystemClock,
    run: Arc<str>,
    names: AtomicUsize,
}

impl Stage {
    pub(crate) async fn open(harness: Arc<dyn Harness>, pace: Pace) -> Self {
        let clock = SystemClock::new();
        let transport = harness.open().await;
        // The tail of a UUIDv7 is its random part.
        let id = MessageId::generate();
        let run = id.as_str().rsplit('-').next().unwrap_or_default().into();
        Self { harness, transport, pace, clock, run, names: AtomicUsize::new(0) }
    }

    /// The transport under test.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// What it claims.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.transport.capabilities()
    }

    /// How fast it is.
    #[must_use]
    pub const fn pace(&self) -> &Pace {
        &self.pace
    }

    /// What the back end says of itself beyond its capabilities.
    #[must_use]
    pub fn harness(&self) -> &Arc<dyn Harness> {
        &self.harness
    }

    /// The time now, in whole milliseconds: finer ones need not be kept.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now().as_millis())
    }

    /// Lets this much time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// An event name that nobody else uses.
    ///
    /// # Errors
    /// Never, in fact.
    pub fn name(&self) -> Verdict<EventName> {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        Ok(EventName::new(format!("law.{}.{number}", self.run))?)
    }

    /// A registered event that nobody else uses.
    ///
    /// # Errors
    /// When it can't be registered.
    pub async fn event(&self) -> Verdict<EventName> {
        self.event_with(&EventConfig::default()).await
    }

    /// A registered event with this configuration that nobody else uses.
    ///
    /// # Errors
    /// When it can't be registered.
    pub async fn event_with(&self, config: &EventConfig) -> Verdict<EventName> {
        let event = self.name()?;
        self.transport.register(&event, config).await?;
        Ok(event)
    }

    /// A message whose id and payload are `id`, published now.
    ///
    /// # Errors
    /// When that is no id.
    pub fn message(&self, id: &str) -> Verdict<Message> {
        let mut message = Message::new(MessageId::new(id)?, id.as_bytes().to_vec());
        message.timestamp = self.now();
        "law".clone_into(&mut message.source);
        Ok(message)
    }

    /// A message as of [`Self::message`] under a key.
    ///
    /// # Errors
    /// When that is no id.
    pub fn keyed(&self, key: &str, id: &str) -> Verdict<Message> {
        Ok(Message { key: Some(key.into()), ..self.message(id)? })
    }

    /// Publishes messages of these ids as one batch.
    ///
    /// # Errors
    /// When one is not accepted.
    pub async fn publish(
        &self,
        event: &EventName,
        ids: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Verdict<Vec<Receipt>> {
        let messages = ids.into_iter().map(|id| self.message(id.as_ref())).collect::<Verdict<Vec<_>>>()?;
        self.publish_batch(event, messages).await
    }

    /// Publishes these messages as one batch.
    ///
    /// # Errors
    /// When one is not accepted.
    pub async fn publish_batch(&self, event: &EventName, batch: Vec<Message>) -> Verdict<Vec<Receipt>> {
        let sent = batch.len();
        let answers = self.transport.publish(event, batch).await;
        ensure_eq!(answers.len(), sent, "the number of receipts");
        Ok(answers.into_iter().collect::<Result<Vec<_>>>()?)
    }

    /// Publishes one message.
    ///
    /// # Errors
    /// When it is not accepted.
    pub async fn publish_one(&self, event: &EventName, message: Message) -> Verdict<Receipt> {
        only(self.publish_batch(event, vec![message]).await?)
    }

    /// Subscribes.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn subscribe(&self, event: &EventName, options: SubscribeOptions) -> Verdict<Watch> {
        Ok(self.try_subscribe(event, options).await?)
    }

    pub(crate) async fn try_subscribe(&self, event: &EventName, options: SubscribeOptions) -> Result<Watch> {
        let subscription = Arc::clone(&self.transport).subscribe(event, options).await?;
        Ok(Watch::new(subscription, self.pace.clone()))
    }

    /// Settles one delivery.
    ///
    /// # Errors
    /// When that is answered with an error.
    pub async fn settle(&self, token: &LeaseToken, verb: Verb) -> Verdict<Settled> {
        let what = format!("{verb:?}");
        self.try_settle(token, verb).await.map_err(|error| Broken::from(error).during(&what))
    }

    pub(crate) async fn try_settle(&self, token: &LeaseToken, verb: Verb) -> Result<Settled> {
        let mut answers = self.transport.settle(vec![Settlement { token: token.clone(), verb }]).await;
        let answer = answers.pop().filter(|_| answers.is_empty());
        answer.unwrap_or_else(|| Err(busgate_core::Error::internal("one settlement needs one answer")))
    }

    /// Gives a delivery back, to come again after `delay`.
    ///
    /// # Errors
    /// When that is not how it is settled.
    pub async fn nack(&self, token: &LeaseToken, delay: Duration) -> Verdict {
        let verb = Verb::Nack(Nack { delay: Some(delay), error: None });
        ensure_eq!(self.settle(token, verb).await?, Settled::Nacked, "the nack");
        Ok(())
    }

    /// Reads one page.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn page(&self, event: &EventName, start: Start, limit: usize) -> Verdict<Page> {
        Ok(self.try_page(event, start, limit).await?)
    }

    pub(crate) async fn try_page(&self, event: &EventName, start: Start, limit: usize) -> Result<Page> {
        self.transport.read(event, ReadRequest { start, limit, max_bytes: 1 << 24 }).await
    }

    /// Reads all that follows `start`, page by page.
    ///
    /// # Errors
    /// When that is refused, or does not come to an end.
    pub async fn read(&self, event: &EventName, start: Start) -> Verdict<Vec<(Cursor, Arc<Message>)>> {
        let (mut all, mut start) = (Vec::new(), start);
        for _ in 0..1000 {
            let page = self.page(event, start, 500).await?;
            all.extend(page.messages);
            if page.end {
                return Ok(all);
            }
            start = Start::After(page.next);
        }
        Err(Broken::new("a thousand pages were not the end"))
    }

    /// Reads the ids of all that is held.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn held(&self, event: &EventName) -> Verdict<Vec<String>> {
        let all = self.read(event, Start::Beginning).await?;
        Ok(all.iter().map(|(_, message)| message.id.to_string()).collect())
    }

    /// Runs these at the same time, each in a task of its own.
    ///
    /// # Errors
    /// When one panics.
    pub async fn together<F>(&self, calls: impl IntoIterator<Item = F>) -> Verdict<Vec<F::Output>>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let tasks = Tasks::new();
        let started: Vec<_> = calls
            .into_iter()
            .map(|call| {
                let (done, answer) = oneshot::channel();
                tasks.spawn(async move {
                    // Whoever no longer waits for the answer does not need it.
                    let _ = done.send(call.await);
                });
                answer
            })
            .collect();
        let mut answers = Vec::with_capacity(started.len());
        for answer in started {
            answers.push(answer.await.map_err(|_| Broken::new("a call panicked"))?);
        }
        Ok(answers)
    }

    /// Runs `call` in a task of its own after `delay`, so that whoever waits for its effect must be woken by it.
    pub(crate) fn later<F>(&self, delay: Duration, call: F) -> Later<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let (tasks, (done, answer)) = (Tasks::new(), oneshot::channel());
        tasks.spawn(async move {
            tokio::time::sleep(delay).await;
            // Whoever no longer waits for the answer does not need it.
            let _ = done.send(call.await);
        });
        Later { answer, _tasks: tasks }
    }

    /// Tries until it is so, as long as patience lasts.
    ///
    /// # Errors
    /// When it never is, or trying fails.
    pub async fn eventually<F>(&self, what: &str, mut holds: impl FnMut() -> F) -> Verdict
    where
        F: Future<Output = Verdict<bool>>,
    {
        let start = Instant::now();
        while !holds().await? {
            ensure!(start.elapsed() < self.pace.patience * 2, "waited in vain until {what}");
            self.pass(self.pace.short / 20).await;
        }
        Ok(())
    }

    /// Waits until the event has no members left: across a network a dropped subscription takes a moment to leave, and
    /// takes messages meanwhile.
    ///
    /// # Errors
    /// When they stay.
    pub async fn left(&self, event: &EventName) -> Verdict {
        let gone = || async { Ok(self.transport.lag(event).await?.iter().all(|lag| lag.members == 0)) };
        self.eventually("all members have left", gone).await
    }

    /// A stage on another node over the same back end; `None` when there can be only one.
    pub async fn second(&self) -> Option<Self> {
        let transport = self.harness.open_second(&self.transport).await?;
        Some(self.with(transport))
    }

    /// Ends the node and opens it again; `None` when it leaves nothing behind. The law must have let go of its
    /// subscriptions and deliveries: they hold the transport.
    pub async fn reopen(self, stop: Stop) -> Option<Self> {
        let Self { harness, transport, pace, clock, run, names } = self;
        let transport = harness.reopen(transport, stop).await?;
        Some(Self { harness, transport, pace, clock, run, names })
    }

    fn with(&self, transport: Arc<dyn Transport>) -> Self {
        Self {
            harness: Arc::clone(&self.harness),
            transport,
            pace: self.pace.clone(),
            clock: self.clock.clone(),
            run: format!("{}b", self.run).into(),
            names: AtomicUsize::new(0),
        }
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage")
            .field("transport", &self.transport)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// A call that runs in a task of its own.
#[derive(Debug)]
pub(crate) struct Later<T> {
    answer: oneshot::Receiver<T>,
    /// Ends the task when nobody waits any more.
    _tasks: Tasks,
}

impl<T> Later<T> {
    /// What it came to.
    pub(crate) async fn done(self) -> Verdict<T> {
        self.answer.await.map_err(|_| Broken::new("a call panicked"))
    }
}

/// The one thing there must be.
pub(crate) fn only<T>(mut all: Vec<T>) -> Verdict<T> {
    ensure_eq!(all.len(), 1, "how many there are");
    all.pop().ok_or_else(|| Broken::new("there is none"))
}

/// The first thing there must be.
pub(crate) fn nth<T>(all: &[T], index: usize) -> Verdict<&T> {
    all.get(index).ok_or_else(|| Broken::new(format!("there is no number {index} of {}", all.len())))
}

/// `count` ids: `<prefix>0`, `<prefix>1`, …
pub(crate) fn ids(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

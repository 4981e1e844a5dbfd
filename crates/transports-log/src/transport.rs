//! The port, implemented.

mod probe;
mod settle;
mod start;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use async_trait::async_trait;
use busgate_core::{
    Capabilities, Clock, ConsumerLag, Cursor, Error, ErrorKind, EventConfig, EventInfo, EventName, Fencing,
    Group, Health, Holder, Message, Moment, Page, Passed, Position, ReadRequest, Receipt, Result, Settled,
    Settlement, SubscribeOptions, Subscription, Tasks, Transport, Turn,
};
use tokio::{runtime::Handle, time::Instant};

use crate::{
    catalog::Catalog,
    config::LogConfig,
    error::{closed, io},
    event::{Event, Phase},
    lease::{Member, Seat},
    reader::{Follower, Found, Loader},
    recovery::{self, Opened},
    writer::{Parcel, Queue},
};

/// How many bytes of messages one read brings at most.
const MAX_READ_BYTES: usize = 16 * 1024 * 1024;

/// The embedded log.
#[derive(Debug)]
pub struct LogTransport {
    catalog: Arc<Catalog>,
    queue: Queue,
    loader: Loader,
    clock: Arc<dyn Clock>,
    max_holders: usize,
    generation: u32,
    members: AtomicU64,
    closed: AtomicBool,
    tasks: Tasks,
    /// Itself, for its own subscriptions.
    this: Weak<Self>,
    /// One probe at a time: it takes its message from a group.
    probing: tokio::sync::Mutex<()>,
}

impl LogTransport {
    /// What it can do, wherever it runs.
    pub const CAPABILITIES: Capabilities = Capabilities {
        durable: true,
        replay: true,
        replay_from_time: true,
        worker_pool: true,
        redelivery: true,
        delayed_requeue: true,
        extend: true,
        ordered: true,
        ordered_keys: true,
        dedup: true,
        resume: true,
        any_node_settle: true,
        fenced: Fencing::Exact,
        dead_letters: true,
    };

    /// Opens the log in the configured directory, or makes one there.
    ///
    /// # Errors
    /// `exists` when another process has the directory, `internal` when the data is damaged, `unavailable` or
    /// `exhausted` when the files can't be used.
    pub async fn open(config: LogConfig) -> Result<Arc<Self>> {
        let clock = Arc::clone(&config.clock);
        let max_holders = config.max_holders;
        let opened = tokio::task::spawn_blocking(move || recovery::open(config))
            .await
            .map_err(|error| Error::unavailable("opening the log was given up").with_source(error))??;
        let Opened { writer, queue, readers, catalog, generation } = opened;
        let runtime = Handle::current();
        thread::Builder::new()
            .name("busgate-log".into())
            .spawn(move || {
                // The writer reads the runtime's clock, which tests pause.
                let _runtime = runtime.enter();
                writer.run();
            })
            .map_err(|error| io("can't start the writer", error))?;
        let loader = Loader::new(readers);
        let members = AtomicU64::new(1);
        let (closed, tasks) = (AtomicBool::new(false), Tasks::new());
        let probing = tokio::sync::Mutex::default();
        let log = Arc::new_cyclic(|this| Self {
            catalog,
            queue,
            loader,
            clock,
            max_holders,
            generation,
            members,
            closed,
            tasks,
            this: Weak::clone(this),
            probing,
        });
        for event in log.catalog.all() {
            for seat in event.seats() {
                log.tend(&event, seat);
            }
        }
        Ok(log)
    }

    pub(crate) fn now(&self) -> Moment {
        Moment { at: Instant::now(), wall: self.clock.now() }
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(crate) fn loader(&self) -> &Loader {
        &self.loader
    }

    pub(crate) fn new_member(&self) -> u64 {
        self.members.fetch_add(1, Ordering::Relaxed)
    }

    fn event(&self, name: &EventName) -> Result<Arc<Event>> {
        self.check_open()?;
        self.catalog.find(name)
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    fn tend(&self, event: &Arc<Event>, seat: Arc<Seat>) {
        self.tasks.spawn(seat.tend(Arc::clone(event), self.queue.clone()));
    }

    /// The holder's seat; a new one begins at `next`.
    fn seat(&self, event: &Arc<Event>, holder: Holder, next: u64) -> Result<Arc<Seat>> {
        let group = Group::new(next, self.generation);
        let seat = Arc::new(Seat::new(event, holder, group));
        let Some((seat, is_new)) = event.seat_or(seat, self.max_holders) else {
            let text =
                format!("event `{}` has {} groups and consumers already", event.name, self.max_holders);
            return Err(Error::new(ErrorKind::Exhausted, text));
        };
        if is_new {
            self.tend(event, Arc::clone(&seat));
        }
        Ok(seat)
    }
}

#[async_trait]
impl Transport for LogTransport {
    fn capabilities(&self) -> Capabilities {
        Self::CAPABILITIES
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        config.validate()?;
        self.queue.register(event.clone(), config.clone()).await.map(drop)
    }

    async fn unregister(&self, event: &EventName) -> Result<()> {
        let event = self.event(event)?;
        self.queue.unregister(event).await
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        self.check_open()?;
        self.seen().iter().map(|event| event.info()).collect()
    }

    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        match self.event(event) {
            Ok(event) => self.queue.append(event, batch.into_iter().map(Parcel::new).collect(), turn).await,
            Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn subscribe(
        self: Arc<Self>,
        event: &EventName,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        options.validate()?;
        let event = self.event(event)?;
        let Some(holder) = options.mode.holder() else {
            let (next, gap) = self.resolve(&event, &options.start).await?;
            let loader = self.loader.clone();
            return Ok(Follower::new(loader, event, next, options.max_in_flight, gap).into_subscription());
        };
        let (seat, gap) = match event.seat(&holder) {
            Some(seat) => (seat, None),
            None => {
                let (next, gap) = self.resolve(&event, &options.start).await?;
                (self.seat(&event, holder, next)?, gap)
            }
        };
        if !seat.is_kept() {
            self.queue.keep(vec![Arc::clone(&seat)]).await?;
            seat.set_kept();
        }
        Ok(Member::new(self, event, seat, options, gap).into_subscription())
    }

    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        if request.limit == 0 {
            return Err(Error::invalid("limit must be 1 or more"));
        }
        let event = self.event(event)?;
        let (mut next, mut gap) = self.resolve(&event, &request.start).await?;
        let limits = (request.limit, request.max_bytes.min(MAX_READ_BYTES));
        let mut found = VecDeque::new();
        while let Found::Gone { first } = self.loader.find(&event, next, limits, &mut found).await? {
            gap = Some(event.gap(Some(first - next), first));
            next = first;
        }
        let mut messages = Vec::with_capacity(found.len());
        for message in found {
            messages.push((event.cursor(next)?, message));
            next += 1;
        }
        let end = next >= event.bounds().head;
        Ok(Page { gap, messages, next: event.cursor_before(next)?, end })
    }

    fn passed(&self, reader: &Cursor, message: &Cursor) -> Result<Passed> {
        Position::passed(reader, message)
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        self.settle_all(batch).await
    }

    async fn health(&self) -> Health {
        match self.probe().await {
            Ok(()) => Health::healthy().with("events", &self.seen().len()),
            Err(error) => Health::unhealthy(error.to_string()),
        }
    }

    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>> {
        let event = self.event(event)?;
        let head = event.bounds().head;
        Ok(event.seats().iter().map(|seat| seat.lag(head)).collect())
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        let result = self.queue.close().await;
        for event in self.catalog.all() {
            event.end(Phase::Closed);
        }
        self.tasks.close().await;
        result
    }
}

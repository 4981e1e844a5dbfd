//! The transport itself.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_core::{
    Capabilities, Clock, ConsumerLag, Cursor, Error, EventConfig, EventInfo, EventName, Fencing, Health,
    Holder, Item, Message, Page, Passed, Position, ReadRequest, Receipt, Result, Settled, Settlement, Start,
    SubscribeOptions, Subscription, SystemClock, Tasks, Transport, Turn,
};

use crate::{
    burial::Letter,
    config::MemoryConfig,
    crew::Wakes,
    member::Member,
    reader::Reader,
    registry::Registry,
    timer,
    topic::{State, Topic},
};

/// The in-memory transport.
#[derive(Debug)]
pub struct MemoryTransport {
    registry: Arc<Registry>,
    tasks: Tasks,
}

impl MemoryTransport {
    /// What it can do, wherever it runs.
    pub const CAPABILITIES: Capabilities = Capabilities {
        durable: false,
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

    /// An empty transport within these bounds, by the machine's clock.
    #[must_use]
    pub fn new(config: MemoryConfig) -> Arc<Self> {
        Self::with_clock(config, SystemClock::shared())
    }

    /// An empty transport within these bounds, by `clock`.
    #[must_use]
    pub fn with_clock(config: MemoryConfig, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { registry: Arc::new(Registry::new(config, clock)), tasks: Tasks::new() })
    }

    fn join(
        self: Arc<Self>,
        topic: Arc<Topic>,
        holder: &Holder,
        options: &SubscribeOptions,
    ) -> Result<Subscription> {
        let serial = self.registry.serial();
        let mut wakes = Wakes::default();
        let mut guard = topic.lock(self.registry.now().wall);
        let state = &mut *guard;
        if let Some(end) = state.end {
            return Err(topic.ended(end));
        }
        let (start, gap) = topic.locate(&state.history, &options.start)?;
        let known = state.find_crew(holder).is_some();
        let crew = state.crew_of(holder, start, self.registry.config.max_groups)?;
        let mut dead = Vec::new();
        if let Some(crew) = state.crews.get_mut(crew) {
            dead = crew.join(serial, options, &mut wakes);
        }
        let letters = dead.into_iter().map(|story| Letter::new(&state.history, holder, story)).collect();
        let untimed = !std::mem::replace(&mut state.timed, true);
        drop(guard);
        wakes.wake();
        if untimed {
            self.tasks.spawn(timer::run(Arc::clone(&self.registry), Arc::clone(&topic)));
        }
        self.registry.bury(&topic, letters);
        let registry = Arc::clone(&self.registry);
        let gap = gap.filter(|_| !known);
        let transport: Arc<dyn Transport> = self;
        Ok(Subscription::new(Member { transport, registry, topic, crew, serial, gap, ended: false }))
    }

    fn read_unnamed(&self, topic: Arc<Topic>, start: &Start) -> Result<Subscription> {
        let state = topic.lock(self.registry.now().wall);
        if let Some(end) = state.end {
            return Err(topic.ended(end));
        }
        let (next, gap) = topic.locate(&state.history, start)?;
        drop(state);
        let reader = Reader::new(Arc::clone(&self.registry), topic, next, gap.map(Item::Gap));
        Ok(Subscription::new(reader))
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    fn capabilities(&self) -> Capabilities {
        Self::CAPABILITIES
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        config.validate()?;
        self.registry.register(event, config)
    }

    async fn unregister(&self, event: &EventName) -> Result<()> {
        self.registry.unregister(event)
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        let now = self.registry.now().wall;
        Ok(self.registry.all()?.iter().map(|topic| topic.info(now)).collect())
    }

    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        _turn: Turn,
    ) -> Vec<Result<Receipt>> {
        match self.registry.find(event) {
            Ok(topic) => topic.publish(self.registry.now(), batch),
            Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn subscribe(
        self: Arc<Self>,
        event: &EventName,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        options.validate()?;
        let topic = self.registry.find(event)?;
        match options.mode.holder() {
            Some(holder) => self.join(topic, &holder, &options),
            None => self.read_unnamed(topic, &options.start),
        }
    }

    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        if request.limit == 0 {
            return Err(Error::invalid("limit must be 1 or more"));
        }
        let topic = self.registry.find(event)?;
        let state = topic.lock(self.registry.now().wall);
        page(&topic, &state, &request)
    }

    fn passed(&self, reader: &Cursor, message: &Cursor) -> Result<Passed> {
        Position::passed(reader, message)
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        batch.iter().map(|settlement| self.registry.settle(settlement)).collect()
    }

    async fn health(&self) -> Health {
        match self.registry.probe() {
            Ok(()) => Health::healthy().with("events", &self.registry.all().map_or(0, |all| all.len())),
            Err(error) => Health::unhealthy(error.message()),
        }
    }

    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>> {
        Ok(self.registry.find(event)?.lag(self.registry.now()))
    }

    async fn close(&self) -> Result<()> {
        self.registry.close();
        self.tasks.close().await;
        Ok(())
    }
}

fn page(topic: &Topic, state: &State, request: &ReadRequest) -> Result<Page> {
    let history = &state.history;
    let (start, gap) = topic.locate(history, &request.start)?;
    let mut bytes = 0;
    let fits = |weight: usize| {
        bytes += weight;
        bytes == weight || bytes <= request.max_bytes
    };
    let mut fits = fits;
    let held = history.from(start).take(request.limit).take_while(|held| fits(held.message.weight()));
    let messages: Vec<_> = held.map(|held| (held.cursor.clone(), Arc::clone(&held.message))).collect();
    let next = start + messages.len() as u64;
    let end = next == history.end();
    Ok(Page { gap, messages, next: topic.cursor(next - 1)?, end })
}

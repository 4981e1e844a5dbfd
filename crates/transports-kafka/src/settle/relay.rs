//! The topic through which the nodes talk: questions to whoever reads a message, answers, and takeovers.

mod ear;
mod listeners;
mod remembered;

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use busgate_core::{EventName, Holder, Result};
use parking_lot::Mutex;
use tokio::{
    sync::{OnceCell, mpsc},
    time::{Instant, timeout_at},
};

pub(crate) use self::listeners::Call;
use self::{ear::Ear, listeners::Listeners, remembered::Remembered};
use super::{
    record::{Fates, Record, Told},
    settle_with,
};
use crate::{
    admin::Plan,
    error::{closed, late},
    group::{Ask, Groups},
    producer::Draft,
    registry::topic,
    shared::Shared,
    tap::Following,
};

/// The topic, after the prefix and what all topics of ours begin with.
const TOPIC: &str = "settle";

/// How long the broker keeps what was said: nobody reads it later than at once.
const RETENTION: Duration = Duration::from_secs(600);

/// How many questions wait for their turn; those beyond are asked again.
const MAX_WAITING: usize = 1024;

/// A node's part in the talk.
pub(crate) struct Relay {
    topic: String,
    node: u64,
    calls: AtomicU64,
    opened: OnceCell<Following>,
    listeners: Arc<Listeners>,
    remembered: Mutex<Remembered>,
    groups: Weak<Groups>,
}

/// What a question brought.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) settled: Fates,
    /// Whether anybody has the group.
    pub(crate) is_heard: bool,
}

impl Relay {
    pub(crate) fn new(shared: &Shared, groups: Weak<Groups>) -> Self {
        let topic = shared.config.own_topic(TOPIC);
        let (calls, opened) = (AtomicU64::new(1), OnceCell::new());
        let (listeners, remembered) = Default::default();
        Self { topic, node: fastrand::u64(1..), calls, opened, listeners, remembered, groups }
    }

    /// Listens from now on.
    ///
    /// # Errors
    /// As the broker says.
    pub(crate) async fn open(&self, shared: &Arc<Shared>) -> Result<()> {
        self.opened.get_or_try_init(|| self.listen(shared)).await.map(drop)
    }

    async fn listen(&self, shared: &Arc<Shared>) -> Result<Following> {
        let mut config = vec![("cleanup.policy", "delete".to_owned())];
        config.extend(topic::aged(RETENTION));
        let plan = Plan { name: self.topic.clone(), partitions: 1, config };
        topic::ensure(shared, &plan, shared.config.timeout).await?;
        let ends = shared.asker.ends(&self.topic, 1).await?;
        let (questions, waiting) = mpsc::channel(MAX_WAITING);
        let (listeners, groups) = (Arc::clone(&self.listeners), Weak::clone(&self.groups));
        let ear = Ear { node: self.node, listeners, groups, questions };
        let following = shared.tap.follow(&self.topic, &ends, Arc::new(ear))?;
        if let Some(groups) = self.groups.upgrade() {
            groups.spawn(answer_all(Weak::clone(&self.groups), waiting));
        }
        Ok(following)
    }

    /// A call: what is asked again under it is answered once.
    pub(crate) fn call(&self) -> Call {
        self.listeners.call(self.calls.fetch_add(1, Ordering::Relaxed))
    }

    /// Asks whoever reads these messages to settle them, and listens until all are, or it is time.
    pub(crate) async fn ask(
        &self,
        shared: &Shared,
        call: &mut Call,
        event: &EventName,
        holder: &Holder,
        asks: &[Ask],
        until: Instant,
    ) -> Result<Asked> {
        let told = Told::Ask { event: event.clone(), holder: holder.clone(), asks: asks.to_vec() };
        self.tell(shared, call.number(), told).await?;
        let mut asked = Asked::default();
        while asked.settled.len() < asks.len() {
            match timeout_at(until, call.next()).await {
                Ok(Some(settled)) => {
                    asked.is_heard = true;
                    asked.settled.extend(settled);
                }
                Ok(None) | Err(_) => break,
            }
        }
        Ok(asked)
    }

    /// Tells all nodes that a named consumer subscribed here, and waits until that has its place among all that is told.
    pub(crate) async fn take_over(
        &self,
        shared: &Shared,
        event: &EventName,
        holder: &Holder,
        member: u64,
    ) -> Result<()> {
        let mut takeover = self.listeners.takeover(member);
        let told = Told::TakeOver { event: event.clone(), holder: holder.clone() };
        self.tell(shared, member, told).await?;
        match timeout_at(Instant::now() + shared.config.timeout, takeover.heard()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(closed()),
            Err(_) => Err(late("the takeover of a consumer")),
        }
    }

    async fn tell(&self, shared: &Shared, call: u64, told: Told) -> Result<()> {
        let value = Record { node: self.node, call, told }.to_bytes();
        let draft = Draft {
            topic: &self.topic,
            partition: 0,
            key: None,
            payload: Some(&value),
            headers: None,
            timestamp: None,
        };
        shared.producer.send_one(draft).await.map(drop)
    }
}

/// Answers other nodes' questions about what is read here, many at a time.
async fn answer_all(groups: Weak<Groups>, mut waiting: mpsc::Receiver<Record>) {
    while let Some(record) = waiting.recv().await {
        let Some(groups) = groups.upgrade() else { return };
        let this = Arc::clone(&groups);
        groups.spawn(async move { this.relay.answer(&this, record).await });
    }
}

impl Relay {
    async fn answer(&self, groups: &Arc<Groups>, record: Record) {
        let Told::Ask { event, holder, asks } = record.told else { return };
        let Some(crew) = groups.find(&event, &holder) else { return };
        let key = (record.node, record.call);
        let Some(mut settled) = self.remembered.lock().begin(key) else { return };
        let is_open = |ask: &Ask| !settled.iter().any(|(index, _)| *index == ask.index);
        let asks: Vec<_> = asks.into_iter().filter(is_open).collect();
        if !asks.is_empty() {
            settled.extend(settle_with(&crew, &asks).await);
        }
        self.remembered.lock().end(key, settled.clone());
        let told = Told::Answer { to: record.node, call: record.call, settled };
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.tell(&groups.shared, call, told).await {
            tracing::debug!(%error, "another node's settlement is not answered");
        }
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("topic", &self.topic).finish_non_exhaustive()
    }
}

//! Nodes on one transport tell each other what they settled, so that the client's window is free where it is held.
//!
//! What a note says shortens a wait and decides nothing: when one is lost, the window is free when the lease runs out.

mod note;

use std::{
    mem,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

pub(super) use self::note::Note;
use super::{Inner, SlowPolicy};
use crate::{
    Effect, End, Error, ErrorKind, EventConfig, EventName, Message, Result, Settled, Start, Tasks, Timestamp,
    Verb,
    ack::Slot,
    hub::{Follow, Follower, Step},
    own_event,
    sync::Mutex,
};

/// The event that notes go through; clients see nothing of it.
const EVENT: &str = "_nodes";

/// How many notes may wait while others are under way; what is more is left to the lease clock.
const MOST_WAITING: usize = 16 * note::MOST;

/// How long one message of notes may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long nothing is told after it went wrong.
const PAUSE: Duration = Duration::from_secs(1);

/// How often a message of notes is tried.
const TRIES: usize = 3;

/// How long a listener that was cut off waits: the first and the longest wait.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// How far back a listener begins: for what was told while it came up or was away, and for clocks that differ.
const BACK: Duration = Duration::from_secs(30);

fn config() -> EventConfig {
    EventConfig {
        dedup_window: Some(Duration::ZERO),
        retention_age: Some(2 * BACK),
        retention_messages: Some(10_000),
        ..EventConfig::default()
    }
}

/// What is kept for one node's talk with the others.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    waiting: Mutex<Waiting>,
    listens: AtomicBool,
    /// Owns the listener.
    tasks: Tasks,
}

#[derive(Debug, Default)]
struct Waiting {
    notes: Vec<Note>,
    /// Whether a task is at work that comes back for more.
    telling: bool,
}

impl Nodes {
    /// Takes notes in; whether a task has to be started that tells them.
    fn add(&self, notes: Vec<Note>) -> bool {
        let mut waiting = self.waiting.lock();
        let room = MOST_WAITING - waiting.notes.len();
        waiting.notes.extend(notes.into_iter().take(room));
        !mem::replace(&mut waiting.telling, true)
    }

    /// The notes of the next message, the oldest first; with none left the task is over.
    fn take(&self) -> Option<Vec<Note>> {
        let mut waiting = self.waiting.lock();
        if waiting.notes.is_empty() {
            waiting.telling = false;
            return None;
        }
        let most = waiting.notes.len().min(note::MOST);
        Some(waiting.notes.drain(..most).collect())
    }

    /// Ends the listener.
    pub(super) async fn close(&self) {
        self.tasks.close().await;
    }
}

impl Inner {
    /// What another node should hear of a settlement, if it was its client's delivery.
    pub(super) fn note(&self, slot: Slot, verb: &Verb, result: &Result<Settled>) -> Option<Note> {
        if !self.config.shared || self.tracker.is_here(slot) {
            return None;
        }
        let extend = match (result, verb) {
            (Ok(Settled::Extended), Verb::Extend(duration)) => Some(*duration),
            (Ok(Settled::Acked | Settled::Nacked | Settled::Rejected | Settled::Released), _) => None,
            _ => return None,
        };
        Some(Note { slot, extend })
    }

    /// Tells the other nodes, soon and in the background. What comes while it does so goes into one message.
    pub(super) fn tell(self: &Arc<Self>, notes: Vec<Note>) {
        if notes.is_empty() || !self.nodes.add(notes) {
            return;
        }
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            while let Some(notes) = inner.nodes.take() {
                for _ in 0..TRIES {
                    let Err(error) = inner.tell_now(&notes).await else { break };
                    debug!(%error, notes = notes.len(), "other nodes were not told what was settled here");
                    sleep(PAUSE).await;
                }
            }
        });
    }

    async fn tell_now(&self, notes: &[Note]) -> Result<()> {
        let mut message = Message::new(crate::MessageId::generate(), Note::write(notes));
        message.timestamp = self.clock.now();
        let (event, config) = (EventName::known(EVENT), config());
        let told = own_event::publish(&*self.transport, &event, &config, vec![message]);
        super::in_time(PATIENCE, Effect::Unknown, told).await
    }

    /// Listens to the other nodes from now on: whoever hands out leases with ack ids calls it.
    pub(super) fn listen(self: &Arc<Self>) {
        if !self.config.shared || self.nodes.listens.swap(true, Ordering::Relaxed) {
            return;
        }
        let since = self.clock.now().minus(BACK);
        let listener = Listener { inner: Arc::downgrade(self), since, wait: AGAIN.0 };
        self.nodes.tasks.spawn(listener.run());
    }

    async fn follow_notes(&self, since: Timestamp) -> Result<Follower> {
        let event = EventName::known(EVENT);
        let start = if self.capabilities.replay_from_time { Start::At(since) } else { Start::Latest };
        let buffer = self.config.ring_messages as u64;
        let follow = Follow { start, slow: SlowPolicy::DropOldest, buffer };
        let followed = self.hub.follow(&event, follow.clone()).await;
        if !matches!(&followed, Err(error) if error.kind() == ErrorKind::NotFound) {
            return followed;
        }
        let config = config();
        let registered = own_event::register(&*self.transport, &event, &config);
        self.in_time(Effect::Unknown, registered).await?;
        self.hub.follow(&event, follow).await
    }

    /// Does to this node's own streams what was settled elsewhere.
    fn heed(&self, message: &Message) {
        let Some(notes) = Note::read(&message.payload) else {
            debug!(id = %message.id, "another node tells something that can't be read");
            return;
        };
        let (now, age) = (Instant::now(), self.clock.now().since(message.timestamp));
        for note in notes {
            let Some(stream) = self.tracker.stream(note.slot) else { continue };
            match note.extend {
                None => stream.release([note.slot.seq]),
                Some(extend) => stream.extend(note.slot.seq, now + extend.saturating_sub(age)),
            }
        }
    }
}

/// Hears what other nodes settled, until its gateway is gone.
struct Listener {
    inner: Weak<Inner>,
    since: Timestamp,
    wait: Duration,
}

impl Listener {
    async fn run(mut self) {
        while let Some(inner) = self.inner.upgrade() {
            let followed = inner.follow_notes(self.since).await;
            drop(inner);
            let error = match followed {
                Ok(follower) => self.hear(follower).await,
                Err(error) => error,
            };
            if self.wait == AGAIN.0 {
                warn!(%error, "what other nodes settle frees no window here before its lease is over, trying again");
            }
            sleep(self.wait).await;
            self.wait = (self.wait * 2).min(AGAIN.1);
        }
    }

    /// Answers why there is nothing more to hear.
    async fn hear(&mut self, mut follower: Follower) -> Error {
        loop {
            let step = follower.next().await;
            let Some(inner) = self.inner.upgrade() else { return gone("the gateway is gone") };
            match step {
                Step::Message(envelope) => {
                    self.wait = AGAIN.0;
                    inner.heed(&envelope.message);
                }
                Step::Gap(_) => {}
                Step::End(end) => {
                    self.since = inner.clock.now().minus(BACK);
                    return match end {
                        End::Failed(error) => error,
                        _ => gone("the event was unregistered"),
                    };
                }
            }
        }
    }
}

fn gone(what: &str) -> Error {
    Error::new(ErrorKind::Closed, what)
}

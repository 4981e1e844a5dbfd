//! What can be asked of the writer, and how.

use std::sync::{Arc, mpsc};

use busgate_core::{Error, EventConfig, EventName, Message, Receipt, Result, Story, Turn};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{codec, error::closed, event::Event, lease::Seat, store::HEADER_BYTES};

/// The budget is counted in units of this many bytes.
const UNIT: usize = 1024;

/// The way to the writer. The writer ends when the last one is gone.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    ops: mpsc::Sender<Op>,
    budget: Arc<Semaphore>,
    units: u32,
}

/// A message with its record, which lacks its seal.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) message: Arc<Message>,
    pub(crate) record: Vec<u8>,
}

impl Parcel {
    pub(crate) fn new(message: Message) -> Self {
        let mut start = Vec::with_capacity(HEADER_BYTES + message.weight() + 32);
        start.resize(HEADER_BYTES, 0);
        Self { record: codec::encode_message(start, &message), message: Arc::new(message) }
    }
}

#[derive(Debug)]
pub(super) enum Op {
    Append(Append),
    Keep(Keep),
    /// The seat changed, but nobody waits for it to be written down.
    Soiled(Arc<Seat>),
    /// The message is a dead letter.
    Bury(Arc<Seat>, Story),
    Control(Control),
    Close(oneshot::Sender<Result<()>>),
}

/// Add messages to an event.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) event: Arc<Event>,
    pub(super) parcels: Vec<Parcel>,
    pub(super) answer: oneshot::Sender<Vec<Result<Receipt>>>,
    _budget: OwnedSemaphorePermit,
}

/// Write these seats down as they are.
#[derive(Debug)]
pub(super) struct Keep {
    pub(super) seats: Vec<Arc<Seat>>,
    pub(super) answer: oneshot::Sender<Result<()>>,
}

#[derive(Debug)]
pub(super) enum Control {
    Register { name: EventName, config: EventConfig, answer: oneshot::Sender<Result<Arc<Event>>> },
    Unregister { event: Arc<Event>, answer: oneshot::Sender<Result<()>> },
}

impl Queue {
    pub(super) fn new(max_bytes: usize) -> (Self, mpsc::Receiver<Op>) {
        let (ops, receiver) = mpsc::channel();
        let units = u32::try_from((max_bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let budget = Arc::new(Semaphore::new(units as usize));
        (Self { ops, budget, units }, receiver)
    }

    /// Adds messages, once there is room in the queue; then the turn is over. When it answers `Ok` for one, that one is on
    /// disk.
    pub(crate) async fn append(
        &self,
        event: Arc<Event>,
        parcels: Vec<Parcel>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        let count = parcels.len();
        let answers = self.try_append(event, parcels, turn).await;
        answers.unwrap_or_else(|error| (0..count).map(|_| Err(error.clone())).collect())
    }

    async fn try_append(
        &self,
        event: Arc<Event>,
        parcels: Vec<Parcel>,
        turn: Turn,
    ) -> Result<Vec<Result<Receipt>>> {
        let bytes: usize = parcels.iter().map(|parcel| parcel.record.len()).sum();
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units);
        let budget = Arc::clone(&self.budget).acquire_many_owned(units).await.map_err(|_| closed())?;
        let (answer, answers) = oneshot::channel();
        self.send(Op::Append(Append { event, parcels, answer, _budget: budget }))?;
        drop(turn);
        answers.await.map_err(|_| lost())
    }

    /// Writes seats down; with none, only tries the disk.
    ///
    /// # Errors
    /// As the store is: `exhausted`, `unavailable`, `internal`.
    pub(crate) async fn keep(&self, seats: Vec<Arc<Seat>>) -> Result<()> {
        let (answer, answers) = oneshot::channel();
        self.send(Op::Keep(Keep { seats, answer }))?;
        answers.await.map_err(|_| lost())?
    }

    /// Has a seat written down with the next commit.
    pub(crate) fn soiled(&self, seat: Arc<Seat>) {
        // Without a writer there is nothing to be kept any more.
        let _ = self.send(Op::Soiled(seat));
    }

    /// Has a message put among the dead letters.
    pub(crate) fn bury(&self, seat: Arc<Seat>, story: Story) {
        let _ = self.send(Op::Bury(seat, story));
    }

    /// Registers an event, or finds it registered.
    ///
    /// # Errors
    /// `exists`, `exhausted`, and as the store is.
    pub(crate) async fn register(&self, name: EventName, config: EventConfig) -> Result<Arc<Event>> {
        let (answer, answers) = oneshot::channel();
        self.send(Op::Control(Control::Register { name, config, answer }))?;
        answers.await.map_err(|_| lost())?
    }

    /// Forgets an event.
    ///
    /// # Errors
    /// `not_found`, and as the store is.
    pub(crate) async fn unregister(&self, event: Arc<Event>) -> Result<()> {
        let (answer, answers) = oneshot::channel();
        self.send(Op::Control(Control::Unregister { event, answer }))?;
        answers.await.map_err(|_| lost())?
    }

    /// Ends the writer after what was asked for so far; fine when it has ended.
    ///
    /// # Errors
    /// When the last state could not be written.
    pub(crate) async fn close(&self) -> Result<()> {
        let (answer, answers) = oneshot::channel();
        if self.send(Op::Close(answer)).is_err() {
            return Ok(());
        }
        answers.await.unwrap_or(Ok(()))
    }

    fn send(&self, op: Op) -> Result<()> {
        self.ops.send(op).map_err(|_| closed())
    }
}

/// The writer ended between the question and the answer.
fn lost() -> Error {
    closed().with_effect(busgate_core::Effect::Unknown)
}

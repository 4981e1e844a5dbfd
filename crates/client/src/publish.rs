//! Publishing over pipelined streams, one an event: an event that takes its time holds up no other.

mod entries;
mod lane;

use std::{collections::HashMap, sync::Arc, time::Duration};

use busgate_core::{Capabilities, Effect, EventName, Limits, Message, Receipt, Result, Turn};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use self::{entries::Entries, lane::Lane};
use crate::{
    breaker::is_failure,
    connection::{Connection, Detours, late},
    retry::Next,
};

/// How many events keep their stream while nothing is published to them.
const MAX_IDLE_LANES: usize = 64;

/// Publishes for one client.
#[derive(Debug)]
pub(crate) struct Publisher {
    connection: Arc<Connection>,
    limits: Limits,
    /// Whether the gateway forgets no id within its window: then a message may be sent twice.
    dedup: bool,
    lanes: Mutex<HashMap<EventName, Arc<Lane>>>,
}

impl Publisher {
    pub(crate) fn new(
        connection: Arc<Connection>,
        capabilities: Capabilities,
        max_payload_bytes: usize,
    ) -> Self {
        let limits = Limits { max_payload_bytes, ..Limits::default() };
        Self { connection, limits, dedup: capabilities.dedup, lanes: Mutex::default() }
    }

    /// Publishes a batch, in its turn; the answers are in the order of the messages. Those that were not accepted for the
    /// moment are tried again, under the same ids, and no others.
    pub(crate) async fn publish(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        let mut entries = Entries::new(batch, &self.limits, self.dedup);
        let mut tries = self.connection.tries();
        let mut turn = Some(turn);
        while !entries.open().is_empty() {
            let turn = turn.take();
            let round = self.connection.once(&tries, |limit| self.round(event, &entries, turn, limit)).await;
            let Some(error) = entries.record(round) else { break };
            match self.connection.after(&mut tries, error) {
                Next::Again(wait) => sleep(wait).await,
                Next::Stop(_) => break,
            }
        }
        entries.answers()
    }

    /// Lets go of every stream; what is under way on them is still answered.
    pub(crate) fn close(&self) {
        let lanes = std::mem::take(&mut *self.lanes.lock());
        lanes.into_values().for_each(|lane| lane.retire());
    }

    /// Sends what is open, and waits for the answers.
    ///
    /// # Errors
    /// What all of them failed with: there was no answer at all.
    async fn round(
        &self,
        event: &EventName,
        entries: &Entries,
        mut turn: Option<Turn>,
        limit: Duration,
    ) -> Result<Round> {
        let mut sent = None;
        let sending = async {
            let mut detours = Detours::default();
            loop {
                let lane = self.lane(event).await?;
                sent = Some(Arc::clone(&lane));
                let error = match lane.send(event, entries.messages(), turn.take()).await.map(as_call) {
                    Ok(Ok(answers)) => {
                        lane.line().worked();
                        return Ok(answers);
                    }
                    Ok(Err(error)) | Err(error) => error,
                };
                self.connection.redirect(lane.line(), error, &mut detours).await?;
                sent = None;
            }
        };
        match timeout(limit, sending).await {
            Ok(answers) => answers,
            Err(_) => Err(match sent {
                Some(lane) => {
                    lane.retire();
                    self.connection.unanswered(lane.line());
                    late(Effect::Unknown)
                }
                None => late(Effect::None),
            }),
        }
    }

    /// The event's stream: the one that there is, or a new one.
    async fn lane(&self, event: &EventName) -> Result<Arc<Lane>> {
        if let Some(lane) = self.lanes.lock().get(event).filter(|lane| lane.is_open()) {
            return Ok(Arc::clone(lane));
        }
        let line = self.connection.line().await?;
        let mut lanes = self.lanes.lock();
        if let Some(lane) = lanes.get(event).filter(|lane| lane.is_open()) {
            return Ok(Arc::clone(lane));
        }
        if lanes.len() >= MAX_IDLE_LANES {
            lanes.retain(|_, lane| lane.is_open() && !lane.is_idle());
        }
        let lane = Lane::open(line, &self.connection.tasks);
        lanes.insert(event.clone(), Arc::clone(&lane));
        Ok(lane)
    }
}

/// A single message that the gateway could not take is a call that failed.
fn as_call(answers: Round) -> Result<Round> {
    match answers.as_slice() {
        [Err(error)] if is_failure(error) => Err(error.clone()),
        _ => Ok(answers),
    }
}

/// The answers to what was sent, in that order.
type Round = Vec<Result<Receipt>>;

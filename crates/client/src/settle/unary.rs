//! Settling by `Ack`, when there is no stream to settle over.

use std::{collections::HashMap, sync::Arc};

use busgate_core::{Effect, Error, Pattern, Result, SettleAnswer, SettleRequest};
use busgate_wire::convert;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    connection::{Connection, Service},
    stream::Outbox,
};

type Waiter = oneshot::Sender<Result<Vec<SettleAnswer>>>;

/// One event's or pattern's settlements: while a call is under way those that come gather for the next. Each has its
/// own, for a call fails as a whole where one event may not be settled on.
type Lane = Outbox<Waiter>;

/// Settles by `Ack`, gathered.
#[derive(Debug)]
pub(crate) struct Unary {
    connection: Arc<Connection>,
    lanes: Arc<Mutex<HashMap<Pattern, Lane>>>,
}

impl Unary {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, lanes: Arc::default() }
    }

    /// Settles a batch of one subscription's events; the answers are in its order.
    ///
    /// # Errors
    /// The call's.
    pub(crate) async fn settle(
        &self,
        events: &Pattern,
        batch: Vec<SettleRequest>,
    ) -> Result<Vec<SettleAnswer>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let (waiter, answers) = oneshot::channel();
        let is_new = {
            let mut lanes = self.lanes.lock();
            let is_new = !lanes.contains_key(events);
            lanes.entry(events.clone()).or_insert_with(Lane::new).push(batch, waiter);
            is_new
        };
        if is_new {
            let (connection, lanes) = (Arc::clone(&self.connection), Arc::clone(&self.lanes));
            let events = events.clone();
            self.connection.tasks.spawn(async move { empty(&connection, &lanes, &events).await });
        }
        answers.await.unwrap_or_else(|_| {
            Err(Error::unavailable("the transport is closed").with_effect(Effect::Unknown))
        })
    }
}

/// Sends what a lane has until it is empty, and lets go of it.
async fn empty(connection: &Connection, lanes: &Mutex<HashMap<Pattern, Lane>>, events: &Pattern) {
    loop {
        let frame = {
            let mut lanes = lanes.lock();
            let frame = lanes.get_mut(events).and_then(Lane::next_frame);
            if frame.is_none() {
                lanes.remove(events);
            }
            frame
        };
        let Some((sequence, entries)) = frame else { return };
        let outcome = call(connection, entries).await;
        let mut lanes = lanes.lock();
        let Some(lane) = lanes.get_mut(events) else { return };
        match outcome {
            Ok(answers) => {
                for (waiter, answers) in lane.answered(sequence, answers) {
                    // Whoever does not wait any more does not need to know.
                    _ = waiter.send(Ok(answers));
                }
            }
            Err(error) => {
                for (waiter, _) in lane.answered(sequence, []) {
                    _ = waiter.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Settles a batch at once; the answers are in its order.
///
/// # Errors
/// The call's.
pub(crate) async fn call(connection: &Connection, entries: Vec<SettleRequest>) -> Result<Vec<SettleAnswer>> {
    let request = convert::ack_request(entries);
    let ack = |mut service: Service| {
        let request = request.clone();
        async move { service.ack(request).await }
    };
    let response = connection.call(Effect::Unknown, ack).await?;
    Ok(convert::read_acked(response)?.into_iter().map(|(_, answer)| answer).collect())
}

//! Settling by `Ack`, when there is no stream to settle over.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

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
type Lane = Outbox<Waiter, SettleRequest>;

/// Settles by `Ack`, gathered.
#[derive(Debug)]
pub(crate) struct Unary {
    connection: Arc<Connection>,
    lanes: Arc<Mutex<HashMap<Pattern, Lane>>>,
    under_way: AtomicUsize,
}

/// A program waits for what it settles to be answered, whichever way that goes. It ends by being dropped.
#[derive(Debug)]
pub(crate) struct UnderWay<'a>(&'a AtomicUsize);

/// Sends what a lane has until it is empty. Where that is cut short, whoever still waits is told so.
struct Emptying {
    lanes: Arc<Mutex<HashMap<Pattern, Lane>>>,
    events: Pattern,
    done: bool,
}

impl Unary {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, lanes: Arc::default(), under_way: AtomicUsize::new(0) }
    }

    /// Settling begins.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        UnderWay(&self.under_way)
    }

    /// Whether anybody waits for an answer.
    pub(crate) fn is_busy(&self) -> bool {
        self.under_way.load(Ordering::Acquire) > 0
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
            let connection = Arc::clone(&self.connection);
            let lane = Emptying { lanes: Arc::clone(&self.lanes), events: events.clone(), done: false };
            self.connection.tasks.spawn(async move { lane.run(&connection).await });
        }
        answers.await.unwrap_or_else(|_| {
            Err(Error::unavailable("the transport is closed").with_effect(Effect::Unknown))
        })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Emptying {
    async fn run(mut self, connection: &Connection) {
        while let Some((sequence, entries)) = self.next_frame() {
            let outcome = call(connection, entries).await;
            let mut lanes = self.lanes.lock();
            let Some(lane) = lanes.get_mut(&self.events) else { return };
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

    /// The next frame; without one the lane is gone, and who comes next begins another.
    fn next_frame(&mut self) -> Option<(u64, Vec<SettleRequest>)> {
        let mut lanes = self.lanes.lock();
        let frame = lanes.get_mut(&self.events).and_then(Lane::next_frame);
        if frame.is_none() {
            lanes.remove(&self.events);
            self.done = true;
        }
        frame
    }
}

impl Drop for Emptying {
    fn drop(&mut self) {
        if !self.done {
            // Those who wait are woken after the lock is released.
            let _left = self.lanes.lock().remove(&self.events);
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

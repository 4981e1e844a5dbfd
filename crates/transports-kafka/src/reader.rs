//! Reading what is held, page by page, with a few consumers that all events share.

mod lane;
mod pick;
mod session;

use std::{fmt, sync::Arc, time::Duration};

use busgate_core::{Error, Message, Result};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

pub(crate) use self::pick::Picked;
use self::session::Session;
use crate::{asker::Bounds, clients::Clients, event::Event, place::Place, shared::Shared};

/// How many pages are read at once.
const READERS: usize = 4;

/// How long a fetch waits at the end: there is none to be waited for, as nothing beyond the end is asked for.
const FETCH_WAIT_MS: u32 = 2;

/// How long a consumer keeps what it has read ahead for who comes back for the next page.
const PARKED: Duration = Duration::from_secs(5);

/// How often a page is begun again because retention passed by while it was read.
const TRIES: usize = 3;

/// What a page must not exceed; but it always has one message, if there is any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// How many messages.
    pub(crate) messages: usize,
    /// How many bytes of messages.
    pub(crate) bytes: usize,
}

/// A part of an event.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// How many offsets were passed by retention before the first message, if any.
    pub(crate) missed: Option<u64>,
    /// Where the page began, after what was missed.
    pub(crate) from: Vec<i64>,
    /// The messages, by their time; those of one partition in its order.
    pub(crate) messages: Vec<(Place, Arc<Message>)>,
    /// Where to go on.
    pub(crate) next: Vec<i64>,
    /// Whether this was the end when it was asked for.
    pub(crate) end: bool,
}

/// The consumers.
pub(crate) struct Reader {
    permits: Semaphore,
    idle: Arc<Mutex<Vec<Session>>>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { permits: Semaphore::new(READERS), idle: Arc::default() }
    }
}

impl Reader {
    /// Reads from the offsets `next` on, one for each partition; those beyond are read from their beginning.
    ///
    /// # Errors
    /// As the broker says, and when it does not answer in time.
    pub(crate) async fn page(
        &self,
        shared: &Shared,
        event: &Event,
        next: Vec<i64>,
        limit: Limit,
    ) -> Result<Chunk> {
        let gave_up = |error| Error::unavailable("the transport is closed").with_source(error);
        let _permit = self.permits.acquire().await.map_err(gave_up)?;
        let mut next = next;
        next.resize(next.len().max(usize::from(event.partitions())), 0);
        let mut tries = TRIES;
        loop {
            let (mut missed, mut from) = (None, next.clone());
            let parked = self.parked(event, &next);
            let goes_on = parked.is_some();
            let session = match parked {
                Some(session) => session,
                None => {
                    let bounds = shared.asker.bounds(&event.topic, partitions(&next)).await?;
                    missed = pass(&mut from, &bounds);
                    if from.iter().zip(&bounds).all(|(next, bounds)| *next >= bounds.end) {
                        return Ok(Chunk {
                            missed,
                            next: from.clone(),
                            from,
                            messages: Vec::new(),
                            end: true,
                        });
                    }
                    let mut session = self.any(&shared.clients)?;
                    session.aim(event, &from, &bounds);
                    session
                }
            };
            let (chunk, holes) = self.fill(session, limit, shared.config.timeout).await?;
            tries -= 1;
            if tries > 0 && !holes.is_empty() && passed_by(shared, event, &holes, partitions(&next)).await? {
                continue;
            }
            // The end that a consumer reads to is as old as the first page that it read.
            let end = chunk.end && (!goes_on || is_end(shared, event, &chunk.next).await?);
            return Ok(Chunk { missed, from, end, ..chunk });
        }
    }

    /// Fills a page off the runtime, and keeps the consumer.
    async fn fill(
        &self,
        mut session: Session,
        limit: Limit,
        timeout: Duration,
    ) -> Result<(Chunk, Vec<Place>)> {
        let idle = Arc::clone(&self.idle);
        let filled = tokio::task::spawn_blocking(move || {
            let filled = session.fill(limit, timeout);
            session.park(filled.is_ok());
            idle.lock().push(session);
            filled
        });
        filled.await.unwrap_or_else(|error| Err(Error::unavailable("a page was given up").with_source(error)))
    }

    /// The consumer that read the page before this one, with what it has read ahead.
    fn parked(&self, event: &Event, next: &[i64]) -> Option<Session> {
        let mut idle = self.idle.lock();
        let found = idle.iter().position(|session| session.stands_at(event, next))?;
        Some(idle.swap_remove(found))
    }

    /// A consumer: one that nobody comes back for, if there is one.
    fn any(&self, clients: &Clients) -> Result<Session> {
        let found = {
            let mut idle = self.idle.lock();
            let oldest = idle.iter().enumerate().min_by_key(|(_, session)| session.used());
            // One that is being read on is spared while there may be more.
            let spare = oldest.filter(|(_, session)| !session.is_parked() || idle.len() >= READERS);
            spare.map(|(index, _)| index).map(|index| idle.swap_remove(index))
        };
        found.map_or_else(|| Ok(Session::new(clients.make(&clients.pager(FETCH_WAIT_MS))?)), Ok)
    }

    /// Ends what reads ahead for nobody.
    pub(crate) fn tidy(&self) {
        let old = Instant::now() - PARKED;
        for session in
            self.idle.lock().iter_mut().filter(|session| session.is_parked() && session.used() < old)
        {
            session.park(false);
        }
    }

    /// Lets go of the consumers.
    pub(crate) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle.lock());
        // It can only fail when the runtime ends, and then nobody waits.
        let _ = tokio::task::spawn_blocking(move || drop(idle)).await;
    }
}

/// Moves on to what is held; how many offsets that passes by.
fn pass(next: &mut [i64], bounds: &[Bounds]) -> Option<u64> {
    let mut missed = 0;
    for (next, bounds) in next.iter_mut().zip(bounds) {
        missed += u64::try_from(bounds.begin - *next).unwrap_or(0);
        *next = (*next).max(bounds.begin);
    }
    (missed > 0).then_some(missed)
}

/// Whether there is nothing beyond these offsets.
async fn is_end(shared: &Shared, event: &Event, next: &[i64]) -> Result<bool> {
    let ends = shared.asker.ends(&event.topic, partitions(next)).await?;
    Ok(next.iter().zip(&ends).all(|(next, end)| next >= end))
}

/// Whether retention, and not compaction or a transaction, made one of these holes.
async fn passed_by(shared: &Shared, event: &Event, holes: &[Place], partitions: u16) -> Result<bool> {
    let begins = shared.asker.begins(&event.topic, partitions).await?;
    let begin = |partition: i32| usize::try_from(partition).ok().and_then(|index| begins.get(index).copied());
    Ok(holes.iter().any(|hole| begin(hole.partition).is_some_and(|begin| begin > hole.offset)))
}

fn partitions(next: &[i64]) -> u16 {
    u16::try_from(next.len()).unwrap_or(u16::MAX)
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("idle", &self.idle.lock().len()).finish_non_exhaustive()
    }
}

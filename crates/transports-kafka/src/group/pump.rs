//! The task of a crew: it reads, commits, and gives and takes partitions as the broker says.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use busgate_core::{Error, ErrorKind, Result, Start};
use rdkafka::{
    error::{KafkaError, KafkaResult},
    types::RDKafkaErrorCode as Code,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    Crew,
    client::{Client, Committed, Fatal, Queue, Signal, fatal},
    crew::Phase,
    opening,
    state::{End, LINGER, Sent, Wakes},
    track::Track,
};
use crate::{
    codec,
    error::{closed, unknown},
    offsets::{self, Author},
};

/// The least time from one commit to the next: what is settled meanwhile goes together.
const SPACING: Duration = Duration::from_millis(3);

/// How long a new member waits for its first partitions: there may be none left for it.
const JOINING: Duration = Duration::from_secs(3);

/// How long partitions that go elsewhere wait for their last commit.
const LAST_COMMIT: Duration = Duration::from_secs(3);

/// How long to wait before a question that failed is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// How often the pump looks without being told to.
const TICK: Duration = Duration::from_secs(1);

/// How many messages are taken in at a time.
const BATCH: usize = 512;

/// A rebalance that is on its way.
#[derive(Debug)]
enum Change {
    None,
    /// What the last owner left is being read.
    Taking(Vec<i32>, JoinHandle<Result<Vec<Committed>>>),
    /// Reading it failed: it is tried again at this time.
    TakingAgain(Vec<i32>, Instant),
    /// The last commit is on its way.
    Leaving(Vec<i32>, Instant),
}

/// The task's own part of a crew.
pub(super) struct Pump {
    crew: Arc<Crew>,
    client: Arc<Client>,
    queues: HashMap<i32, Queue>,
    change: Change,
    sent: Option<(Sent, JoinHandle<KafkaResult<()>>)>,
    next_commit: Instant,
    serial: u64,
    joined: Instant,
    error: Option<Error>,
    /// Partitions that retention has passed by, and where they begin now.
    passed: Vec<i32>,
    begins: Option<Begins>,
    /// Whether the group has to be joined in another way.
    is_to_begin_anew: bool,
}

/// An answer to where the partitions begin.
type Begins = Pin<Box<dyn Future<Output = Result<Vec<i64>>> + Send>>;

/// Runs a crew until nobody needs it, or it is told to end. `start` is where the group begins if there is none yet.
pub(super) async fn run(crew: Arc<Crew>, mut start: Option<Start>) {
    let error = loop {
        let opened = tokio::select! {
            opened = opening::open(&crew, start.take()) => opened,
            () = crew.event.ended.cancelled() => Err(unknown(&crew.event.name)),
        };
        let client = match opened {
            Ok(client) => client,
            Err(error) => {
                crew.state.lock().end = Some(End::Closed);
                break Some(error);
            }
        };
        let mut pump = Pump::new(&crew, client);
        pump.work().await;
        let (error, is_over) = (pump.error.take(), pump.is_over());
        pump.close().await;
        if is_over {
            break error;
        }
    };
    crew.phase.send_replace(Phase::Gone(error));
}

impl Pump {
    fn new(crew: &Arc<Crew>, client: Arc<Client>) -> Self {
        let now = Instant::now();
        Self {
            crew: Arc::clone(crew),
            client,
            queues: HashMap::new(),
            change: Change::None,
            sent: None,
            next_commit: now,
            serial: 0,
            joined: now,
            error: None,
            passed: Vec::new(),
            begins: None,
            is_to_begin_anew: false,
        }
    }

    /// Whether the crew is over with it, rather than joining in another way.
    fn is_over(&self) -> bool {
        !self.is_to_begin_anew || self.crew.state.lock().end.is_some()
    }

    /// Leaves the group.
    async fn close(self) {
        let Self { crew, client, queues, .. } = self;
        let here: Vec<_> = crew.state.lock().tracks.keys().copied().collect();
        crew.state.lock().lose(&here);
        // It can only fail when the runtime ends, and then nobody waits.
        let _ = tokio::task::spawn_blocking(move || {
            drop(queues);
            drop(client);
        })
        .await;
        crew.inbox.reopen();
    }

    async fn work(&mut self) {
        let ended = self.crew.event.ended.clone();
        loop {
            if ended.is_cancelled() {
                self.crew.finish(End::Unregistered);
            }
            let is_busy = self.turn().await;
            if self.is_to_begin_anew || self.is_done() {
                return;
            }
            if is_busy {
                tokio::task::yield_now().await;
                continue;
            }
            let wake = self.wake_at();
            let taking = async {
                match &mut self.change {
                    Change::Taking(_, asked) => asked.await,
                    _ => std::future::pending().await,
                }
            };
            let committing = async {
                match &mut self.sent {
                    Some((_, sent)) => sent.await,
                    None => std::future::pending().await,
                }
            };
            let looking = async {
                match &mut self.begins {
                    Some(begins) => begins.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.crew.inbox.wake.notified() => {}
                () = sleep_until(wake) => {}
                () = ended.cancelled(), if !ended.is_cancelled() => {}
                read = taking => {
                    let read = read.unwrap_or_else(|_| Err(closed()));
                    self.take_up(read);
                }
                begins = looking => self.pass_by(begins),
                done = committing => self.committed(done.unwrap_or(Err(KafkaError::Canceled))),
            }
        }
    }

    /// One look at everything; whether there is more at once.
    async fn turn(&mut self) -> bool {
        if let Some(error) = self.client.serve() {
            tracing::debug!(%error, group = self.crew.id, "a group is held up");
            match fatal(error) {
                Some(Fatal::NotLed) => {
                    tracing::info!("the broker leads no groups: their members lead them");
                    self.crew.is_led.store(false, Ordering::Relaxed);
                    self.is_to_begin_anew = true;
                }
                Some(Fatal::Over(error)) => self.fail(error),
                None => {}
            }
        }
        self.signals();
        let is_busy = self.read();
        self.look();
        self.expire();
        self.commit();
        self.leave();
        self.open_up();
        is_busy
    }

    fn fail(&mut self, error: Error) {
        tracing::warn!(%error, group = self.crew.id, "a group can't go on");
        self.error.get_or_insert(error);
        self.crew.finish(End::Closed);
    }

    /// Takes in what librdkafka told; one rebalance after the other.
    fn signals(&mut self) {
        while matches!(self.change, Change::None) {
            match self.crew.inbox.pop() {
                Some(Signal::Assigned(partitions)) => self.begin_taking(partitions),
                Some(Signal::Revoked { partitions, lost }) => self.begin_leaving(partitions, lost),
                None => return,
            }
        }
    }

    fn begin_taking(&mut self, partitions: Vec<i32>) {
        self.client.began(true, &partitions);
        if partitions.is_empty() {
            self.give(&[]);
            return;
        }
        let (client, shared) = (Arc::clone(&self.client), Arc::clone(&self.crew.shared));
        let asked = partitions.clone();
        let read = tokio::task::spawn_blocking(move || client.committed(&asked, &shared));
        self.change = Change::Taking(partitions, read);
    }

    /// Goes on with partitions as their last owner left them.
    fn take_up(&mut self, read: Result<Vec<Committed>>) {
        let Change::Taking(partitions, _) = std::mem::replace(&mut self.change, Change::None) else { return };
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(%error, group = self.crew.id, "a group's offsets can't be read yet");
                self.change = Change::TakingAgain(partitions, Instant::now() + AGAIN);
                return;
            }
        };
        let mut from = Vec::with_capacity(read.len());
        for committed in read {
            let Some(queue) = self.client.queue(committed.partition) else { continue };
            let partition = committed.partition;
            self.serial += 1;
            let (offset, track) = self.track(&committed);
            from.push((partition, offset));
            self.queues.insert(partition, queue);
            self.crew.state.lock().tracks.insert(partition, track);
        }
        self.give(&from);
    }

    fn track(&self, committed: &Committed) -> (u64, Track) {
        let now = self.crew.now();
        let life = self.crew.event.life;
        // A partition that is new since the group began is read from its beginning.
        let mut offset = committed.offset.unwrap_or(0);
        let mut handover = offsets::read(offset, &committed.metadata, now);
        if handover.as_ref().is_some_and(|handover| handover.author.life != life) {
            (offset, handover) = (0, None);
        }
        let generation = handover.as_ref().map_or(0, |handover| handover.author.generation);
        let generation = (generation + 1).max(opening::least_generation(now.wall));
        let policy = Arc::clone(&self.crew.state.lock().policy);
        let author = Author { life, generation };
        (offset, Track::new(self.serial, offset, handover, author, &policy))
    }

    fn give(&mut self, from: &[(i32, u64)]) {
        if let Err(error) = self.client.give(from) {
            tracing::warn!(%error, group = self.crew.id, "partitions can't be taken");
            let partitions: Vec<_> = from.iter().map(|(partition, _)| *partition).collect();
            self.crew.state.lock().lose(&partitions);
        }
        self.change = Change::None;
    }

    fn begin_leaving(&mut self, partitions: Vec<i32>, lost: bool) {
        self.client.began(false, &partitions);
        let now = Instant::now();
        if !lost {
            let mut state = self.crew.state.lock();
            for partition in &partitions {
                if let Some(track) = state.tracks.get_mut(partition) {
                    track.leave(now);
                }
            }
        }
        self.change = Change::Leaving(partitions, if lost { now } else { now + LAST_COMMIT });
        self.next_commit = now;
    }

    /// Lets partitions go whose last commit is through, or will never be.
    fn leave(&mut self) {
        match &self.change {
            Change::TakingAgain(partitions, at) if *at <= Instant::now() => {
                let partitions = partitions.clone();
                self.begin_taking(partitions);
                return;
            }
            Change::Leaving(..) => {}
            Change::None | Change::Taking(..) | Change::TakingAgain(..) => return,
        }
        let Change::Leaving(partitions, until) = &self.change else { return };
        let mut state = self.crew.state.lock();
        let is_told = |partition: &i32| state.tracks.get(partition).is_none_or(|track| track.due().is_none());
        let is_through = self.sent.is_none() && partitions.iter().all(is_told);
        if !is_through && Instant::now() < *until {
            return;
        }
        state.lose(partitions);
        drop(state);
        for partition in partitions {
            self.queues.remove(partition);
        }
        if let Err(error) = self.client.take(partitions) {
            tracing::warn!(%error, group = self.crew.id, "partitions can't be let go");
        }
        self.change = Change::None;
    }

    /// Takes messages in; whether there are more.
    fn read(&mut self) -> bool {
        let mut is_busy = false;
        for (partition, queue) in &self.queues {
            if !self.crew.state.lock().tracks.get(partition).is_some_and(Track::has_room) {
                continue;
            }
            let mut batch = Vec::new();
            while batch.len() < BATCH {
                match queue.poll(Duration::ZERO) {
                    Some(Ok(record)) => {
                        let offset = codec::Place::of(&record).offset;
                        batch.push((offset.cast_unsigned(), codec::message(&record)));
                    }
                    Some(Err(error)) => {
                        if error.rdkafka_error_code() == Some(Code::AutoOffsetReset) {
                            self.passed.push(*partition);
                        }
                        tracing::debug!(%error, group = self.crew.id, partition, "reading is held up");
                        break;
                    }
                    None => break,
                }
            }
            is_busy |= batch.len() == BATCH;
            if batch.is_empty() {
                continue;
            }
            let mut wakes = Wakes::default();
            let mut state = self.crew.state.lock();
            if let Some(track) = state.tracks.get_mut(partition) {
                for (offset, message) in batch {
                    track.read(offset, message);
                }
            }
            state.wake_for_work(Instant::now(), &mut wakes);
            drop(state);
            wakes.wake();
        }
        is_busy
    }

    /// Finds out where partitions begin that retention has passed by.
    fn look(&mut self) {
        if self.passed.is_empty() || self.begins.is_some() {
            return;
        }
        let (shared, event) = (Arc::clone(&self.crew.shared), Arc::clone(&self.crew.event));
        let asked = async move { shared.asker.begins(&event.topic, event.partitions()).await };
        self.begins = Some(Box::pin(asked));
    }

    fn pass_by(&mut self, begins: Result<Vec<i64>>) {
        self.begins = None;
        let Ok(begins) = begins else { return };
        if let Err(error) = self.crew.trim(&begins) {
            tracing::warn!(%error, group = self.crew.id, "what retention has taken can't be told");
        }
        for partition in std::mem::take(&mut self.passed) {
            let begin = usize::try_from(partition).ok().and_then(|index| begins.get(index)).copied();
            let position = self.crew.state.lock().tracks.get(&partition).map(Track::position);
            let (Some(begin), Some(position)) = (begin, position) else { continue };
            let from = position.max(u64::try_from(begin).unwrap_or(0));
            if let Err(error) = self.client.seek(partition, from) {
                tracing::warn!(%error, group = self.crew.id, partition, "a partition is not read");
            }
        }
    }

    fn expire(&self) {
        let mut wakes = Wakes::default();
        self.crew.state.lock().expire(Instant::now(), &mut wakes);
        wakes.wake();
    }

    /// Tells the broker what changed, unless it is being told.
    fn commit(&mut self) {
        let now = self.crew.now();
        if self.sent.is_some() || now.at < self.next_commit {
            return;
        }
        let Some((commits, sent)) = self.crew.state.lock().begin_commit(now) else { return };
        self.next_commit = now.at + SPACING;
        let client = Arc::clone(&self.client);
        let done = tokio::task::spawn_blocking(move || client.commit(&commits));
        self.sent = Some((sent, done));
    }

    fn committed(&mut self, done: KafkaResult<()>) {
        let Some((sent, _)) = self.sent.take() else { return };
        let (now, mut wakes) = (Instant::now(), Wakes::default());
        match done {
            Ok(()) => self.crew.state.lock().committed(sent, now, &mut wakes),
            Err(error) => {
                // Whoever is no member any more will be told that its partitions are lost.
                tracing::debug!(%error, group = self.crew.id, "a commit failed");
                self.crew.state.lock().not_committed(sent, now);
            }
        }
        wakes.wake();
    }

    /// Those who wait for the first partitions need wait no longer, when they are there or not to be had.
    fn open_up(&self) {
        if !matches!(*self.crew.phase.borrow(), Phase::Opening) {
            return;
        }
        let is_ready = {
            let state = self.crew.state.lock();
            let claimed = !state.tracks.is_empty() && !state.tracks.values().any(Track::is_new);
            claimed || state.end.is_some()
        };
        if is_ready || self.joined.elapsed() >= JOINING {
            // Whoever waited for this comes now.
            self.crew.state.lock().idle_since = Instant::now();
            self.crew.phase.send_replace(Phase::Open);
        }
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let mut state = self.crew.state.lock();
        let mut at = now + TICK;
        if let Some(next) = state.rearm() {
            // What is due waits for the commit that is on its way, or for its turn.
            let next = if next <= now && self.sent.is_none() { self.next_commit } else { next };
            if next > now {
                at = at.min(next);
            }
        }
        if matches!(*self.crew.phase.borrow(), Phase::Opening) {
            at = at.min(self.joined + JOINING);
        } else if state.members() == 0 && state.end.is_none() {
            at = at.min(state.idle_since + LINGER);
        }
        if let Change::TakingAgain(_, until) | Change::Leaving(_, until) = self.change {
            at = at.min(until);
        }
        at
    }

    /// Whether there is nothing more to do; begins to end when nobody is left.
    fn is_done(&mut self) -> bool {
        let now = Instant::now();
        let mut state = self.crew.state.lock();
        let is_opening = matches!(*self.crew.phase.borrow(), Phase::Opening);
        let is_idle = state.members() == 0 && !is_opening && now >= state.idle_since + LINGER;
        if is_idle && state.end.is_none() {
            let mut wakes = Wakes::default();
            state.finish(End::Idle, &mut wakes);
        }
        match state.end {
            None => false,
            Some(End::Unregistered) => true,
            Some(End::Closed | End::Idle) => {
                if state.tracks.values().any(Track::is_open) {
                    state.tracks.values_mut().for_each(|track| track.leave(now));
                    state.idle_since = now;
                    self.next_commit = now;
                    return false;
                }
                let is_told = state.tracks.values().all(|track| track.due().is_none());
                (is_told && self.sent.is_none()) || now >= state.idle_since + LAST_COMMIT
            }
        }
    }
}

/// What a group can't begin with that has none of its own.
pub(super) fn no_group(crew: &Crew) -> Error {
    Error::new(ErrorKind::NotFound, format!("{} of event `{}` is not known", crew.holder, crew.event.name))
}

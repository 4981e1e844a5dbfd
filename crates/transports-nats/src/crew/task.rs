//! The one task of a crew.

use std::{sync::Arc, time::Duration};

use busgate_core::Result;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Crew, Wakes,
    state::{Admission, Arrival, RECHECK},
};
use crate::{
    codec,
    delivery::{Delivered, IN_PROGRESS},
    event::End,
    name,
    pull::{Heard, Puller},
};

/// How long to wait after a fault.
const MOMENT: Duration = Duration::from_millis(50);

/// How many deliveries are taken in under one lock.
const BATCH: usize = 256;

/// A task that finds itself this much later than it should be may have slept through anything.
const STALL: Duration = Duration::from_secs(1);

/// What is left of a group at the server.
enum Presence {
    There,
    NoEvent,
    NoConsumer,
}

struct Run {
    crew: Arc<Crew>,
    puller: Option<Puller>,
    /// When to try again to reach the consumer.
    retry_at: Option<Instant>,
    recheck_at: Option<Instant>,
    /// Admissions, and leases that end.
    work: FuturesUnordered<BoxFuture<'static, ()>>,
    changes: watch::Receiver<u64>,
    ending: watch::Receiver<Option<End>>,
}

enum Woken {
    Heard(Result<Heard>),
    Worked,
    Alarm,
    Reconnected,
    Ended,
    Time,
}

/// Works for the crew until its event ends.
pub(crate) async fn run(crew: Arc<Crew>) {
    let (changes, ending) = (crew.link.changes(), crew.event.ending());
    let work = FuturesUnordered::new();
    let mut run = Run { crew, puller: None, retry_at: None, recheck_at: None, work, changes, ending };
    run.changes.mark_unchanged();
    while run.crew.event.ended().is_none() && !run.crew.state.lock().is_given_up {
        run.turn().await;
    }
    run.crew.wake_all();
    if run.crew.event.ended() == Some(End::Closed) {
        run.crew.state.lock().seats.dismiss(&mut Wakes::default());
        run.withdraw().await;
    }
    run.crew.rests.send_replace(true);
}

impl Run {
    async fn turn(&mut self) {
        self.meet_deadlines();
        self.keep_asking().await;
        match self.wait().await {
            Woken::Heard(Ok(Heard::Message(message))) => self.take_in(message),
            Woken::Heard(Ok(Heard::Nothing)) | Woken::Worked | Woken::Alarm | Woken::Ended | Woken::Time => {}
            Woken::Heard(Ok(Heard::Trouble)) => self.retry_at = Some(Instant::now() + MOMENT),
            Woken::Heard(Ok(Heard::Gone) | Err(_)) | Woken::Reconnected => self.start_over().await,
        }
    }

    async fn wait(&mut self) -> Woken {
        let until = self.until();
        let puller = &mut self.puller;
        let heard = async {
            match puller {
                Some(puller) => puller.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.ending.changed() => Woken::Ended,
            _ = self.changes.changed() => Woken::Reconnected,
            heard = heard => Woken::Heard(heard),
            Some(()) = self.work.next() => Woken::Worked,
            () = self.crew.alarm.notified() => Woken::Alarm,
            () = sleep_until(until) => {
                if Instant::now() > until + STALL {
                    tracing::warn!(event = %self.crew.event.name, "the node stood still: what it holds is in doubt");
                    self.crew.doubt();
                }
                Woken::Time
            }
        }
    }

    fn until(&self) -> Instant {
        let state = self.crew.state.lock();
        let deadline = state.next_deadline(self.crew.patience());
        drop(state);
        let silent = self.puller.as_ref().and_then(Puller::silent_at);
        let times = [deadline, silent, self.retry_at, self.recheck_at];
        times.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    /// Ends what ran out, tells the server of what takes long, and wakes another for what nobody took.
    fn meet_deadlines(&mut self) {
        let (crew, now) = (&self.crew, Instant::now());
        let mut wakes = Wakes::default();
        let mut state = crew.state.lock();
        let over = state.expire(now, &mut wakes);
        let quiet = state.untouched(now, crew.patience(), crew.link.generation());
        let has_work = state.has_work();
        if has_work && self.recheck_at.is_some_and(|at| at <= now) {
            state.seats.wake_idle(1, &mut wakes);
        }
        drop(state);
        wakes.wake();
        if !has_work {
            self.recheck_at = None;
        } else if self.recheck_at.is_none_or(|at| at <= now) {
            self.recheck_at = Some(now + RECHECK);
        }
        for reply in quiet {
            // Where that is lost, the next time is in time as well.
            let _ = crew.link.post(reply, IN_PROGRESS);
        }
        for entry in over {
            self.work.push(Arc::clone(crew).give_back(entry).boxed());
        }
    }

    /// Has as many messages asked for as there is room; takes requests back when nobody is there.
    async fn keep_asking(&mut self) {
        let outstanding = self.puller.as_ref().map_or(0, Puller::outstanding);
        let (is_empty, room, capacity) = {
            let state = self.crew.state.lock();
            (state.seats.is_empty(), state.room(outstanding), state.seats.capacity())
        };
        if is_empty {
            self.withdraw().await;
            return;
        }
        let now = Instant::now();
        if self.puller.as_ref().and_then(Puller::silent_at).is_some_and(|at| at <= now) {
            tracing::debug!(event = %self.crew.event.name, "the consumer is silent");
            self.start_over().await;
            return;
        }
        if self.retry_at.is_some_and(|at| at > now) {
            return;
        }
        self.retry_at = None;
        if self.puller.is_none() {
            match Puller::open(&self.crew.link, &self.crew.event.stream, &self.crew.consumer).await {
                Ok(puller) => {
                    self.crew.state.lock().is_asking = true;
                    self.puller = Some(puller);
                }
                Err(_) => self.retry_at = Some(now + MOMENT),
            }
        }
        // Many small requests would cost as much as the messages.
        let enough = if outstanding == 0 { 1 } else { (capacity / 4).max(1) };
        if room >= enough
            && let Some(puller) = &mut self.puller
            && puller.ask(room).await.is_err()
        {
            self.retry_at = Some(now + MOMENT);
        }
    }

    /// Takes requests back, and hands back what nobody took: in this order, or it would come here again.
    async fn withdraw(&mut self) {
        if let Some(mut puller) = self.puller.take() {
            let withdrawn = puller.withdraw().await;
            // Servers of 2.9 forget a request nobody waits for only when they look: else the first of what is handed back
            // is thrown at it, and comes back last. Asked for the consumer they look.
            let _ = self.crew.link.consumer(&self.crew.event.stream, &self.crew.consumer).await;
            self.crew.hand_back_unread();
            if withdrawn {
                let late = puller.rest().await;
                late.into_iter().for_each(|message| self.send_back(message));
            }
        }
        self.crew.hand_back_unread();
        self.crew.state.lock().is_asking = false;
    }

    /// What came when nobody was there any more.
    fn send_back(&self, message: async_nats::Message) {
        let Some(delivered) = Delivered::of(message.reply.as_ref()) else { return };
        if let Some(entry) = self.crew.state.lock().entry_mut(delivered.stamp.sequence)
            && !entry.stand.is_held()
            && entry.delivered.times + 1 == delivered.times
        {
            // Known here, so that its next delivery is not taken for one that nobody knows of.
            entry.delivered.times = delivered.times;
        }
        message.reply.into_iter().for_each(|reply| self.crew.send_back(reply));
    }

    fn take_in(&mut self, first: async_nats::Message) {
        let mut arrivals = Vec::new();
        let mut gone = false;
        arrivals.extend(self.arrival(first));
        while arrivals.len() < BATCH
            && let Some(heard) = self.puller.as_mut().and_then(Puller::next_now)
        {
            match heard {
                Heard::Message(message) => arrivals.extend(self.arrival(message)),
                Heard::Nothing => {}
                Heard::Trouble => self.retry_at = Some(Instant::now() + MOMENT),
                Heard::Gone => gone = true,
            }
        }
        let (mut wakes, now) = (Wakes::default(), Instant::now());
        let mut state = self.crew.state.lock();
        let mut admissions = Vec::new();
        for arrival in arrivals {
            let (sequence, epoch) = (arrival.delivered.stamp.sequence, arrival.delivered.epoch);
            let admission = state.arrive(now, arrival, &mut wakes);
            if admission != Admission::Done {
                admissions.push((sequence, epoch, admission));
            }
        }
        let unread = state.unread(&mut wakes);
        drop(state);
        wakes.wake();
        for (sequence, epoch, admission) in admissions {
            self.work.push(Arc::clone(&self.crew).admit(sequence, epoch, admission).boxed());
        }
        unread.into_iter().for_each(|entry| self.crew.send_back(entry.reply));
        if gone {
            self.retry_at = Some(Instant::now());
            self.puller = None;
        }
    }

    fn arrival(&self, mut message: async_nats::Message) -> Option<Arrival> {
        let delivered = Delivered::of(message.reply.as_ref())?;
        let reply = message.reply.take()?;
        let generation = self.crew.link.generation();
        match codec::delivered(message, delivered) {
            Ok(message) => Some(Arrival { delivered, reply, message: Arc::new(message), generation }),
            Err(error) => {
                tracing::warn!(event = %self.crew.event.name, %error, "a message can't be read");
                None
            }
        }
    }

    /// The connection or the consumer is another one: asks again, if it is there.
    async fn start_over(&mut self) {
        if let Some(puller) = &mut self.puller {
            puller.reset();
        }
        self.retry_at = Some(Instant::now() + MOMENT);
        match self.crew.presence().await {
            Ok(Presence::There) => self.retry_at = None,
            Ok(Presence::NoEvent) => self.crew.event.finish(End::Unregistered),
            Ok(Presence::NoConsumer) => {
                tracing::warn!(event = %self.crew.event.name, consumer = %self.crew.consumer, "the consumer was deleted");
                self.crew.give_up();
            }
            Err(refused) => {
                tracing::debug!(event = %self.crew.event.name, error = %refused, "a group waits for the server");
            }
        }
    }
}

impl Crew {
    /// Whether the event's stream and the consumer are still the same.
    async fn presence(&self) -> Result<Presence> {
        let stream = self.link.stream(&self.event.stream).await?;
        if stream.is_none_or(|info| name::number(&info.created) != self.event.life) {
            return Ok(Presence::NoEvent);
        }
        let consumer = self.link.consumer(&self.event.stream, &self.consumer).await?;
        let is_there = consumer.is_some_and(|info| self.is_of(&self.event, &info));
        Ok(if is_there { Presence::There } else { Presence::NoConsumer })
    }

    /// Ends every subscription: somebody deleted the consumer, and with it where the group was.
    fn give_up(&self) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        state.is_given_up = true;
        state.seats.wake_all(&mut wakes);
        drop(state);
        wakes.wake();
    }

    /// Hands back what more is here than anyone may take.
    fn hand_back_unread(&self) {
        let mut wakes = Wakes::default();
        let unread = self.state.lock().unread(&mut wakes);
        wakes.wake();
        unread.into_iter().for_each(|entry| self.send_back(entry.reply));
    }

    /// Resolves when nothing of it runs any more.
    pub(crate) async fn at_rest(&self) {
        // An error says that it is gone altogether.
        let _ = self.rests.subscribe().wait_for(|rests| *rests).await;
    }

    /// Wakes every subscription: the event ended.
    pub(crate) fn wake_all(&self) {
        let mut wakes = Wakes::default();
        self.state.lock().seats.wake_all(&mut wakes);
        wakes.wake();
    }

    /// What is here may be another's by now: only the records tell.
    pub(crate) fn doubt(&self) {
        self.state.lock().doubt();
    }
}

//! A group or named consumer on this node: its durable consumer's deliveries, and the subscriptions that take them.
//!
//! One task per crew talks with the server: it asks for as many messages as the subscriptions have room for, ends leases
//! that ran out, and tells the server of what takes long, so that the server's own clock (which starts when it delivers)
//! only counts when the node is gone.

use std::{sync::Arc, time::Duration};

use async_nats::Subject;
use busgate_core::{ConsumerLag, Holder};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

pub(crate) use self::{
    entry::{Entry, Stand},
    seats::Wakes,
    state::State,
};
use crate::{api::ConsumerInfo, delivery::again, event::Event, link::Link, name, records::Records};

mod admission;
mod book;
mod ending;
mod entry;
mod membership;
mod seats;
mod state;
mod task;

/// A group on this node.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) link: Arc<Link>,
    pub(crate) records: Arc<Records>,
    pub(crate) event: Arc<Event>,
    pub(crate) holder: Holder,
    /// The durable consumer.
    pub(crate) consumer: String,
    /// The consumer in this life of it, as the records name it.
    life: String,
    /// After how long the server gives a delivery to another, when it hears nothing.
    ack_wait: Duration,
    /// Whether servers elect who leads the consumer.
    is_replicated: bool,
    pub(crate) state: Mutex<State>,
    pub(crate) alarm: Notify,
    /// Whether its task has ended.
    rests: watch::Sender<bool>,
}

impl Crew {
    pub(crate) fn new(
        link: &Arc<Link>,
        records: &Arc<Records>,
        event: &Arc<Event>,
        holder: &Holder,
        info: &ConsumerInfo,
        seen: u64,
    ) -> Arc<Self> {
        let state = State::after(seen);
        Arc::new(Self {
            link: Arc::clone(link),
            records: Arc::clone(records),
            event: Arc::clone(event),
            holder: holder.clone(),
            consumer: info.name.clone(),
            life: life(link, event, info),
            ack_wait: info.config.ack_wait().max(Duration::from_secs(1)),
            is_replicated: info.is_replicated(),
            state: Mutex::new(state),
            alarm: Notify::new(),
            rests: watch::Sender::new(false),
        })
    }

    /// Whether it is of this consumer, and not of an earlier one of the same name.
    pub(crate) fn is_of(&self, event: &Event, info: &ConsumerInfo) -> bool {
        self.event.life == event.life
            && self.life == life(&self.link, event, info)
            && self.event.ended().is_none()
    }

    /// Has the server deliver it again, without a word on how it ended.
    pub(crate) fn send_back(&self, reply: Subject) {
        // Where that is lost, the server gives it back by itself after `ack_wait`.
        let _ = self.link.post(reply, again(Duration::ZERO));
    }

    /// As [`Self::send_back`], in their order.
    pub(crate) fn send_all_back(&self, entries: Vec<Entry>) {
        entries.into_iter().for_each(|entry| self.send_back(entry.reply));
    }

    /// Changes the state; whom that wakes is woken when it is free again.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State, &mut Wakes) -> R) -> R {
        let mut wakes = Wakes::default();
        let result = change(&mut self.state.lock(), &mut wakes);
        wakes.wake();
        result
    }

    /// What is here may be another's by now: only the records tell.
    fn doubt(&self) {
        self.state.lock().book.doubt();
    }

    /// Resolves when nothing of it runs any more.
    pub(crate) async fn at_rest(&self) {
        // An error says that it is gone altogether.
        let _ = self.rests.subscribe().wait_for(|rests| *rests).await;
    }

    /// Whether the server surely did not give this to anyone else meanwhile.
    pub(crate) fn is_certain(&self, entry: &Entry, now: Instant) -> bool {
        let is_of_now = !entry.is_usurped && entry.generation == self.link.generation();
        is_of_now && now < entry.touched + self.ack_wait.mul_f32(0.9)
    }

    /// After how long the server gives a delivery to another.
    pub(crate) const fn ack_wait(&self) -> Duration {
        self.ack_wait
    }

    /// When the server should hear of a delivery again.
    fn patience(&self) -> Duration {
        self.ack_wait.mul_f32(0.6)
    }

    /// The record of one of its messages.
    pub(crate) fn record_of(&self, sequence: u64) -> String {
        self.records.subject(&self.event.stream, &self.life, sequence)
    }

    /// How far it is, as the server and this node know it.
    pub(crate) fn lag(&self, info: &ConsumerInfo) -> ConsumerLag {
        let state = self.state.lock();
        let (ahead, delayed) = (state.book.read_ahead(), state.book.delayed(Instant::now()));
        ConsumerLag {
            members: state.members(),
            waiting: Some(info.num_pending + ahead),
            delayed,
            in_flight: info.num_ack_pending.saturating_sub(ahead + delayed).max(state.book.leased()),
            holder: self.holder.clone(),
        }
    }

    /// What a consumer is like that no subscription here has.
    pub(crate) fn lag_elsewhere(holder: Holder, info: &ConsumerInfo) -> ConsumerLag {
        let (waiting, in_flight) = (Some(info.num_pending), info.num_ack_pending);
        ConsumerLag { holder, waiting, in_flight, delayed: 0, members: 0 }
    }
}

/// A consumer that is made again under its name has another. On servers of 2.9 that can't be told: there a restart of the
/// server changes when the consumer was made, and its event's life stands for it.
fn life(link: &Link, event: &Event, info: &ConsumerInfo) -> String {
    let tells = link.client.is_server_compatible(2, 10, 0);
    let number = if tells { name::number(&info.created) } else { event.life };
    format!("{}-{number:x}", info.name.replace(':', "+"))
}

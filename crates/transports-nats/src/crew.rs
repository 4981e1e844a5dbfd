//! A group or named consumer on this node: its durable consumer's deliveries, and the subscriptions that take them.
//!
//! One task per crew talks with the server: it asks for as many messages as the subscriptions have room for, ends leases
//! that ran out, and tells the server of what takes long, so that the server's own clock (which starts when it delivers)
//! only counts when the node is gone.

use std::{sync::Arc, time::Duration};

use async_nats::Subject;
use busgate_core::{ConsumerLag, Gap, Holder, RetryPolicy, SubscribeOptions};
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
mod ending;
mod entry;
mod seats;
mod state;
mod task;

pub(crate) use self::task::run;

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

    /// Takes a subscription in. A consumer has one: an earlier one finds its seat gone, and what it did not settle
    /// comes again.
    pub(crate) fn join(&self, member: u64, options: &SubscribeOptions, gap: Option<Gap>) {
        if matches!(self.holder, Holder::Consumer(_)) {
            self.dismiss();
        }
        let mut state = self.state.lock();
        state.latest = member;
        state.seats.join(member, options, gap);
        drop(state);
        self.alarm.notify_one();
    }

    /// Ends every subscription: another one took over.
    pub(crate) fn dismiss(&self) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        let lost = state.leases_of(state.latest);
        state.dismissed.extend(lost);
        state.seats.dismiss(&mut wakes);
        drop(state);
        wakes.wake();
        self.alarm.notify_one();
    }

    /// Lets a subscription go. What it read ahead and nobody else has room for goes back at once.
    pub(crate) fn leave(&self, member: u64) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        if !state.seats.leave(member) {
            return;
        }
        // The last one's is handed back when the server delivers nothing more.
        let unread = if state.seats.is_empty() { Vec::new() } else { state.unread(&mut wakes) };
        state.wake_for_work(&mut wakes);
        drop(state);
        wakes.wake();
        unread.into_iter().for_each(|entry| self.send_back(entry.reply));
        self.alarm.notify_one();
    }

    /// Has the server deliver it again, without a word on how it ended.
    pub(crate) fn send_back(&self, reply: Subject) {
        // Where that is lost, the server gives it back by itself after `ack_wait`.
        let _ = self.link.post(reply, again(Duration::ZERO));
    }

    /// Whether the server surely did not give this to anyone else meanwhile.
    pub(crate) fn is_certain(&self, entry: &Entry, now: Instant) -> bool {
        entry.generation == self.link.generation() && now < entry.touched + self.ack_wait.mul_f32(0.9)
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
        let (ahead, delayed) = (state.read_ahead(), state.delayed(Instant::now()));
        ConsumerLag {
            members: state.members(),
            waiting: Some(info.num_pending + ahead),
            delayed,
            in_flight: info.num_ack_pending.saturating_sub(ahead + delayed).max(state.leased()),
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

/// How long a message waits for its next attempt by the schedule, spread by 10 % so that many do not come as one.
pub(crate) fn backoff(policy: &RetryPolicy, attempt: u32, epoch: u64) -> Duration {
    let mut mixed = epoch.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let jitter = f64::from((mixed >> 32) as u32) / f64::from(u32::MAX);
    policy.delay_after(attempt).mul_f64(0.9 + 0.2 * jitter)
}

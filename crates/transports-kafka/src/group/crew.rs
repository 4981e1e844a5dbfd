//! One group or named consumer on this node: what its members, its pump and those who settle share.

pub(super) mod found;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use busgate_core::{Error, Group, Holder, Moment, Result, SubscribeOptions};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use super::{
    Groups,
    client::Inbox,
    lag::Stand,
    state::{
        End, State,
        settling::{Ask, Settling},
        wakes::Wakes,
    },
};
use crate::{asker::Bounds, error::closed, event::Event, shared::Shared, shelf::Store};

/// A group or named consumer on this node.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(super) shared: Arc<Shared>,
    pub(super) event: Arc<Event>,
    pub(super) holder: Holder,
    /// Its name on the broker.
    pub(super) id: String,
    /// What it sets aside.
    pub(super) store: Store,
    pub(super) inbox: Arc<Inbox>,
    /// Whether the broker leads groups, as far as this node knows.
    pub(super) is_led: Arc<AtomicBool>,
    pub(super) state: Mutex<State>,
    pub(super) phase: watch::Sender<Phase>,
}

/// How far a crew has come.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// It finds out where the group stands, and joins it.
    Opening,
    /// It is a member, or was one for a while.
    Open,
    /// It is over.
    Gone(Option<Error>),
}

impl Crew {
    pub(super) fn new(groups: &Groups, event: Arc<Event>, holder: Holder, id: String) -> Arc<Self> {
        let (shared, is_led) = (Arc::clone(&groups.shared), Arc::clone(&groups.is_led));
        let (phase, _) = watch::channel(Phase::Opening);
        let (inbox, state) = (Arc::default(), Mutex::new(State::new()));
        let store = Store::new(&shared.config, &event, &id);
        Arc::new(Self { shared, event, holder, id, store, inbox, is_led, state, phase })
    }

    pub(super) fn now(&self) -> Moment {
        Moment { at: Instant::now(), wall: self.shared.now() }
    }

    pub(super) fn wake(&self, wakes: Wakes) {
        if wakes.pump {
            self.inbox.wake.notify_one();
        }
        wakes.wake();
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Gone(_))
    }

    /// Waits until it is open.
    ///
    /// # Errors
    /// Why it can't be.
    pub(crate) async fn opened(&self) -> Result<()> {
        let mut phase = self.phase.subscribe();
        match phase.wait_for(|phase| !matches!(phase, Phase::Opening)).await.as_deref() {
            Ok(Phase::Gone(Some(error))) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(closed()),
        }
    }

    /// Waits until it is over.
    pub(super) async fn gone(&self) {
        // It can't go without its sender.
        let _ = self.phase.subscribe().wait_for(|phase| matches!(phase, Phase::Gone(_))).await;
    }

    /// Takes a subscription in; whether it is not over.
    pub(super) fn join(&self, member: u64, options: &SubscribeOptions) -> bool {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        let is_open = state.end.is_none();
        if is_open {
            state.join(&self.holder, member, options, Instant::now(), &mut wakes);
        }
        drop(state);
        self.wake(wakes);
        is_open
    }

    pub(super) fn members(&self) -> usize {
        self.state.lock().members()
    }

    /// Lets go of what retention has: before these offsets, one for each partition.
    pub(super) fn trim(&self, begins: &[i64]) -> Result<()> {
        let (now, mut wakes) = (Instant::now(), Wakes::default());
        let mut state = self.state.lock();
        if state.end.is_some() {
            // Nobody would be told, and the next crew would not find out.
            return Ok(());
        }
        let mut missed = 0;
        for (partition, begin) in (0..).zip(begins) {
            let begin = u64::try_from(*begin).unwrap_or(0);
            if let Some(track) = state.tracks.get_mut(&partition) {
                missed += track.trim(begin, now);
            }
        }
        if missed > 0 {
            let gap = self.event.gap(Some(missed), begins)?;
            state.gaps.push_back(gap);
            state.wake_for_work(now, &mut wakes);
            wakes.pump = true;
        }
        drop(state);
        self.wake(wakes);
        Ok(())
    }

    /// Begins a partition anew that ends before what was read of it: it was made anew, or cut off.
    pub(super) fn go_on(&self, partition: i32, bounds: Bounds, begins: &[i64]) {
        let mut state = self.state.lock();
        let Some(track) = state.tracks.get_mut(&partition) else { return };
        if track.position() <= u64::try_from(bounds.end).unwrap_or(0) {
            return;
        }
        track.restart(u64::try_from(bounds.begin).unwrap_or(0), Instant::now());
        match self.event.gap(None, begins) {
            Ok(gap) => state.gaps.push_back(gap),
            Err(error) => tracing::warn!(%error, group = self.id, "a gap can't be told"),
        }
    }

    /// Lets a subscription go.
    pub(crate) fn leave(&self, member: u64) {
        let mut wakes = Wakes::default();
        self.state.lock().leave(member, Instant::now(), &mut wakes);
        self.wake(wakes);
    }

    /// Settles what belongs to partitions that are held here.
    pub(crate) fn settle(&self, asks: &[Ask]) -> Settling {
        let (now, mut wakes) = (self.now(), Wakes::default());
        let mut state = self.state.lock();
        let of_this_life = asks.iter().filter(|ask| ask.entry.life == self.event.life);
        let settling = state.settle(now, of_this_life, &mut wakes);
        state.idle_since = now.at;
        drop(state);
        self.wake(wakes);
        settling
    }

    /// From now on a newer subscription of the same consumer, on whichever node, ends this member.
    pub(crate) fn settle_in(&self, member: u64) {
        self.state.lock().settle_in(member);
    }

    /// The consumer has subscribed on another node.
    pub(crate) fn take_over(&self) {
        let mut wakes = Wakes::default();
        self.state.lock().take_over(Instant::now(), &mut wakes);
        self.wake(wakes);
    }

    /// Ends it, for this reason.
    pub(super) fn finish(&self, end: End) {
        let mut wakes = Wakes::default();
        wakes.pump = true;
        self.state.lock().finish(end, &mut wakes);
        self.wake(wakes);
    }

    /// How far the group is in the partitions held here, and how many members it has here.
    pub(super) fn stands(&self) -> (BTreeMap<i32, Stand>, usize) {
        let state = self.state.lock();
        let stand = |group: &Group| Stand {
            frontier: group.frontier(),
            held: group.held() as u64,
            leased: group.leased() as u64,
            delayed: group.delayed() as u64,
        };
        let stands = state.tracks.iter().map(|(partition, track)| (*partition, stand(&track.group)));
        (stands.collect(), state.members())
    }
}

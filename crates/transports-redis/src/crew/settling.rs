//! What becomes of a crew's deliveries that are settled.

use std::time::Duration;

use tokio::time::Instant;

use super::{Crew, State};
use crate::id::EntryId;

/// What is known of a delivery that is being settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ours {
    /// After how long it comes back when it is nacked without a delay, spread so that not all come at once.
    pub(crate) backoff: Duration,
    /// As in [`super::Taken`]; nothing when it is being settled already.
    pub(crate) place: Option<u16>,
}

impl Crew {
    /// Deliveries are being settled, by entry, epoch, and whether that ends them. Answers what is known of those that are ours.
    pub(crate) fn settling(
        &self,
        deliveries: impl Iterator<Item = (EntryId, u64, bool)>,
    ) -> Vec<Option<Ours>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let spread = 0.9 + fastrand::f64() / 5.0;
        let ours = |(id, epoch, ends)| {
            let held = state.held.get_mut(&id).filter(|held| held.epoch == epoch)?;
            let was_leaving = held.leaving;
            if ends
                && !std::mem::replace(&mut held.leaving, true)
                && let Some(seat) = state.seats.get_mut(&held.serial)
            {
                seat.leaving += 1;
                if !seat.items.is_empty() {
                    seat.wake();
                }
            }
            let backoff = held.policy.delay_after(held.attempt).mul_f64(spread);
            Some(Ours { backoff, place: held.place.filter(|_| !was_leaving) })
        };
        deliveries.map(ours).collect()
    }

    /// The call that settles is on its way: who waits for the places that it frees asks right behind it.
    pub(crate) fn ask_behind(&self) {
        let state = self.state.lock();
        if !state.idle.is_empty() && state.is_rung() {
            self.alarm.notify_one();
        }
    }

    /// Deliveries were not settled after all.
    pub(crate) fn not_settled(&self, deliveries: impl Iterator<Item = (EntryId, u64)>) {
        let mut state = self.state.lock();
        let state = &mut *state;
        for (id, epoch) in deliveries {
            let held = state.held.get_mut(&id).filter(|held| held.epoch == epoch && held.leaving);
            let Some(held) = held else { continue };
            held.leaving = false;
            if let Some(seat) = state.seats.get_mut(&held.serial) {
                seat.leaving = seat.leaving.saturating_sub(1);
            }
        }
    }

    /// Deliveries were settled, by entry, epoch, and for how long they go on if they do.
    pub(crate) fn settled(
        &self,
        deliveries: impl Iterator<Item = (EntryId, u64, Option<Duration>)>,
        came_back: bool,
    ) {
        let mut state = self.state.lock();
        for (id, epoch, extended) in deliveries {
            state.settled(id, epoch, extended);
        }
        if came_back {
            state.look_at = None;
        }
        let waits = !state.idle.is_empty() && state.is_rung();
        drop(state);
        if waits {
            self.alarm.notify_one();
        }
    }
}

impl State {
    fn settled(&mut self, id: EntryId, epoch: u64, extended: Option<Duration>) {
        let Some(held) = self.held.get_mut(&id).filter(|held| held.epoch == epoch) else { return };
        let Some(extended) = extended else { return self.free(id) };
        held.until = Instant::now() + extended;
        if held.yielded.is_none() {
            held.yielded = Some(Instant::now());
            self.seats.entry(held.serial).and_modify(|seat| seat.yielded += 1);
        }
        // An earlier start would cut it short.
        held.told = true;
        self.check_at = self.check_at.min(held.until);
    }
}

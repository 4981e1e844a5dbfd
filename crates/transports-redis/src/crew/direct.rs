//! What is published here and goes straight to the crew: the script that adds it hands it out as well.

use std::{
    mem::take,
    sync::{Arc, atomic::Ordering},
};

use busgate_core::Holder;
use tokio::time::Instant;

use super::{Crew, LOOK, State, Taken, plan::Plan};
use crate::link::Line;

/// Room in a crew for messages that are on their way to the stream. As long as there is any, the crew takes nothing else, so
/// that what comes keeps its order.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) crew: Arc<Crew>,
    pub(crate) plan: Plan,
    /// What is handed out stays ours for a while from here.
    asked: Instant,
    is_filled: bool,
}

impl Crew {
    /// Room for so many messages, unless something goes before them: what there may be on the server, or a turn.
    pub(crate) fn room(self: &Arc<Self>, line: &Line, count: usize) -> Option<Room> {
        let known = self.answered_on.load(Ordering::Relaxed) == line.number;
        if !known || !matches!(self.holder, Holder::Group(_)) {
            return None;
        }
        let (asked, mut plan) = (Instant::now(), Plan { want: count, ..Plan::default() });
        let mut state = self.state.lock();
        if !state.is_through(asked) {
            return None;
        }
        plan.seats = state.reserve(count)?;
        plan.life = state.life;
        state.rooms += 1;
        drop(state);
        Some(Room { crew: Arc::clone(self), plan, asked, is_filled: false })
    }
}

impl Room {
    /// The messages were added, and the group has taken them.
    pub(crate) fn fill(mut self, taken: Vec<Taken>) {
        let crew = Arc::clone(&self.crew);
        let mut state = crew.state.lock();
        state.asked(&self.plan);
        let seats = take(&mut self.plan.seats);
        // Of an earlier life they are of no use.
        if state.life == self.plan.life {
            state.read_to = taken.last().map_or(state.read_to, |last| state.read_to.max(last.id));
            state.hand_on(None, taken, &seats, self.asked);
            self.is_filled = true;
        }
        drop(state);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.crew.state.lock();
        state.asked(&self.plan);
        state.rooms -= 1;
        if !self.is_filled {
            // Whatever became of the messages, they are looked for; and others seem to be about.
            state.look_at = None;
            state.no_room_before = Some(Instant::now() + LOOK);
        }
        drop(state);
        self.crew.alarm.notify_one();
    }
}

impl State {
    /// Asks for so many messages, for those who wait first; nothing when there is not room for all of them.
    fn reserve(&mut self, count: usize) -> Option<Vec<(u64, usize)>> {
        let others = self.seats.keys().filter(|serial| !self.idle.contains(serial));
        let (mut left, mut shares) = (count, Vec::new());
        for serial in self.idle.iter().chain(others) {
            let share = self.seats.get(serial).map_or(0, |seat| seat.room().min(left));
            left -= share;
            shares.push((*serial, share));
        }
        if left > 0 {
            return None;
        }
        for (serial, share) in &shares {
            self.seats.entry(*serial).and_modify(|seat| seat.asked += share);
        }
        Some(shares)
    }

    /// Whether the group had come to the end of the stream, nothing was heard of since, no turn is due or on its way, and
    /// nothing came in between lately.
    fn is_through(&self, now: Instant) -> bool {
        self.through
            && !self.is_rung()
            && self.turns == 0
            && self.look_at.is_some_and(|at| at > now)
            && self.no_room_before.is_none_or(|at| at <= now)
    }
}

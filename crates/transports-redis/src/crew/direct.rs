//! What is published here and goes straight to the crew: the script that adds it hands it out as well.

use std::{
    mem::take,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use busgate_core::Holder;
use tokio::time::Instant;

use super::{Crew, State, Taken, plan::Plan};

/// How long nothing goes straight to the crew after something else went before it: what is refused is read after all.
const PAUSE: Duration = Duration::from_millis(100);

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
    /// Room for so many messages that go out on this line, unless something goes before them: what there may be on the
    /// server, or a turn.
    pub(crate) fn room(self: &Arc<Self>, line: u64, count: usize) -> Option<Room> {
        let known = self.answered_on.load(Ordering::Relaxed) == line;
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
            state.no_room_before = Some(Instant::now() + PAUSE);
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

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::crew::{
        plan::tests::{crew, entry, planned, polled, taken},
        turn::Brought,
    };

    /// The line that turns were answered on.
    const LINE: u64 = 0;

    /// The turn found nothing, but what it left.
    fn answered(crew: &Crew, plan: &Plan, more: bool) {
        crew.state.lock().turns -= 1;
        let mut brought = Brought::default();
        brought.more = more;
        crew.take_in(brought, plan, Instant::now());
    }

    /// A crew of one, with a window, that has come to the end.
    fn through(window: usize) -> Arc<Crew> {
        let crew = Arc::new(crew(window));
        answered(&crew, &planned(&crew).unwrap(), false);
        crew
    }

    fn has_room(crew: &Arc<Crew>) -> bool {
        let mut room = crew.room(LINE, 1);
        // That it was not filled is of no matter here.
        room.iter_mut().for_each(|room| room.is_filled = true);
        room.is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_no_room_while_a_turn_is_due_or_on_its_way() {
        // More than one turn asks for.
        let crew = Arc::new(crew(200));
        assert!(!has_room(&crew), "it has never looked");
        let plan = planned(&crew).unwrap();
        assert!(!has_room(&crew), "a turn is on its way");
        answered(&crew, &plan, false);
        assert!(has_room(&crew));
        assert!(crew.room(LINE + 1, 1).is_none(), "it may be another server");
        crew.ring();
        assert!(!has_room(&crew), "there may be something");
        let plan = planned(&crew).unwrap();
        assert!(!has_room(&crew), "what it finds goes first");
        answered(&crew, &plan, false);
        assert!(has_room(&crew));
        crew.ring_for(entry(7));
        assert!(!has_room(&crew), "there is something");
        answered(&crew, &planned(&crew).unwrap(), true);
        assert!(!has_room(&crew), "the turn left some");
        crew.ring();
        answered(&crew, &planned(&crew).unwrap(), false);
        assert!(has_room(&crew));
        advance(Duration::from_secs(2)).await;
        assert!(!has_room(&crew), "it is time to look again");
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_room_for_a_batch_that_fits() {
        let crew = through(10);
        assert!(crew.room(LINE, 11).is_none());
        let first = crew.room(LINE, 6).unwrap();
        assert!(crew.room(LINE, 5).is_none(), "room is given once");
        let second = crew.room(LINE, 4).unwrap();
        assert!(crew.room(LINE, 1).is_none());
        first.fill((0..6).map(taken).collect());
        assert!(crew.room(LINE, 1).is_none(), "what filled it is held");
        second.fill((6..10).map(taken).collect());
        let yielded: Vec<_> = std::iter::from_fn(|| polled(&crew)).collect();
        assert_eq!(yielded, (0..10).map(entry).collect::<Vec<_>>());
        assert!(crew.room(LINE, 1).is_none(), "nothing of it was settled");
        crew.settled([(entry(3), 1, None)].into_iter(), false);
        assert!(crew.room(LINE, 2).is_none());
        assert!(has_room(&crew));
    }

    #[tokio::test(start_paused = true)]
    async fn what_did_not_come_is_looked_for() {
        let crew = through(10);
        crew.room(LINE, 1).unwrap().fill(vec![taken(0)]);
        assert_eq!([polled(&crew), polled(&crew)], [Some(entry(0)), None]);
        assert!(planned(&crew).is_none(), "it has what there was");
        drop(crew.room(LINE, 1).unwrap());
        let plan = planned(&crew).unwrap();
        assert_eq!(plan.want, 9, "a room that is gone asks for nothing");
        answered(&crew, &plan, false);
        assert!(!has_room(&crew), "others seem to be about");
        advance(PAUSE).await;
        let late = crew.room(LINE, 1).unwrap();
        crew.state.lock().begin_anew(2);
        late.fill(vec![taken(1)]);
        assert!(polled(&crew).is_none(), "it is of another life");
        assert_eq!(planned(&crew).unwrap().want, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn while_there_is_room_turns_take_nothing() {
        let crew = through(200);
        crew.room(LINE, 1).unwrap().fill(vec![taken(0)]);
        assert_eq!([polled(&crew), polled(&crew)], [Some(entry(0)), None]);
        let room = crew.room(LINE, 1).unwrap();
        let beside = || crew.state.lock().plan_beside(Instant::now());
        crew.ring();
        assert!(planned(&crew).is_none());
        assert!(beside().is_none());
        advance(Duration::from_millis(150)).await;
        let plan = planned(&crew).unwrap();
        assert_eq!((plan.want, plan.starts.len()), (0, 1), "a lease is told all the same");
        assert!(planned(&crew).is_none(), "once");
        drop(room);
        assert!(beside().is_some());
        crew.ring();
        assert!(planned(&crew).unwrap().want > 0);
    }
    #[tokio::test(start_paused = true)]
    async fn what_came_back_while_there_was_room_is_taken_after_it() {
        let crew = through(200);
        crew.room(LINE, 1).unwrap().fill(vec![taken(0)]);
        assert_eq!([polled(&crew), polled(&crew)], [Some(entry(0)), None]);
        let room = crew.room(LINE, 1).unwrap();
        advance(Duration::from_millis(150)).await;
        let plan = planned(&crew).unwrap();
        assert_eq!(plan.want, 0);
        crew.take_in(Brought::default(), &plan, Instant::now());
        room.fill(vec![taken(1)]);
        assert_eq!([polled(&crew), polled(&crew)], [Some(entry(1)), None]);
        assert!(planned(&crew).unwrap().want > 0, "that turn may have made something ready");
    }
}

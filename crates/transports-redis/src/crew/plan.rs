//! What a turn of a crew has to do, and to whom what it brought goes.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use busgate_core::Gap;
use tokio::time::Instant;

use super::{AHEAD, LOOK, PORTION, SeatItem, State, Taken};
use crate::id::EntryId;

/// What is added to a lease when it is told: both clocks round down, and no lease may end early.
const ROUNDED: Duration = Duration::from_millis(5);

/// How many leases are told of at once.
const MOST_STARTS: usize = 1000;

/// What a turn does.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) life: u64,
    pub(super) member: String,
    pub(super) want: usize,
    /// For whom, and how many for each.
    pub(super) seats: Vec<(u64, usize)>,
    /// How many are read at first: as many as fit, by the size of those that came last.
    pub(super) chunk: usize,
    /// Whether keys are expected.
    pub(super) keyed: bool,
    /// Whether it takes nothing because of what is being published.
    pub(super) yields: bool,
    pub(super) returns: Vec<(EntryId, u64)>,
    /// Leases by entry, epoch, how long they run, and whether they were yielded.
    pub(super) starts: Vec<(EntryId, u64, Duration, bool)>,
}

/// How many messages are worth a turn beside one that is on its way.
const WORTH: usize = 64;

/// What there is to do.
pub(super) enum Next {
    Turn(Plan),
    Sleep(Instant),
    Over,
}

impl State {
    /// What there is to do beside the turns that are on their way: a turn for whoever has room for what those did not ask
    /// for.
    pub(super) fn plan_beside(&mut self, now: Instant) -> Option<Plan> {
        let asked: usize = self.seats.values().map(|seat| seat.asked).sum();
        let worth = self.rooms == 0 && self.is_rung() && self.demand() >= WORTH.max(asked / 2);
        let Next::Turn(plan) = worth.then(|| self.plan(now))? else { return None };
        Some(plan)
    }

    /// What there is to do now.
    pub(super) fn plan(&mut self, now: Instant) -> Next {
        let stale = now >= self.check_at && self.check(now);
        // What is being published for the group comes first.
        let (want, free) = if self.rooms == 0 { (self.demand(), true) } else { (0, false) };
        let told = self.since.is_some_and(|since| since <= now);
        let looks = self.look_at.is_none_or(|at| at <= now) && (want > 0 || self.look_at.is_some());
        let looks = free && (looks || want > 0 && self.is_rung());
        if self.returns.is_empty() && !told && !stale && !looks {
            return Next::Sleep(self.wake_at(now, want));
        }
        let Self { life, chunk, keyed, .. } = *self;
        let member = self.member.clone();
        let mut plan = Plan { life, member, want, chunk, keyed, yields: !free, ..Plan::default() };
        plan.returns = std::mem::take(&mut self.returns);
        self.begin(&mut plan, now);
        if stale {
            let ahead = self.held.iter().filter(|(_, held)| held.yielded.is_none());
            plan.starts.extend(ahead.map(|(id, held)| (*id, held.epoch, AHEAD, false)));
        }
        // Whoever rings from now on is not answered by this turn.
        if free && (want > 0 || self.look_at.is_some()) {
            self.look_at = Some(now + LOOK);
        }
        if want > 0 {
            self.turns += 1;
            self.read_to = self.read_to.max(self.there_is);
            self.ask(&mut plan);
        }
        Next::Turn(plan)
    }

    /// Notes for whom the turn asks.
    fn ask(&mut self, plan: &mut Plan) {
        let mut left = plan.want;
        for serial in &self.idle {
            let Some(seat) = self.seats.get_mut(serial) else { continue };
            let share = seat.room().min(PORTION).min(left);
            seat.asked += share;
            left -= share;
            plan.seats.push((*serial, share));
        }
    }

    /// The turn has been answered, or never will be.
    pub(super) fn asked(&mut self, plan: &Plan) {
        for (serial, share) in &plan.seats {
            if let Some(seat) = self.seats.get_mut(serial) {
                seat.asked = seat.asked.saturating_sub(*share);
            }
        }
    }

    /// Lets go of what ended; answers whether something that was read ahead has to be renewed.
    fn check(&mut self, now: Instant) -> bool {
        let ended: Vec<_> =
            self.held.iter().filter(|(_, held)| held.until <= now).map(|(id, _)| *id).collect();
        ended.into_iter().for_each(|id| self.free(id));
        let ends = self.held.values().map(|held| match held.yielded {
            Some(_) => held.until,
            None => held.until.checked_sub(AHEAD / 2).unwrap_or(now),
        });
        self.check_at = ends.min().unwrap_or(now + Duration::from_secs(3600));
        self.held.values().any(|held| held.yielded.is_none() && held.until <= now + AHEAD / 2)
    }

    /// Has the turn tell of the leases that have to be told by now: most are settled before that.
    fn begin(&mut self, plan: &mut Plan, now: Instant) {
        if self.since.is_none_or(|since| since > now) {
            return;
        }
        self.since = None;
        for (id, told_by) in std::mem::take(&mut self.starts) {
            let Some(held) = self.held.get_mut(&id).filter(|held| held.yielded.is_some() && !held.told)
            else {
                continue;
            };
            if told_by <= now && plan.starts.len() < MOST_STARTS {
                held.told = true;
                let left = held.until.saturating_duration_since(now) + ROUNDED;
                plan.starts.push((id, held.epoch, left, true));
            } else {
                self.since = Some(self.since.map_or(told_by, |since| since.min(told_by)));
                self.starts.push_back((id, told_by));
            }
        }
    }

    /// How many messages the idle can take.
    fn demand(&self) -> usize {
        let seats = self.idle.iter().filter_map(|serial| self.seats.get(serial));
        seats.map(|seat| seat.room().min(PORTION)).sum::<usize>().min(PORTION * 4)
    }

    /// When to plan again if nobody calls.
    fn wake_at(&self, now: Instant, want: usize) -> Instant {
        let look = self.look_at.filter(|_| self.rooms == 0 && (want > 0 || !self.held.is_empty()));
        let ends = Some(self.check_at).filter(|_| !self.held.is_empty());
        look.into_iter().chain(self.since).chain(ends).min().unwrap_or(now + Duration::from_secs(3600))
    }

    /// Deals what came to those who wait, one each, longest first; what is left, to those it was asked for.
    pub(super) fn hand_on(
        &mut self,
        mut gap: Option<Gap>,
        taken: Vec<Taken>,
        seats: &[(u64, usize)],
        asked: Instant,
    ) {
        let mut left = VecDeque::from(taken);
        for taken in &left {
            // If it was ours before, its end was not noticed here yet.
            self.free(taken.id);
        }
        let idle = std::mem::take(&mut self.idle);
        self.deal(idle, &mut gap, &mut left, asked);
        let others = seats.iter().map(|(serial, _)| *serial).filter(|serial| !self.idle.contains(serial));
        self.deal(others.collect(), &mut gap, &mut left, asked);
        // Nobody is there any more to take it.
        self.returns.extend(left.into_iter().map(|taken| (taken.id, taken.epoch)));
    }

    /// Deals to these seats, and wakes those that got something; the others wait on.
    fn deal(
        &mut self,
        seats: VecDeque<u64>,
        gap: &mut Option<Gap>,
        left: &mut VecDeque<Taken>,
        asked: Instant,
    ) {
        let mut line = seats.clone();
        while !left.is_empty() || gap.is_some() {
            let Some(serial) = line.pop_front() else { break };
            let Some(seat) = self.seats.get_mut(&serial) else { continue };
            if let Some(gap) = gap.take() {
                seat.items.push_back(SeatItem::Gap(gap));
                seat.idle = false;
            }
            if seat.room() == 0 {
                continue;
            }
            if let Some(taken) = left.pop_front() {
                let policy = Arc::clone(&seat.policy);
                let Taken { epoch, attempt, place, .. } = taken;
                let held = super::Held {
                    serial,
                    epoch,
                    place,
                    until: asked + AHEAD,
                    yielded: None,
                    told: false,
                    leaving: false,
                    attempt,
                    policy,
                };
                self.check_at = self.check_at.min(held.until.checked_sub(AHEAD / 2).unwrap_or(asked));
                self.held.insert(taken.id, held);
                seat.held += 1;
                seat.items.push_back(SeatItem::Taken(taken));
                seat.idle = false;
            }
            line.push_back(serial);
        }
        for serial in seats {
            match self.seats.get_mut(&serial) {
                Some(seat) if seat.idle => self.idle.push_back(serial),
                Some(seat) => seat.wake(),
                None => {}
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::task::Waker;

    use busgate_core::{EventName, GroupName, Holder, Message, MessageId, Start, SubscribeOptions};

    use super::*;
    use crate::{
        crew::{Crew, Poll, turn::Brought},
        topic::Topic,
    };

    /// A crew of one, with a window, whose member waits.
    pub(in crate::crew) fn crew(window: usize) -> Crew {
        let config = "redis://127.0.0.1".parse().unwrap();
        let topic = Topic::new(&config, &EventName::new("orders").unwrap()).unwrap();
        let crew = Crew::new(Arc::new(topic), Holder::Group(GroupName::default()), 1);
        let mut options = SubscribeOptions::pool(GroupName::default(), Start::Beginning);
        options.max_in_flight = window;
        assert!(crew.join(1, &options, "", None, 1));
        assert!(polled(&crew).is_none());
        crew
    }

    /// What its member finds.
    pub(in crate::crew) fn polled(crew: &Crew) -> Option<EntryId> {
        match crew.poll(1, Waker::noop()) {
            Poll::Taken(taken, _) => Some(taken.id),
            _ => None,
        }
    }

    /// The turn that it takes now, if any.
    pub(in crate::crew) fn planned(crew: &Crew) -> Option<Plan> {
        match crew.state.lock().plan(Instant::now()) {
            Next::Turn(plan) => Some(plan),
            _ => None,
        }
    }

    pub(in crate::crew) fn entry(seq: usize) -> EntryId {
        EntryId { ms: 1, seq: seq as u64 }
    }

    pub(in crate::crew) fn taken(seq: usize) -> Taken {
        let message = Arc::new(Message::new(MessageId::generate(), ""));
        Taken { id: entry(seq), epoch: 1, attempt: 1, place: None, message }
    }

    /// What the turn brings: as many as it wanted.
    fn brought(crew: &Crew, plan: &Plan, from: usize) {
        let taken = (from..from + plan.want).map(taken);
        let mut state = crew.state.lock();
        state.asked(plan);
        state.hand_on(None, taken.collect(), &plan.seats, Instant::now());
        assert!(state.returns.is_empty(), "nothing is asked for in vain");
    }

    #[tokio::test(start_paused = true)]
    async fn turns_beside_each_other_ask_for_no_more_than_the_window() {
        let crew = crew(300);
        let first = planned(&crew).unwrap();
        let beside = || crew.state.lock().plan_beside(Instant::now());
        assert!(beside().is_none(), "nothing has come since");
        crew.ring();
        let second = beside().unwrap();
        crew.ring();
        assert!(beside().is_none(), "little room is not worth a turn beside others");
        assert_eq!((first.want, second.want), (PORTION, PORTION));
        brought(&crew, &first, 0);
        brought(&crew, &second, first.want);
        let yielded: Vec<_> = std::iter::from_fn(|| polled(&crew)).collect();
        assert_eq!(yielded, (0..2 * PORTION).map(entry).collect::<Vec<_>>());
        assert_eq!(planned(&crew).unwrap().want, 300 - 2 * PORTION);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_turn_left_is_asked_for_by_several() {
        let crew = crew(4 * PORTION);
        let beside = || crew.state.lock().plan_beside(Instant::now());
        let answered = |plan: &Plan, from: usize, more: bool| {
            let message = || Message::new(MessageId::generate(), "");
            let mut brought = Brought::default();
            (brought.run, brought.more) =
                ((from..from + 8).map(|nth| (entry(nth), message())).collect(), more);
            crew.take_in(brought, plan, Instant::now());
            while polled(&crew).is_some() {}
        };
        let first = planned(&crew).unwrap();
        assert!(beside().is_none(), "whether there is more is not known yet");
        answered(&first, 0, true);
        let (second, _third) = (planned(&crew).unwrap(), beside().unwrap());
        answered(&second, 8, false);
        assert!(beside().is_none(), "nothing was left");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_being_settled_takes_no_room() {
        let crew = crew(2);
        brought(&crew, &planned(&crew).unwrap(), 0);
        assert_eq!([polled(&crew), polled(&crew), polled(&crew)], [Some(entry(0)), Some(entry(1)), None]);
        crew.ring();
        assert!(planned(&crew).is_none(), "there is no room");
        crew.settling([(entry(0), 1, true), (entry(1), 1, false)].into_iter());
        let plan = planned(&crew).unwrap();
        assert_eq!(plan.want, 1, "what is extended stays");
        brought(&crew, &plan, 2);
        assert_eq!([polled(&crew), polled(&crew)], [Some(entry(2)), None], "who had it is done with it");
        crew.settled([(entry(0), 1, None)].into_iter(), false);
        crew.ring();
        assert!(planned(&crew).is_none(), "that place is taken");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_settled_keeps_its_place() {
        let crew = crew(1);
        brought(&crew, &planned(&crew).unwrap(), 0);
        assert_eq!([polled(&crew), polled(&crew)], [Some(entry(0)), None]);
        crew.ring();
        crew.settling([(entry(0), 1, true)].into_iter());
        crew.not_settled([(entry(0), 1)].into_iter());
        assert!(planned(&crew).is_none(), "there is no room");
        assert!(polled(&crew).is_none());
        crew.settled([(entry(0), 1, None)].into_iter(), false);
        assert_eq!(planned(&crew).unwrap().want, 1);
    }
}

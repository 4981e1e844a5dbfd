//! What a turn of a crew has to do, and to whom what it brought goes.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{AHEAD, LOOK, PORTION, Seat, SeatItem, State, Taken};
use crate::id::EntryId;

/// What is added to a lease when it is told: both clocks round down, and no lease may end early.
const ROUNDED: Duration = Duration::from_millis(5);

/// How many leases are told of at once.
const MOST_STARTS: usize = 1000;

/// What a turn does.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) life: u64,
    pub(super) member: String,
    pub(super) want: usize,
    /// Up to where there is something to read, as was known then.
    pub(super) there_is: EntryId,
    /// How many are read at first: as many as fit, by the size of those that came last.
    pub(super) chunk: usize,
    pub(super) returns: Vec<(EntryId, u64)>,
    /// Leases by entry, epoch, how long they run, and whether they were yielded.
    pub(super) starts: Vec<(EntryId, u64, Duration, bool)>,
}

/// What there is to do.
pub(super) enum Next {
    Turn(Plan),
    Sleep(Instant),
    Over,
}

impl State {
    /// What there is to do now.
    pub(super) fn plan(&mut self, now: Instant) -> Next {
        let stale = now >= self.check_at && self.check(now);
        let want = self.demand();
        let told = self.since.is_some_and(|since| since <= now);
        let looks = self.look_at.is_none_or(|at| at <= now) && (want > 0 || self.look_at.is_some());
        let looks = looks || want > 0 && self.is_rung();
        if self.returns.is_empty() && !told && !stale && !looks {
            return Next::Sleep(self.wake_at(now, want));
        }
        let mut plan = Plan {
            life: self.life,
            member: self.member.clone(),
            want,
            there_is: self.there_is,
            chunk: self.chunk,
            ..Plan::default()
        };
        plan.returns = std::mem::take(&mut self.returns);
        self.begin(&mut plan, now);
        if stale {
            let ahead = self.held.iter().filter(|(_, held)| held.yielded.is_none());
            plan.starts.extend(ahead.map(|(id, held)| (*id, held.epoch, AHEAD, false)));
        }
        // Whoever rings from now on is not answered by this turn.
        if want > 0 || self.look_at.is_some() {
            self.look_at = Some(now + LOOK);
        }
        Next::Turn(plan)
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
        let look = self.look_at.filter(|_| want > 0 || !self.held.is_empty());
        let ends = Some(self.check_at).filter(|_| !self.held.is_empty());
        look.into_iter().chain(self.since).chain(ends).min().unwrap_or(now + Duration::from_secs(3600))
    }

    /// Deals what came to those who wait, one each, longest first.
    pub(super) fn hand_on(&mut self, gap: Option<busgate_core::Gap>, taken: Vec<Taken>, asked: Instant) {
        let mut gap = gap;
        let mut left = std::collections::VecDeque::from(taken);
        let mut full = Vec::new();
        while !left.is_empty() || gap.is_some() {
            let Some(serial) = self.idle.pop_front() else { break };
            // If it was ours before, its end was not noticed here yet.
            left.front().map(|taken| taken.id).into_iter().for_each(|id| self.free(id));
            let Some(seat) = self.seats.get_mut(&serial) else { continue };
            if let Some(gap) = gap.take() {
                seat.items.push_back(SeatItem::Gap(gap));
            } else if seat.room() == 0 {
                full.push(serial);
                continue;
            }
            if seat.room() > 0
                && let Some(taken) = left.pop_front()
            {
                let (epoch, attempt, policy) = (taken.epoch, taken.attempt, Arc::clone(&seat.policy));
                let held = super::Held {
                    serial,
                    epoch,
                    until: asked + AHEAD,
                    yielded: None,
                    told: false,
                    attempt,
                    policy,
                };
                self.check_at = self.check_at.min(held.until.checked_sub(AHEAD / 2).unwrap_or(asked));
                self.held.insert(taken.id, held);
                seat.held += 1;
                seat.items.push_back(SeatItem::Taken(taken));
            }
            seat.idle = false;
            self.idle.push_back(serial);
        }
        for serial in full {
            self.idle.push_back(serial);
        }
        let seats = &mut self.seats;
        self.idle.retain(|serial| {
            let woken = seats.get_mut(serial).filter(|seat| !seat.idle);
            woken.map(Seat::wake).is_none()
        });
        // Nobody is there any more to take it.
        self.returns.extend(left.into_iter().map(|taken| (taken.id, taken.epoch)));
    }
}

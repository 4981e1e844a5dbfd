//! Settling a lease by its token.

use busgate_core::{ConsumerLag, Moment, Outcome, Result, Settled, Settlement};

use crate::{
    burial::Letter,
    codec::Place,
    crew::Wakes,
    registry::Registry,
    topic::{State, Topic},
};

impl Registry {
    /// Settles one lease.
    pub(crate) fn settle(&self, settlement: &Settlement) -> Result<Settled> {
        let token = &settlement.token;
        let place = Place::from_entry(&token.entry)?;
        let Ok(topic) = self.find(&token.event) else {
            self.check_open()?;
            return Ok(Settled::Unknown);
        };
        if topic.incarnation != place.incarnation {
            return Ok(Settled::Unknown);
        }
        let now = self.now();
        let mut wakes = Wakes::default();
        let mut state = topic.lock(now.wall);
        let Some(answer) = settle(&mut state, now, place, settlement, &mut wakes) else {
            return Ok(Settled::Unknown);
        };
        drop(state);
        wakes.wake();
        if answer.alarm {
            topic.alarm.notify_one();
        }
        if let Some(letter) = answer.letter {
            self.bury(&topic, vec![letter]);
        }
        Ok(answer.settled)
    }
}

impl Topic {
    /// How far each holder is.
    pub(crate) fn lag(&self, now: Moment) -> Vec<ConsumerLag> {
        let state = self.lock(now.wall);
        let history = &state.history;
        let lag = state.crews.iter().map(|crew| {
            let group = &crew.group;
            let unread = history.end().saturating_sub(group.frontier().max(history.first()));
            ConsumerLag {
                holder: crew.holder.clone(),
                waiting: Some(unread + group.held() as u64),
                in_flight: group.leased() as u64,
                delayed: group.delayed() as u64,
                members: crew.members() as u64,
            }
        });
        lag.collect()
    }
}

/// What became of a settlement, and what is still to do without the lock.
struct Answer {
    settled: Settled,
    letter: Option<Letter>,
    alarm: bool,
}

fn settle(
    state: &mut State,
    now: Moment,
    place: Place,
    settlement: &Settlement,
    wakes: &mut Wakes,
) -> Option<Answer> {
    let Settlement { token, verb } = settlement;
    let index = state.find_crew(&token.holder)?;
    let crew = state.crews.get_mut(index)?;
    let lessee = crew.group.lessee(place.offset);
    let outcome = crew.group.settle(now, place.offset, token.epoch, verb, jitter(place, token.epoch));
    if !matches!(outcome, Outcome::Stale | Outcome::Unknown | Outcome::Extended(_)) {
        if let Some(member) = lessee {
            crew.wake_member(member, wakes);
        }
        state.wake_for_work(index, now.at, wakes);
    }
    let deadline = state.crews.get(index).and_then(|crew| crew.group.next_deadline());
    let letter = outcome.story().map(|story| Letter::new(&state.history, &token.holder, story.clone()));
    let alarm = state.arm(deadline);
    Some(Answer { settled: outcome.settled(), letter, alarm })
}

/// A number from 0 to 1 that differs from lease to lease (splitmix64).
fn jitter(place: Place, epoch: u64) -> f64 {
    let mut mixed =
        (place.incarnation ^ place.offset.rotate_left(32) ^ epoch).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    f64::from((mixed >> 32) as u32) / f64::from(u32::MAX)
}

//! The one task of an event that has leases: it acts at each deadline, and sleeps in between.

use std::sync::Arc;

use busgate_core::Moment;
use tokio::time::{Instant, sleep_until};

use crate::{
    burial::Letter,
    crew::Wakes,
    registry::Registry,
    topic::{State, Topic},
};

/// Acts at every deadline of the event until it ends.
pub(crate) async fn run(registry: Arc<Registry>, topic: Arc<Topic>) {
    loop {
        let now = registry.now();
        let Some((letters, next)) = turn(&topic, now) else { return };
        registry.bury(&topic, letters);
        let sleep = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => {}
            () = topic.alarm.notified() => {}
        }
    }
}

/// Does what is due; what has to be buried, and when to come again. `None` when the event ended.
fn turn(topic: &Topic, now: Moment) -> Option<(Vec<Letter>, Option<Instant>)> {
    let mut wakes = Wakes::default();
    let mut guard = topic.lock(now.wall);
    let state = &mut *guard;
    if state.end.is_some() {
        return None;
    }
    let mut letters = Vec::new();
    for index in 0..state.crews.len() {
        state.expire(index, now.at, &mut letters, &mut wakes);
    }
    if state.recheck.is_some_and(|at| at <= now.at) {
        state.recheck(now.at, &mut wakes);
    }
    let deadlines = state.crews.iter().filter_map(|crew| crew.group.next_deadline());
    let next = deadlines.chain(state.recheck).min();
    state.armed = next;
    drop(guard);
    wakes.wake();
    Some((letters, next))
}

impl State {
    /// Takes back what ran out in one crew, and wakes who can go on.
    pub(crate) fn expire(
        &mut self,
        index: usize,
        now: Instant,
        letters: &mut Vec<Letter>,
        wakes: &mut Wakes,
    ) {
        let Some(crew) = self.crews.get_mut(index) else { return };
        if crew.group.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        let dead = crew.group.expire(now);
        letters.extend(dead.into_iter().map(|story| Letter::new(&self.history, &crew.holder, story)));
        crew.wake_full(wakes);
        self.wake_for_work(index, now, wakes);
    }

    /// Wakes another idle member of each crew whose messages still wait.
    fn recheck(&mut self, now: Instant, wakes: &mut Wakes) {
        self.recheck = None;
        let end = self.history.end();
        let mut again = false;
        for crew in &mut self.crews {
            crew.wake_for_work(end, wakes);
            again |= crew.has_idle() && crew.group.has_work(end);
        }
        if again {
            self.recheck_after(now);
        }
    }
}

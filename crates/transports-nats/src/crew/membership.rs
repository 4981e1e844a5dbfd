//! Who comes and goes, and who must be told that it is over.

use busgate_core::{Gap, Holder, SubscribeOptions};

use super::{Crew, State};

impl Crew {
    /// Takes a subscription in. A consumer has one: an earlier one finds its seat gone, and what it did not settle
    /// comes again.
    pub(crate) fn join(&self, member: u64, options: &SubscribeOptions, gap: Option<Gap>) {
        if matches!(self.holder, Holder::Consumer(_)) {
            self.dismiss();
        }
        self.change(|state, _| {
            state.latest = member;
            state.seats.join(member, options, gap);
        });
        self.alarm.notify_one();
    }

    /// Ends every subscription: another one took over.
    pub(crate) fn dismiss(&self) {
        self.change(|state, wakes| {
            let lost = state.book.leases_of(state.latest);
            state.dismissed.extend(lost);
            state.seats.dismiss(wakes);
        });
        self.alarm.notify_one();
    }

    /// Lets a subscription go. What it read ahead and nobody else has room for goes back at once.
    pub(crate) fn leave(&self, member: u64) {
        let unread = self.change(|state, wakes| {
            if !state.seats.leave(member) {
                return None;
            }
            // The last one's is handed back when the server delivers nothing more.
            let unread = if state.seats.is_empty() { Vec::new() } else { state.unread(wakes) };
            state.wake_for_work(wakes);
            Some(unread)
        });
        if let Some(unread) = unread {
            self.send_all_back(unread);
            self.alarm.notify_one();
        }
    }

    /// Ends every subscription: somebody deleted the consumer, and with it where the group was.
    pub(super) fn give_up(&self) {
        self.change(|state, wakes| {
            state.is_given_up = true;
            state.seats.wake_all(wakes);
        });
    }

    /// Wakes every subscription: the event ended.
    pub(crate) fn wake_all(&self) {
        self.change(|state, wakes| state.seats.wake_all(wakes));
    }

    /// Hands back what more is here than anyone may take.
    pub(super) fn hand_back_unread(&self) {
        let unread = self.change(State::unread);
        self.send_all_back(unread);
    }
}

//! Asking the server for messages, and taking back what was asked for.

use tokio::time::Instant;

use super::{MOMENT, Run};
use crate::{delivery::Delivered, pull::Puller};

impl Run {
    /// Has as many messages asked for as there is room; takes requests back when nobody is there.
    pub(super) async fn keep_asking(&mut self) {
        let outstanding = self.puller.as_ref().map_or(0, Puller::outstanding);
        let (is_empty, room, capacity) = {
            let state = self.crew.state.lock();
            (state.seats.is_empty(), state.room(outstanding), state.seats.capacity())
        };
        if is_empty {
            self.withdraw().await;
            return;
        }
        let now = Instant::now();
        if self.puller.as_ref().and_then(Puller::silent_at).is_some_and(|at| at <= now) {
            tracing::debug!(event = %self.crew.event.name, "the consumer is silent");
            self.start_over().await;
            return;
        }
        if self.retry_at.is_some_and(|at| at > now) {
            return;
        }
        self.retry_at = None;
        if self.puller.is_none() {
            match Puller::open(&self.crew.link, &self.crew.event.stream, &self.crew.consumer).await {
                Ok(puller) => {
                    self.crew.state.lock().is_asking = true;
                    self.puller = Some(puller);
                }
                Err(_) => self.retry_at = Some(now + MOMENT),
            }
        }
        // Many small requests would cost as much as the messages.
        let enough = if outstanding == 0 { 1 } else { (capacity / 4).max(1) };
        if room >= enough
            && let Some(puller) = &mut self.puller
            && puller.ask(room).await.is_err()
        {
            self.retry_at = Some(now + MOMENT);
        }
    }

    /// Takes requests back, and hands back what nobody took: in this order, or it would come here again.
    pub(super) async fn withdraw(&mut self) {
        if let Some(mut puller) = self.puller.take() {
            let withdrawn = puller.withdraw().await;
            // Servers of 2.9 forget a request nobody waits for only when they look: else the first of what is handed back
            // is thrown at it, and comes back last. Asked for the consumer they look.
            let _ = self.crew.link.consumer(&self.crew.event.stream, &self.crew.consumer).await;
            self.crew.hand_back_unread();
            if withdrawn {
                let late = puller.rest().await;
                late.into_iter().for_each(|message| self.send_back(message));
            }
        }
        self.crew.hand_back_unread();
        self.crew.state.lock().is_asking = false;
    }

    /// What came when nobody was there any more.
    fn send_back(&self, message: async_nats::Message) {
        let Some(delivered) = Delivered::of(message.reply.as_ref()) else { return };
        if let Some(entry) = self.crew.state.lock().entry_mut(delivered.stamp.sequence)
            && !entry.stand.is_held()
            && entry.delivered.times + 1 == delivered.times
        {
            // Known here, so that its next delivery is not taken for one that nobody knows of.
            entry.delivered.times = delivered.times;
        }
        message.reply.into_iter().for_each(|reply| self.crew.send_back(reply));
    }
}

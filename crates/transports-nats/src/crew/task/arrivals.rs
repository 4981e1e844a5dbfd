//! Taking in what the server delivered, many under one lock.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::{MOMENT, Run};
use crate::{
    codec,
    crew::state::{Admission, Arrival},
    delivery::Delivered,
    pull::{Heard, Puller},
};

/// How many deliveries are taken in under one lock.
const BATCH: usize = 256;

impl Run {
    /// Takes in a message, and what else has come.
    pub(super) fn take_in(&mut self, first: async_nats::Message) {
        let mut arrivals = Vec::new();
        let mut gone = false;
        arrivals.extend(self.arrival(first));
        while arrivals.len() < BATCH
            && let Some(heard) = self.puller.as_mut().and_then(Puller::next_now)
        {
            match heard {
                Heard::Message(message) => arrivals.extend(self.arrival(message)),
                Heard::Nothing => {}
                Heard::Trouble => self.retry_at = Some(Instant::now() + MOMENT),
                Heard::Gone => gone = true,
            }
        }
        let now = Instant::now();
        let (admissions, unread) = self.crew.change(|state, wakes| {
            let mut admissions = Vec::new();
            for arrival in arrivals {
                let (sequence, epoch) = (arrival.delivered.stamp.sequence, arrival.delivered.epoch);
                let admission = state.arrive(now, arrival, wakes);
                if admission != Admission::Done {
                    admissions.push((sequence, epoch, admission));
                }
            }
            (admissions, state.unread(wakes))
        });
        for (sequence, epoch, admission) in admissions {
            self.work.push(Arc::clone(&self.crew).admit(sequence, epoch, admission).boxed());
        }
        self.crew.send_all_back(unread);
        if gone {
            self.retry_at = Some(Instant::now());
            self.puller = None;
        }
    }

    fn arrival(&self, mut message: async_nats::Message) -> Option<Arrival> {
        let delivered = Delivered::of(message.reply.as_ref())?;
        let reply = message.reply.take()?;
        let generation = self.crew.link.generation();
        match codec::delivered(message, delivered) {
            Ok(message) => Some(Arrival { delivered, reply, message: Arc::new(message), generation }),
            Err(error) => {
                tracing::warn!(event = %self.crew.event.name, %error, "a message can't be read");
                None
            }
        }
    }
}

//! Keeps the messages of a key apart where the transport does not: on a broadcast handled by several workers.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::Delivery;

/// Which keys are being handled, and what waits behind them.
#[derive(Debug)]
pub(super) struct Lanes {
    most: usize,
    state: Mutex<State>,
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By key in hand, what came after it.
    busy: HashMap<String, VecDeque<Delivery>>,
    parked: usize,
}

impl Lanes {
    /// At most `most` deliveries wait.
    pub(super) fn new(most: usize) -> Self {
        Self { most, state: Mutex::default(), room: Notify::new() }
    }

    /// Waits until one more delivery could wait.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.state.lock().parked < self.most {
                return;
            }
            room.await;
        }
    }

    /// Hands the delivery back when its key is free, and takes the key; else the delivery waits.
    pub(super) fn enter(&self, delivery: Delivery) -> Option<Delivery> {
        let Some(key) = delivery.message.key.as_ref() else { return Some(delivery) };
        let mut state = self.state.lock();
        let State { busy, parked } = &mut *state;
        if let Some(waiting) = busy.get_mut(key) {
            *parked += 1;
            waiting.push_back(delivery);
            return None;
        }
        busy.insert(key.clone(), VecDeque::new());
        Some(delivery)
    }

    /// The next delivery of a key whose turn is over; without one the key is free.
    pub(super) fn leave(&self, key: &str) -> Option<Delivery> {
        let mut state = self.state.lock();
        let next = state.busy.get_mut(key).and_then(VecDeque::pop_front);
        if next.is_some() {
            state.parked -= 1;
            self.room.notify_one();
        } else {
            state.busy.remove(key);
        }
        next
    }
}

//! Messages that a group read from disk, for as long as it drains what is not in memory.

use std::{collections::VecDeque, sync::Arc};

use busgate_core::Message;

/// Enough for what came back and for what is fresh to be drained in turns.
const KEPT: usize = 4;

/// A few runs of consecutive messages, the latest last.
#[derive(Debug, Default)]
pub(super) struct Windows(VecDeque<Window>);

#[derive(Debug)]
struct Window {
    from: u64,
    messages: Vec<Arc<Message>>,
}

impl Windows {
    pub(super) fn get(&self, offset: u64) -> Option<Arc<Message>> {
        self.0.iter().find_map(|window| {
            let index = usize::try_from(offset.checked_sub(window.from)?).ok()?;
            window.messages.get(index).map(Arc::clone)
        })
    }

    pub(super) fn keep(&mut self, from: u64, messages: Vec<Arc<Message>>) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Window { from, messages });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

//! Whom to wake once the lock is free.

use std::task::Waker;

/// Those to wake.
#[derive(Debug, Default)]
pub(in crate::group) struct Wakes {
    pub(super) wakers: Vec<Waker>,
    /// Whether the pump has something to do.
    pub(in crate::group) pump: bool,
}

impl Wakes {
    pub(in crate::group) fn wake(self) {
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

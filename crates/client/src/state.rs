//! The state of the connection, for those who watch it.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::sync::watch;

/// How the connection to the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnState {
    /// There is none; the next try comes after a while, or with the next call.
    Disconnected,
    /// One is being made.
    Connecting,
    /// There is one.
    Connected,
    /// The transport was closed; there will be none again.
    Closed,
}

impl ConnState {
    /// The name for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for ConnState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A function of the user's, which must not block. A panic in it is logged and goes no further.
pub(crate) struct Callback<T: ?Sized>(Arc<dyn Fn(&T) + Send + Sync>);

impl<T: ?Sized> Callback<T> {
    pub(crate) fn new(callback: impl Fn(&T) + Send + Sync + 'static) -> Self {
        Self(Arc::new(callback))
    }

    /// Calls it.
    pub(crate) fn tell(&self, value: &T) {
        if catch_unwind(AssertUnwindSafe(|| (self.0)(value))).is_err() {
            tracing::error!("a callback of the client panicked");
        }
    }
}

impl<T: ?Sized> Clone for Callback<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> fmt::Debug for Callback<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

/// The one place the state is kept; closed stays closed.
#[derive(Debug)]
pub(crate) struct State {
    current: watch::Sender<ConnState>,
    callback: Option<Callback<ConnState>>,
}

impl State {
    pub(crate) fn new(callback: Option<Callback<ConnState>>) -> Self {
        Self { current: watch::Sender::new(ConnState::Disconnected), callback }
    }

    pub(crate) fn get(&self) -> ConnState {
        *self.current.borrow()
    }

    /// Changes it, and tells the callback when it did.
    pub(crate) fn set(&self, state: ConnState) {
        let changed = self.current.send_if_modified(|current| {
            let changes = *current != state && *current != ConnState::Closed;
            if changes {
                *current = state;
            }
            changes
        });
        if changed {
            tracing::debug!(%state, "the connection's state changed");
            if let Some(callback) = &self.callback {
                callback.tell(&state);
            }
        }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<ConnState> {
        self.current.subscribe()
    }

    /// Waits until it is `state`, or closed.
    pub(crate) async fn wait(&self, state: ConnState) -> ConnState {
        let mut watch = self.current.subscribe();
        let reached = watch.wait_for(|now| *now == state || *now == ConnState::Closed).await;
        // The sender lives in `self`.
        reached.map_or(ConnState::Closed, |now| *now)
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn each_change_is_told_once_and_closed_is_the_last() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        let state = State::new(Some(Callback::new(move |state: &ConnState| told.lock().push(*state))));
        for next in [ConnState::Connecting, ConnState::Connecting, ConnState::Closed, ConnState::Connected] {
            state.set(next);
        }
        assert_eq!(*seen.lock(), [ConnState::Connecting, ConnState::Closed]);
        assert_eq!(state.get(), ConnState::Closed);
    }

    #[test]
    fn a_callback_that_panics_harms_nobody() {
        let state = State::new(Some(Callback::new(|_: &ConnState| panic!("on purpose"))));
        state.set(ConnState::Connected);
        assert_eq!(state.get(), ConnState::Connected);
    }
}

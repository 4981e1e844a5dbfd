//! Keeps a link standing: dials, fails over, comes back to the first endpoint, and tells the state.

use std::{mem, sync::Arc, time::Duration};

use busgate_core::{Error, Result};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, interval_at, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{MAX_LINK_FAILURES, dial::Dialler, link::Link};
use crate::{
    backoff::Backoff,
    breaker::Breaker,
    endpoints::Endpoints,
    options::Options,
    state::{ConnState, State},
};

/// The least time between two rounds of dials, however many calls wait for one.
const MIN_SPACING: Duration = Duration::from_millis(50);

/// How often a client that is not at its first endpoint looks whether a better one works again.
const FAILBACK: Duration = Duration::from_secs(1);

/// The keeper of a connection's link.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) state: State,
    dialler: Dialler,
    backoff: Backoff,
    breaker: Arc<Breaker>,
    endpoints: Mutex<Endpoints>,
    slot: watch::Sender<Slot>,
    /// Somebody waits for a link.
    wanted: Notify,
    closing: CancellationToken,
}

/// What calls go over.
#[derive(Clone, Debug)]
enum Slot {
    Down {
        /// Why the last round of dials failed.
        because: Option<Error>,
    },
    Up(Arc<Link>),
    Closed,
}

impl Keeper {
    pub(super) fn new(options: &Options, breaker: &Arc<Breaker>) -> Result<Self> {
        let dialler = Dialler::new(options)?;
        Ok(Self {
            state: State::new(options.on_state.clone()),
            endpoints: Mutex::new(Endpoints::new(dialler.endpoints())),
            dialler,
            backoff: options.retries.backoff,
            breaker: Arc::clone(breaker),
            slot: watch::Sender::new(Slot::Down { because: None }),
            wanted: Notify::new(),
            closing: CancellationToken::new(),
        })
    }

    /// The link that stands, or the next one: a round of dials begins at once.
    ///
    /// # Errors
    /// `unavailable` when the round fails, or when the connection is closed.
    pub(super) async fn link(&self) -> Result<Arc<Link>> {
        let mut slot = self.slot.subscribe();
        let mut waited = false;
        loop {
            match &*slot.borrow_and_update() {
                Slot::Up(link) if !link.is_spent() => return Ok(Arc::clone(link)),
                Slot::Up(link) => link.retire(),
                Slot::Down { because: Some(error) } if waited => return Err(error.clone()),
                Slot::Down { .. } => {}
                Slot::Closed => return Err(closed()),
            }
            waited = true;
            self.wanted.notify_one();
            if slot.changed().await.is_err() {
                return Err(closed());
            }
        }
    }

    /// The current link works.
    pub(super) fn worked(&self) {
        if let Slot::Up(link) = &*self.slot.borrow() {
            link.worked();
        }
    }

    /// Something over the current link failed.
    pub(super) fn failed(&self) {
        let current = match &*self.slot.borrow() {
            Slot::Up(link) => Arc::clone(link),
            Slot::Down { .. } | Slot::Closed => return,
        };
        self.blame(&current);
    }

    /// A call over `link` failed: where there is another endpoint, the link gives way after a few.
    pub(super) fn blame(&self, link: &Link) {
        if link.failed() >= MAX_LINK_FAILURES && self.dialler.endpoints() > 1 {
            self.give_up(link);
        }
    }

    /// A call over `link` was not answered: after a few it gives way, if only to another one to the same endpoint.
    pub(super) fn unanswered(&self, link: &Link) {
        if link.failed() >= MAX_LINK_FAILURES {
            self.give_up(link);
        }
    }

    fn give_up(&self, link: &Link) {
        if !link.is_spent() {
            tracing::info!(?link, "the gateway does not do its work, connecting anew");
            self.endpoints.lock().failed(link.endpoint(), Instant::now(), fastrand::f64());
            link.retire();
        }
    }

    pub(super) fn close(&self) {
        self.closing.cancel();
        self.slot.send_replace(Slot::Closed);
        self.state.set(ConnState::Closed);
    }

    /// Keeps a link standing until the connection is closed.
    pub(super) async fn run(self: Arc<Self>) {
        let work = async {
            let mut failures = 0;
            loop {
                let link = self.connect(&mut failures).await;
                let last = self.watch(link).await;
                self.put(Slot::Down { because: None });
                self.state.set(ConnState::Disconnected);
                if last.is_proven() {
                    failures = 0;
                } else {
                    // It was there, and gone before it did anything.
                    self.endpoints.lock().failed(last.endpoint(), Instant::now(), fastrand::f64());
                    self.rest(&mut failures).await;
                }
            }
        };
        tokio::select! {
            () = self.closing.cancelled() => {}
            () = work => {}
        }
    }

    /// Dials round after round until one succeeds.
    async fn connect(&self, failures: &mut u32) -> Arc<Link> {
        loop {
            self.state.set(ConnState::Connecting);
            let error = match self.round().await {
                Ok(link) => return link,
                Err(error) => error,
            };
            tracing::debug!(%error, "no gateway answers");
            self.state.set(ConnState::Disconnected);
            self.put(Slot::Down { because: Some(error) });
            self.rest(failures).await;
        }
    }

    /// Waits before the next round. The wait grows with the failures, but not for those who want a link.
    async fn rest(&self, failures: &mut u32) {
        *failures = failures.saturating_add(1);
        let earliest = Instant::now() + MIN_SPACING;
        let latest = Instant::now() + self.backoff.after(*failures, fastrand::f64());
        tokio::select! {
            () = sleep_until(latest) => {}
            () = self.wanted.notified() => sleep_until(earliest).await,
        }
    }

    /// Dials every endpoint, the best first, until one answers.
    async fn round(&self) -> Result<Arc<Link>> {
        let order = self.endpoints.lock().round(Instant::now());
        let mut last = None;
        for endpoint in order {
            match self.try_endpoint(endpoint).await {
                Ok(link) => return Ok(link),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::internal("there is no endpoint")))
    }

    async fn try_endpoint(&self, endpoint: usize) -> Result<Arc<Link>> {
        let dialled = self.dialler.dial(endpoint).await;
        let mut endpoints = self.endpoints.lock();
        match &dialled {
            Ok(_) => endpoints.worked(endpoint),
            Err(_) => endpoints.failed(endpoint, Instant::now(), fastrand::f64()),
        }
        dialled
    }

    /// Lets calls go over `link`, and over a better one when there is one, until nothing new goes over it.
    async fn watch(&self, mut link: Arc<Link>) -> Arc<Link> {
        self.up(&link);
        let mut failback = interval_at(Instant::now() + FAILBACK, FAILBACK);
        loop {
            tokio::select! {
                () = link.spent() => {
                    link.retire();
                    return link;
                }
                _ = failback.tick(), if link.endpoint() > 0 => {
                    if let Some(better) = self.better(link.endpoint()).await {
                        let former = mem::replace(&mut link, better);
                        self.up(&link);
                        former.retire();
                    }
                }
            }
        }
    }

    /// A link to an endpoint before `current`, if one works again.
    async fn better(&self, current: usize) -> Option<Arc<Link>> {
        let candidates = self.endpoints.lock().better(current, Instant::now());
        for endpoint in candidates {
            if let Ok(link) = self.try_endpoint(endpoint).await {
                return Some(link);
            }
        }
        None
    }

    fn up(&self, link: &Arc<Link>) {
        tracing::debug!(?link, "connected");
        self.put(Slot::Up(Arc::clone(link)));
        self.state.set(ConnState::Connected);
        self.breaker.reconnected();
    }

    /// Changes the slot, unless it is closed.
    fn put(&self, next: Slot) {
        self.slot.send_if_modified(|slot| {
            let open = !matches!(slot, Slot::Closed);
            if open {
                *slot = next;
            }
            open
        });
    }
}

fn closed() -> Error {
    Error::unavailable("the transport is closed")
}

//! Telling the broker what changed: one commit at a time, and all that is settled meanwhile with the next.

use std::{result::Result, sync::Arc, time::Duration};

use busgate_core::Error;
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};
use tokio::{task::JoinHandle, time::Instant};

use crate::group::{
    Crew,
    client::Client,
    state::{
        commit::{News, Sent},
        wakes::Wakes,
    },
};

/// The least time from one commit to the next: what is settled meanwhile goes together.
const SPACING: Duration = Duration::from_micros(300);

/// How long the broker may take to answer a commit before it is in doubt whether it still knows this node: well below
/// the time after which it gives up a member.
const SILENT: Duration = Duration::from_secs(2);

/// The commit that is on its way, and when the next one may go.
#[derive(Debug)]
pub(super) struct Telling {
    sent: Option<(Sent, JoinHandle<Result<(), Untold>>)>,
    next: Instant,
}

/// Why the broker has not heard.
#[derive(Debug)]
pub(super) enum Untold {
    /// What is kept beside the commits could not be written.
    Aside(Error),
    Commit(KafkaError),
}

impl Telling {
    pub(super) const fn new(now: Instant) -> Self {
        Self { sent: None, next: now }
    }

    /// Whether nothing is on its way.
    pub(super) const fn is_idle(&self) -> bool {
        self.sent.is_none()
    }

    /// Whether the broker has been asked for so long that it may have given up this node.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.sent.as_ref().is_some_and(|(sent, _)| sent.begun + SILENT <= now)
    }

    /// The next commit need not wait for its turn.
    pub(super) const fn hurry(&mut self, now: Instant) {
        self.next = now;
    }

    /// When something that is due at a time is told; at once where that waits for what is on its way.
    pub(super) fn turn_of(&self, due: Instant, now: Instant) -> Instant {
        if due <= now && self.is_idle() { self.next } else { due }
    }

    /// Tells the broker what changed, unless it is being told.
    pub(super) fn begin(&mut self, crew: &Arc<Crew>, client: &Arc<Client>) {
        let now = crew.now();
        if self.sent.is_some() || now.at < self.next {
            return;
        }
        let Some((news, sent)) = crew.state.lock().begin_commit(now) else { return };
        self.next = now.at + SPACING;
        let (crew, client) = (Arc::clone(crew), Arc::clone(client));
        let done = tokio::task::spawn_blocking(move || tell(&crew, &client, &news));
        self.sent = Some((sent, done));
    }

    /// Waits until what is on its way is through, and for ever if nothing is.
    pub(super) async fn told(&mut self) -> Result<(), Untold> {
        match &mut self.sent {
            Some((_, sent)) => sent.await.unwrap_or(Err(Untold::Commit(KafkaError::Canceled))),
            None => std::future::pending().await,
        }
    }

    /// Takes in what became of it.
    pub(super) fn end(&mut self, crew: &Crew, told: Result<(), Untold>) {
        let Some((sent, _)) = self.sent.take() else { return };
        let (now, mut wakes) = (Instant::now(), Wakes::default());
        let mut state = crew.state.lock();
        match told {
            Ok(()) => state.committed(sent, now, &mut wakes),
            Err(Untold::Aside(error)) => {
                tracing::warn!(%error, group = crew.id, "messages can't be set aside");
                state.not_committed(sent, true, now);
            }
            Err(Untold::Commit(error)) => {
                // Whoever is no member any more will be told that its partitions are lost.
                tracing::debug!(%error, group = crew.id, "a commit failed");
                if error.rdkafka_error_code() == Some(Code::OffsetMetadataTooLarge) {
                    state.shrink();
                }
                state.not_committed(sent, false, now);
            }
        }
        drop(state);
        wakes.wake();
    }
}

/// Tells the broker; blocks. What is set aside goes before the commit that counts on it.
fn tell(crew: &Crew, client: &Client, news: &News) -> Result<(), Untold> {
    if !news.entries.is_empty() {
        let written = crew.store.write(&crew.shared, &news.entries);
        tokio::runtime::Handle::current().block_on(written).map_err(Untold::Aside)?;
    }
    client.commit(&news.commits).map_err(Untold::Commit)
}

//! Who listens to what.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{sync::broadcast::Sender, task::AbortHandle};
use tokio_util::sync::CancellationToken;

use super::{ClientInfo, StreamClient, Streamed};
use crate::Timestamp;

/// How many events wait for a client at least; a slower one misses the oldest, and is told how many.
pub const CLIENT_QUEUE: usize = 100;

/// The streams with clients, and their clients.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What ends a stream takes it out first and lets go of it after the lock.
    ///
    /// Invariant: a stream is here exactly as long as it has clients. (`a_stream_without_clients_is_not_read`)
    streams: HashMap<String, Live>,
    /// By id, the stream and the client's number in it.
    clients: HashMap<String, (String, u64)>,
    next: u64,
}

/// A stream with clients.
#[derive(Debug)]
pub(super) struct Live {
    sender: Sender<Streamed>,
    tail: Option<AbortHandle>,
    clients: BTreeMap<u64, (ClientInfo, CancellationToken)>,
}

impl Live {
    pub(super) fn new() -> Self {
        Self { sender: Sender::new(CLIENT_QUEUE), tail: None, clients: BTreeMap::new() }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(tail) = &self.tail {
            tail.abort();
        }
    }
}

impl Registry {
    /// A new client, if the stream has others.
    pub(super) fn join(self: &Arc<Self>, stream: &str, now: Timestamp) -> Option<StreamClient> {
        let mut state = self.0.lock();
        state.streams.contains_key(stream).then(|| self.enter(&mut state, stream, now, Live::new))
    }

    /// A new client; where it is the stream's first, the sender to feed it by.
    pub(super) fn join_or_open(
        self: &Arc<Self>,
        stream: &str,
        now: Timestamp,
        open: impl FnOnce() -> Live,
    ) -> (StreamClient, Option<Sender<Streamed>>) {
        let mut state = self.0.lock();
        let first = !state.streams.contains_key(stream);
        let client = self.enter(&mut state, stream, now, open);
        let sender = state.streams.get(stream).filter(|_| first).map(|live| live.sender.clone());
        (client, sender)
    }

    fn enter(
        self: &Arc<Self>,
        state: &mut State,
        stream: &str,
        now: Timestamp,
        open: impl FnOnce() -> Live,
    ) -> StreamClient {
        state.next += 1;
        let number = state.next;
        let info = ClientInfo { id: format!("client-{number}"), stream_id: stream.to_owned(), since: now };
        let gone = CancellationToken::new();
        let live = state.streams.entry(stream.to_owned()).or_insert_with(open);
        live.clients.insert(number, (info.clone(), gone.clone()));
        state.clients.insert(info.id.clone(), (stream.to_owned(), number));
        StreamClient { info, queue: live.sender.subscribe(), gone, registry: Arc::downgrade(self) }
    }

    /// The task to end with the stream's last client, who may be gone already.
    pub(super) fn ends_with(&self, stream: &str, sender: &Sender<Streamed>, tail: AbortHandle) {
        match self.0.lock().streams.get_mut(stream) {
            Some(live) if live.sender.same_channel(sender) => live.tail = Some(tail),
            _ => tail.abort(),
        }
    }

    pub(super) fn leave(&self, client: &str) -> bool {
        let mut guard = self.0.lock();
        let state = &mut *guard;
        let Some((stream, number)) = state.clients.remove(client) else { return false };
        let Some(live) = state.streams.get_mut(&stream) else { return false };
        if let Some((_, gone)) = live.clients.remove(&number) {
            gone.cancel();
        }
        let ended = if live.clients.is_empty() { state.streams.remove(&stream) } else { None };
        drop(guard);
        drop(ended);
        true
    }

    /// The stream's end: its clients get what is queued, then the end.
    pub(super) fn end(&self, stream: &str, sender: &Sender<Streamed>) {
        let mut guard = self.0.lock();
        let State { streams, clients, .. } = &mut *guard;
        if !streams.get(stream).is_some_and(|live| live.sender.same_channel(sender)) {
            return;
        }
        let ended = streams.remove(stream);
        for (client, _) in ended.iter().flat_map(|live| live.clients.values()) {
            clients.remove(&client.id);
        }
        drop(guard);
        drop(ended);
    }

    pub(super) fn close(&self) {
        let ended = {
            let mut state = self.0.lock();
            state.clients.clear();
            std::mem::take(&mut state.streams)
        };
        drop(ended);
    }

    pub(super) fn active(&self) -> BTreeMap<String, usize> {
        let state = self.0.lock();
        state.streams.iter().map(|(stream, live)| (stream.clone(), live.clients.len())).collect()
    }

    pub(super) fn clients(&self, stream: &str) -> Vec<ClientInfo> {
        let state = self.0.lock();
        let live = state.streams.get(stream);
        live.into_iter().flat_map(|live| live.clients.values()).map(|(info, _)| info.clone()).collect()
    }

    pub(super) fn is_active(&self, stream: &str) -> bool {
        self.0.lock().streams.contains_key(stream)
    }
}

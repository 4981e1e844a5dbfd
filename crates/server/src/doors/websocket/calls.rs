//! The gateway's work for one socket: one call that settles and one of any other kind under way at a time.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use busgate_core::{
    AckStatus, Caller, Error, EventName, Receipt, Result, Session as Source, SettleAnswer, SubscribeRequest,
};
use busgate_wire::encoding::Encoding;

use super::backlog::{Publish, Settle};
use crate::app::App;

type Call<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a call came to.
#[derive(Debug)]
pub(super) enum Done {
    /// Each frame with its answers.
    Settled(Vec<(Settle, Result<Vec<SettleAnswer>>)>),
    /// Each frame with its answer.
    Published(Vec<(Option<String>, Result<Receipt>)>),
    /// A subscription, by its name and how its payloads are written.
    Subscribed(String, Encoding, Result<Box<Source>>),
}

/// The calls under way.
pub(super) struct Calls {
    app: Arc<App>,
    caller: Caller,
    settle: Option<Call<Done>>,
    other: Option<Call<Done>>,
}

impl Calls {
    pub(super) const fn new(app: Arc<App>, caller: Caller) -> Self {
        Self { app, caller, settle: None, other: None }
    }

    /// Whether another settling call can start.
    pub(super) const fn can_settle(&self) -> bool {
        self.settle.is_none()
    }

    /// Whether a call of any other kind can start.
    pub(super) const fn can_ask(&self) -> bool {
        self.other.is_none()
    }

    /// Whether any call is under way.
    pub(super) const fn is_busy(&self) -> bool {
        self.settle.is_some() || self.other.is_some()
    }

    pub(super) fn settle(&mut self, frames: Vec<Settle>) {
        self.settle = Some(Box::pin(settle(Arc::clone(&self.app), self.caller.clone(), frames)));
    }

    pub(super) fn publish(&mut self, event: EventName, batch: Vec<Publish>) {
        self.other = Some(Box::pin(publish(Arc::clone(&self.app), self.caller.clone(), event, batch)));
    }

    pub(super) fn subscribe(&mut self, sub: String, encoding: Encoding, request: SubscribeRequest) {
        let (app, caller) = (Arc::clone(&self.app), self.caller.clone());
        self.other = Some(Box::pin(async move {
            let source = app.gateway.subscribe(&caller, request).await;
            Done::Subscribed(sub, encoding, source.map(Box::new))
        }));
    }

    /// What a call came to; never ready when none is under way.
    pub(super) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        for call in [&mut self.settle, &mut self.other] {
            if let Some(running) = call
                && let Poll::Ready(done) = running.as_mut().poll(cx)
            {
                *call = None;
                return Poll::Ready(done);
            }
        }
        Poll::Pending
    }
}

/// Settles the entries of all frames in one call. When that is refused as a whole, each frame is settled for itself:
/// one client frame that is wrong must not keep the others from being settled.
async fn settle(app: Arc<App>, caller: Caller, frames: Vec<Settle>) -> Done {
    let all = frames.iter().flat_map(|frame| frame.entries.iter().cloned()).collect();
    let mut results = Vec::with_capacity(frames.len());
    match app.gateway.settle(&caller, all).await {
        Ok(answers) => {
            let mut answers = answers.into_iter();
            for frame in frames {
                let own = answers.by_ref().take(frame.entries.len()).collect();
                results.push((frame, as_a_whole(own)));
            }
        }
        Err(error) if frames.len() == 1 => {
            results.extend(frames.into_iter().map(|frame| (frame, Err(error.clone()))));
        }
        Err(_) => {
            for frame in frames {
                let result = app.gateway.settle(&caller, frame.entries.clone()).await;
                results.push((frame, result));
            }
        }
    }
    Done::Settled(results)
}

/// A frame of nothing but invalid entries is refused as a whole, whatever frames it was gathered with.
fn as_a_whole(answers: Vec<SettleAnswer>) -> Result<Vec<SettleAnswer>> {
    if answers.iter().all(|answer| answer.status == AckStatus::Invalid) {
        let why = answers.first().and_then(|answer| answer.message.as_deref()).unwrap_or_default();
        return Err(Error::invalid(format!("no entry is valid: {why}")));
    }
    Ok(answers)
}

/// Publishes what the caller's rate allows, in one call.
async fn publish(app: Arc<App>, caller: Caller, event: EventName, batch: Vec<Publish>) -> Done {
    let mut results = Vec::with_capacity(batch.len());
    let (mut references, mut drafts) = (Vec::new(), Vec::new());
    for Publish { reference, draft } in batch {
        match app.admit(&caller, 1) {
            Ok(()) => {
                references.push(reference);
                drafts.push(draft);
            }
            Err(error) => results.push((reference, Err(error))),
        }
    }
    if !drafts.is_empty() {
        match app.gateway.publish(&caller, &event, drafts).await {
            Ok(published) => results.extend(references.into_iter().zip(published)),
            Err(error) => {
                results.extend(references.into_iter().map(|reference| (reference, Err(error.clone()))));
            }
        }
    }
    Done::Published(results)
}

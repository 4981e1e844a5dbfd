//! A transport that claims less than the one it wraps, to show that laws hold where little is claimed.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_core::{
    Capabilities, Cursor, Error, EventConfig, EventInfo, EventName, Message, Mode, Page, ReadRequest, Result,
    Settled, Settlement, Start, SubscribeOptions, Subscription, Transport, Verb,
};

use crate::{Claim, Overlay, overlaid};

/// Claims less than `inner`, and refuses what it does not claim. All else it passes on.
#[derive(Debug)]
pub struct Limited {
    inner: Arc<dyn Transport>,
    without: Vec<Claim>,
}

impl Limited {
    /// `inner` without these, and without what makes no sense without them.
    #[must_use]
    pub fn over(inner: Arc<dyn Transport>, without: impl Into<Vec<Claim>>) -> Arc<dyn Transport> {
        overlaid(Arc::new(Self { inner, without: without.into() }))
    }

    fn has(&self, claim: Claim) -> bool {
        let needs: &[Claim] = match claim {
            Claim::ReplayFromTime => &[Claim::Replay],
            Claim::DelayedRequeue | Claim::DeadLetters => &[Claim::Redelivery],
            _ => &[],
        };
        !self.without.contains(&claim) && needs.iter().all(|need| self.has(*need))
    }

    fn has_leases(&self) -> bool {
        self.has(Claim::WorkerPool) || self.has(Claim::Resume)
    }

    fn allows_reading(&self) -> Result<()> {
        if self.has(Claim::Replay) { Ok(()) } else { Err(Error::unsupported("history is not claimed")) }
    }

    fn allows_start(&self, start: &Start) -> Result<()> {
        let allowed = match start {
            Start::Latest => true,
            Start::Beginning | Start::After(_) => self.has(Claim::Replay),
            Start::At(_) => self.has(Claim::ReplayFromTime),
        };
        if allowed { Ok(()) } else { Err(Error::unsupported("history is not claimed")) }
    }

    fn allows_verb(&self, verb: &Verb) -> Result<()> {
        let allowed = match verb {
            Verb::Ack => true,
            Verb::Nack(nack) => {
                self.has(if nack.delay.is_some() { Claim::DelayedRequeue } else { Claim::Redelivery })
            }
            Verb::Release { .. } => self.has(Claim::Redelivery),
            Verb::Reject { .. } => self.has(Claim::DeadLetters),
            Verb::Extend(_) => self.has(Claim::Extend),
        };
        if allowed { Ok(()) } else { Err(Error::unsupported("the verb is not claimed")) }
    }

    /// Without deduplication the inner window has to be off, whatever it is by default.
    fn inner_config(&self, config: &EventConfig) -> Result<EventConfig> {
        if self.has(Claim::Dedup) {
            return Ok(config.clone());
        }
        if config.dedup_window.is_some_and(|window| !window.is_zero()) {
            return Err(Error::unsupported("deduplication is not claimed"));
        }
        Ok(EventConfig { dedup_window: Some(std::time::Duration::ZERO), ..config.clone() })
    }
}

#[async_trait]
impl Overlay for Limited {
    fn beneath(&self) -> &Arc<dyn Transport> {
        &self.inner
    }

    fn capabilities(&self) -> Capabilities {
        let inner = self.inner.capabilities();
        Capabilities {
            replay: inner.replay && self.has(Claim::Replay),
            replay_from_time: inner.replay_from_time && self.has(Claim::ReplayFromTime),
            worker_pool: inner.worker_pool && self.has(Claim::WorkerPool),
            redelivery: inner.redelivery && self.has_leases() && self.has(Claim::Redelivery),
            delayed_requeue: inner.delayed_requeue && self.has_leases() && self.has(Claim::DelayedRequeue),
            extend: inner.extend && self.has_leases() && self.has(Claim::Extend),
            ordered_keys: inner.ordered_keys && self.has(Claim::WorkerPool),
            dedup: inner.dedup && self.has(Claim::Dedup),
            resume: inner.resume && self.has(Claim::Resume),
            any_node_settle: inner.any_node_settle && self.has_leases(),
            dead_letters: inner.dead_letters && self.has_leases() && self.has(Claim::DeadLetters),
            ..inner
        }
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        self.inner.register(event, &self.inner_config(config)?).await
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        let mut infos = self.inner.events().await?;
        if !self.has(Claim::Dedup) {
            for info in &mut infos {
                info.config.dedup_window = None;
            }
        }
        Ok(infos)
    }

    async fn subscribe(&self, event: &EventName, options: SubscribeOptions) -> Result<Subscription> {
        self.allows_start(&options.start)?;
        let allowed = match &options.mode {
            Mode::Broadcast { consumer: None } => true,
            Mode::Broadcast { consumer: Some(_) } => self.has(Claim::Resume),
            Mode::WorkerPool { .. } => self.has(Claim::WorkerPool),
        };
        if !allowed {
            return Err(Error::unsupported("the mode is not claimed"));
        }
        Arc::clone(&self.inner).subscribe(event, options).await
    }

    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        self.allows_reading()?;
        self.allows_start(&request.start)?;
        self.inner.read(event, request).await
    }

    async fn find(&self, event: &EventName, place: &Cursor) -> Result<Option<Arc<Message>>> {
        self.allows_reading()?;
        self.inner.find(event, place).await
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        let mut answers = Vec::with_capacity(batch.len());
        for settlement in batch {
            let answer = match self.allows_verb(&settlement.verb) {
                Ok(()) => self.inner.settle(vec![settlement]).await.pop(),
                Err(refused) => Some(Err(refused)),
            };
            answers.extend(answer);
        }
        answers
    }
}

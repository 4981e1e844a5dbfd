//! Subscribing: authorized and checked, before the door answers its client.

use std::sync::Arc;

use super::{
    AckMode, Gateway, Inner, Session, SlowPolicy, SubscribeRequest,
    events::refuse_hidden,
    source::{Many, Source},
};
use crate::{
    Caller, Effect, Error, ErrorKind, EventConfig, EventName, Mode, Operation, Pattern, Result, RetryPolicy,
    Start, SubscribeOptions, ack::Window, hub::Follow,
};

/// A subscription with every default filled in.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) target: Pattern,
    mode: Mode,
    retry: RetryPolicy,
    max_in_flight: usize,
    slow: SlowPolicy,
    buffer: u64,
}

impl Gateway {
    /// Opens a session for a client.
    ///
    /// # Errors
    /// `denied`; `invalid` for figures out of bounds; `unsupported` for what the transport cannot do; `not_found`;
    /// `exhausted` at the limit of sessions; `unavailable` while draining.
    pub async fn subscribe(&self, caller: &Caller, request: SubscribeRequest) -> Result<Session> {
        let inner = &self.inner;
        inner.authorize(caller, Operation::Subscribe, &request.target).await?;
        request.target.as_event().as_ref().map_or(Ok(()), refuse_hidden)?;
        inner.refuse_if_draining()?;
        let plan = inner.plan(&request)?;
        let seat = inner.tracker.seat(inner.config.max_sessions).ok_or_else(|| {
            Error::new(ErrorKind::Exhausted, "too many sessions").with_retry_after(inner.retry_after())
        })?;
        let window = Window {
            messages: plan.max_in_flight,
            bytes: request.max_in_flight_bytes,
            retry: plan.retry.clone(),
        };
        let source = inner.source(plan, request.start.clone()).await?;
        if request.ack == AckMode::Manual && request.mode.holder().is_some() {
            inner.listen();
        }
        let stream = inner.tracker.open(seat, window);
        Ok(Session::new(Arc::clone(inner), source, stream, &request, inner.config.ack_secret.owner(caller)))
    }
}

impl Inner {
    fn plan(&self, request: &SubscribeRequest) -> Result<Plan> {
        self.check_start(&request.start)?;
        self.check_mode(request)?;
        let mut retry = self.config.retry.clone();
        retry.ack_wait = request.ack_wait.unwrap_or(retry.ack_wait);
        retry.max_deliver = request.max_deliver.unwrap_or(retry.max_deliver);
        if let Some(backoff) = &request.backoff {
            retry.backoff.clone_from(backoff);
        }
        let slow = self.slow_policy(request)?;
        if request.buffer == Some(0) {
            return Err(Error::invalid("buffer_size must be 1 or more"));
        }
        let buffer = request.buffer.unwrap_or(usize::MAX).min(self.config.ring_messages) as u64;
        let target = request.target.clone();
        let plan =
            Plan { target, mode: request.mode.clone(), retry, max_in_flight: request.window(), slow, buffer };
        plan.options(request.start.clone()).validate()?;
        Ok(plan)
    }

    fn check_mode(&self, request: &SubscribeRequest) -> Result<()> {
        let capabilities = &self.capabilities;
        let unnamed = request.mode == Mode::Broadcast { consumer: None };
        match &request.mode {
            Mode::WorkerPool { .. } if !capabilities.worker_pool => {
                return Err(Error::unsupported("this transport has no worker pools"));
            }
            Mode::Broadcast { consumer: Some(_) } if !capabilities.resume => {
                return Err(Error::unsupported("this transport keeps no checkpoints for a consumer_id"));
            }
            Mode::WorkerPool { .. } | Mode::Broadcast { .. } => {}
        }
        if !unnamed && (request.latest_only || request.slow.is_some()) {
            return Err(Error::unsupported(
                "latest_only and slow_policy need broadcast without a consumer_id",
            ));
        }
        if request.target.is_wild() && matches!(request.start, Start::After(_)) {
            return Err(Error::unsupported(
                "a cursor belongs to one event: a pattern cannot start after one",
            ));
        }
        Ok(())
    }

    fn slow_policy(&self, request: &SubscribeRequest) -> Result<SlowPolicy> {
        let replay = self.capabilities.replay;
        match (request.latest_only, request.slow) {
            (true, None | Some(SlowPolicy::Conflate)) => Ok(SlowPolicy::Conflate),
            (true, Some(_)) => {
                Err(Error::invalid("latest_only conflates: no other slow_policy goes with it"))
            }
            (false, Some(SlowPolicy::Pause)) if !replay => {
                Err(Error::unsupported("slow_policy pause needs a transport that can replay"))
            }
            (false, Some(policy)) => Ok(policy),
            (false, None) if request.start == Start::Latest || !replay => Ok(SlowPolicy::Disconnect),
            (false, None) => Ok(SlowPolicy::Pause),
        }
    }

    async fn source(self: &Arc<Self>, plan: Plan, start: Start) -> Result<Source> {
        let Some(event) = plan.target.as_event() else {
            return Ok(Source::Many(Box::new(Many::open(Arc::clone(self), plan, start).await?)));
        };
        match self.open(&plan, &event, start.clone()).await {
            Err(error)
                if error.kind() == ErrorKind::NotFound && self.config.auto_register && !event.is_own() =>
            {
                self.register(&event, &EventConfig::default()).await?;
                self.open(&plan, &event, start).await
            }
            opened => opened,
        }
    }

    /// Subscribes to one event: unnamed broadcast through the hub, everything else on the transport itself.
    pub(super) async fn open(&self, plan: &Plan, event: &EventName, start: Start) -> Result<Source> {
        if plan.mode == (Mode::Broadcast { consumer: None }) {
            let follow = Follow { start, slow: plan.slow, buffer: plan.buffer };
            let follower = self.in_time(Effect::None, self.hub.follow(event, follow)).await?;
            return Ok(Source::Follow(Box::new(follower)));
        }
        let subscription = Arc::clone(&self.transport).subscribe(event, plan.options(start));
        let subscription = self.in_time(Effect::None, subscription).await?;
        Ok(Source::Leased(subscription))
    }
}

impl Plan {
    fn options(&self, start: Start) -> SubscribeOptions {
        SubscribeOptions {
            mode: self.mode.clone(),
            start,
            retry: self.retry.clone(),
            max_in_flight: self.max_in_flight,
        }
    }
}

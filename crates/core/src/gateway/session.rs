//! A session: what one client is subscribed to, within its window, until it leaves.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{runtime::Handle, time::Instant};

use super::{
    AckMode, End, Inner, Outbound, Outgoing, SubscribeRequest,
    source::{Input, Source},
};
use crate::{
    Dormant, Envelope, LeaseToken, Verb,
    ack::{Claim, Local, OwnerTag, Slot, Stream, Ticket},
};

/// What one client is subscribed to.
///
/// Ask for the next item only when the client's socket can take it: that is the back-pressure, and the lease clock starts
/// when the item has been handed to the socket. Dropping the session closes it: leases the client had go back at once
/// with the attempt counted, those it never got go back uncounted; after [`Session::leave`] none does.
pub struct Session {
    inner: Arc<Inner>,
    source: Source,
    stream: Arc<Stream>,
    owner: OwnerTag,
    ack: AckMode,
    ack_wait: Duration,
    max_age: Option<Duration>,
    /// Resolves when a drain has begun, or come closer, since it was made.
    drain_changed: Dormant,
    announced: bool,
    paused: bool,
    left: bool,
    over: Option<End>,
}

impl Session {
    pub(super) fn new(
        inner: Arc<Inner>,
        source: Source,
        stream: Arc<Stream>,
        request: &SubscribeRequest,
        owner: OwnerTag,
    ) -> Self {
        let ack_wait = stream.ack_wait();
        let drain_changed = inner.drain_changed();
        let (ack, max_age) = (request.ack, request.max_age);
        Self {
            inner,
            source,
            stream,
            owner,
            ack,
            ack_wait,
            max_age,
            drain_changed,
            announced: false,
            paused: false,
            left: false,
            over: None,
        }
    }

    /// What it has delivered, for whoever settles that by numbers.
    #[must_use]
    pub fn deliveries(&self) -> Deliveries {
        Deliveries(Arc::clone(&self.stream))
    }

    /// How many deliveries the client holds unsettled.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.stream.in_flight()
    }

    /// While paused it yields no messages, as if its window were full: for a client that paces itself.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Ends it from the client's side: it yields no more messages, and closing it gives back nothing that the client is
    /// to settle. Those leases run on until they run out or are settled by ack id.
    ///
    /// What only this node would have redelivered (unnamed broadcast) is not redelivered any more.
    pub fn leave(&mut self) {
        self.left = true;
    }

    /// The next item; after an end the same end again. Cancel-safe. Asking for it says that everything yielded before
    /// has been handed to the socket.
    pub async fn next(&mut self) -> Outgoing {
        self.handed_off();
        loop {
            let now = Instant::now();
            if let Some(outgoing) = self.ready(now) {
                return outgoing;
            }
            let draining = self.inner.draining();
            let changed = self.stream.changed();
            let room = draining.is_none() && self.has_room();
            let wake_at = match draining {
                // A lease that runs out is nothing to wait for.
                Some(drain) => {
                    Some(self.stream.next_expiry().map_or(drain.deadline, |at| at.min(drain.deadline)))
                }
                None if self.paused || self.left => None,
                None => self.stream.wake_at(room),
            };
            let input = tokio::select! {
                biased;
                () = &mut self.drain_changed => {
                    self.drain_changed = self.inner.drain_changed();
                    None
                }
                () = changed, if !room || self.stream.redelivers() => None,
                input = self.source.next(), if room => Some(input),
                () = sleep_until(wake_at) => None,
            };
            if let Some(outgoing) = input.and_then(|input| self.take(input)) {
                return outgoing;
            }
        }
    }

    /// The next item, if it takes no waiting: to write several at once.
    pub fn try_next(&mut self) -> Option<Outgoing> {
        loop {
            if let Some(outgoing) = self.ready(Instant::now()) {
                return Some(outgoing);
            }
            if self.announced || !self.has_room() {
                return None;
            }
            let input = self.source.try_next()?;
            if let Some(outgoing) = self.take(input) {
                return Some(outgoing);
            }
        }
    }

    /// Everything yielded so far has been handed to the socket: lease clocks start, automatic acks are made.
    pub fn handed_off(&mut self) {
        match self.ack {
            AckMode::Auto => self.settle_later(self.stream.take_fresh(), Verb::Ack),
            AckMode::Manual => {
                let late = self.stream.hand_off(Instant::now());
                self.settle_later(late, Verb::Extend(self.ack_wait));
            }
        }
    }

    fn has_room(&self) -> bool {
        !self.paused && !self.left && self.stream.has_room()
    }

    /// What is to be said without asking the source.
    fn ready(&mut self, now: Instant) -> Option<Outgoing> {
        if let Some(end) = &self.over {
            return Some(Outgoing::End(end.clone()));
        }
        self.stream.expire(now);
        let draining = self.inner.draining();
        if let Some(drain) = draining {
            let retry_after = self.inner.retry_after();
            if !self.announced {
                self.announced = true;
                return Some(Outgoing::Draining { retry_after });
            }
            if self.stream.in_flight() == 0 || now >= drain.deadline {
                return Some(self.finish(End::Drained { retry_after }));
            }
        }
        if draining.is_some() || self.paused || self.left || !self.stream.has_window() {
            return None;
        }
        let local = self.stream.pop_return(now)?;
        Some(self.deliver(local.envelope, local.attempt, None))
    }

    fn take(&mut self, input: Input) -> Option<Outgoing> {
        match input {
            Input::Message { envelope, attempt, token } => {
                if self.is_too_old(&envelope) {
                    self.inner.counters.too_old.add(1);
                    self.settle_later(Vec::from_iter(token), Verb::Ack);
                    return None;
                }
                Some(self.deliver(envelope, attempt, token))
            }
            Input::Gap(gap) => {
                self.inner.counters.gaps.add(1);
                Some(Outgoing::Gap(gap))
            }
            Input::End(end) => Some(self.finish(end)),
        }
    }

    fn is_too_old(&self, envelope: &Envelope) -> bool {
        let age = |max: Duration| self.inner.clock.now().since(envelope.message.timestamp) > max;
        self.max_age.is_some_and(age)
    }

    fn deliver(&self, envelope: Arc<Envelope>, attempt: u32, token: Option<LeaseToken>) -> Outgoing {
        let counters = &self.inner.counters;
        counters.delivered.add(1);
        if attempt > 1 {
            counters.redelivered.add(1);
        }
        let now = Instant::now();
        let claim = match (self.ack, token) {
            (AckMode::Auto, None) => None,
            (AckMode::Auto, Some(token)) => {
                self.stream.admit_lease(now, token, envelope.message.weight());
                None
            }
            (AckMode::Manual, Some(token)) => {
                let slot = self.stream.admit_lease(now, token.clone(), envelope.message.weight());
                Some((slot, Claim::Lease(token)))
            }
            (AckMode::Manual, None) => {
                let slot = self.stream.admit_local(now, Local { envelope: Arc::clone(&envelope), attempt });
                Some((slot, Claim::Local { event: envelope.event.clone(), attempt }))
            }
        };
        let number = claim.as_ref().and_then(|(slot, _)| slot.number());
        let ack_id = claim.map(|(slot, claim)| self.seal(slot, claim));
        Outgoing::Message(Outbound { envelope, attempt, ack_id, number })
    }

    fn seal(&self, slot: Slot, claim: Claim) -> String {
        self.inner.config.ack_secret.seal(self.owner, &Ticket { slot, claim })
    }

    fn finish(&mut self, end: End) -> Outgoing {
        if matches!(end, End::SlowConsumer) {
            self.inner.counters.slow_consumers.add(1);
        }
        self.over = Some(end.clone());
        Outgoing::End(end)
    }

    fn settle_later(&self, tokens: Vec<LeaseToken>, verb: Verb) {
        // Without a runtime nothing can be settled any more: the leases run out.
        if tokens.is_empty() || Handle::try_current().is_err() {
            return;
        }
        let inner = Arc::clone(&self.inner);
        self.inner.tasks.spawn(async move { inner.settle_all(tokens, verb).await });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.inner.tracker.close(&self.stream);
        if self.left && self.ack == AckMode::Manual {
            return;
        }
        let back = self.stream.hand_back();
        let counted = self.ack == AckMode::Manual && self.inner.draining().is_none();
        self.settle_later(back.handed_off, Verb::Release { counted });
        self.settle_later(back.kept_back, Verb::Release { counted: false });
    }
}

/// What a session has delivered. It keeps neither the session open nor anything leased.
#[derive(Clone, Debug)]
pub struct Deliveries(pub(super) Arc<Stream>);

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("in_flight", &self.in_flight())
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

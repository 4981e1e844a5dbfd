//! The subscriptions of one client: opened, found by whoever settles, and ended together.

mod departures;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use busgate_core::{
    AckMode, Capabilities, Effect, Error, ErrorKind, EventName, LeaseToken, Pattern, ReadRequest, Result,
    Settlement, SlowPolicy, Start, SubscribeOptions, SubscribeRequest, Subscription, Transport, Verb,
};
use busgate_wire::convert;
use futures_util::future::join_all;
use parking_lot::RwLock;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

pub(crate) use self::departures::Departures;
use crate::{
    backoff::Backoff,
    connection::{Connection, Service},
    options::{ClosePolicy, Subscribing},
    settle::Unary,
    stream::{Driver, Patience, Plan, Program, Row, Session, Shared},
    token::Sealer,
};

/// How long a subscription waits for the one before it of the same holder to have left.
const DEPARTURE_WAIT: Duration = Duration::from_secs(2);

/// How often closing looks whether everything in hand is settled.
const LOOK: Duration = Duration::from_millis(10);

/// How a program has its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    /// As deliveries with lease tokens, of one event.
    Tokens,
    /// As they came, by their ack ids.
    AckIds,
}

/// The subscriptions of one client.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    pub(crate) connection: Arc<Connection>,
    pub(crate) unary: Arc<Unary>,
    pub(crate) capabilities: Capabilities,
    /// A random number of this client's.
    pub(crate) client: u32,
    next: AtomicU32,
    streams: RwLock<HashMap<u32, Arc<Shared>>>,
    departures: Arc<Departures>,
    closing: AtomicBool,
}

impl Subscriptions {
    pub(crate) fn new(connection: Arc<Connection>, capabilities: Capabilities) -> Self {
        Self {
            unary: Arc::new(Unary::new(Arc::clone(&connection))),
            connection,
            capabilities,
            client: fastrand::u32(..),
            next: AtomicU32::new(0),
            streams: RwLock::default(),
            departures: Arc::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// Subscribes; `transport` is what the deliveries settle through.
    ///
    /// # Errors
    /// As [`Transport::subscribe`].
    pub(crate) async fn subscribe(
        &self,
        transport: Arc<dyn Transport>,
        event: &EventName,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        options.validate()?;
        let SubscribeOptions { mode, start, retry, max_in_flight } = options;
        let unnamed = mode.holder().is_none();
        let request = SubscribeRequest {
            mode,
            start,
            ack: if unnamed { AckMode::Auto } else { AckMode::Manual },
            ack_wait: Some(retry.ack_wait),
            max_deliver: Some(retry.max_deliver),
            backoff: Some(retry.backoff),
            max_in_flight: Some(max_in_flight),
            slow: (unnamed && self.capabilities.replay).then_some(SlowPolicy::Pause),
            ..SubscribeRequest::broadcast(Pattern::from(event.clone()))
        };
        Ok(Subscription::new(self.open(transport, request, Face::Tokens).await?))
    }

    /// Opens what `request` asks for.
    ///
    /// # Errors
    /// As [`Transport::subscribe`].
    pub(crate) async fn open(
        &self,
        transport: Arc<dyn Transport>,
        mut request: SubscribeRequest,
        face: Face,
    ) -> Result<Program> {
        self.refuse_if_closing()?;
        let event = request.target.as_event();
        let seat = event.clone().zip(request.mode.holder());
        match (&seat, event) {
            (Some((event, holder)), _) => {
                // A gateway that does not answer must not keep the next one from trying.
                _ = timeout(DEPARTURE_WAIT, self.departures.wait(event, holder)).await;
            }
            (None, Some(event)) => request.start = self.place(&event, request.start).await?,
            (None, None) => {}
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let sealed = seat.clone().filter(|_| face == Face::Tokens);
        let sealer = sealed.map(|(event, holder)| Sealer::new(event, holder, self.client, number));
        let subscribing = &self.connection.options().subscribing;
        let target = request.target.clone();
        let plan = Plan {
            // A cursor is a place in one event.
            replay: self.capabilities.replay && !target.is_wild(),
            request,
            extend: self.capabilities.extend,
            buffer: subscribing.buffer,
        };
        let shared = Arc::new(Shared::new(Session::new(plan, sealer)));
        self.enter(number, &shared)?;
        let driver = Driver {
            connection: Arc::clone(&self.connection),
            shared: Arc::clone(&shared),
            unary: Arc::clone(&self.unary),
            target,
            row: Row::new(self.patience(subscribing)),
        };
        let departures = Arc::clone(&self.departures);
        let program = Program { shared, transport, seat, departures };
        let (opened, program_back) = oneshot::channel();
        self.connection.tasks.spawn(driver.run(program, opened));
        program_back.await.map_err(|_| closed())?
    }

    /// Where an unnamed subscription starts. The end is looked up, so that a stream that breaks before the first message
    /// leaves no hole either.
    async fn place(&self, event: &EventName, start: Start) -> Result<Start> {
        if start != Start::Latest || !self.capabilities.replay {
            return Ok(start);
        }
        let end = ReadRequest { start, limit: 1, max_bytes: 1 };
        let request = convert::history_request(event, &end);
        let read = |mut service: Service| {
            let request = request.clone();
            async move { service.read_messages(request).await }
        };
        match self.connection.call(Effect::None, read).await {
            Ok(page) => Ok(Start::After(convert::read_history(page)?.next)),
            // Whether it may be subscribed to is the gateway's to say: it need not be allowed to read it.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Denied | ErrorKind::NotFound | ErrorKind::Unsupported
                ) =>
            {
                Ok(Start::Latest)
            }
            Err(error) => Err(error),
        }
    }

    fn patience(&self, subscribing: &Subscribing) -> Patience {
        let cap = self.connection.options().retries.backoff.cap.max(subscribing.delay);
        let max_errors = Some(subscribing.max_errors).filter(|most| *most > 0);
        let backoff = Backoff { base: subscribing.delay, cap };
        Patience { reconnect: subscribing.reconnect, max_errors, backoff }
    }

    fn enter(&self, number: u32, shared: &Arc<Shared>) -> Result<()> {
        let mut streams = self.streams.write();
        // Under the lock: whoever closes sees every stream that was let in.
        self.refuse_if_closing()?;
        let now = Instant::now();
        streams.retain(|_, other| {
            !other.gone.is_cancelled() || other.with(|session| session.held().count(now)) > 0
        });
        streams.insert(number, Arc::clone(shared));
        Ok(())
    }

    fn refuse_if_closing(&self) -> Result<()> {
        if self.closing.load(Ordering::Acquire) || self.connection.is_closed() {
            return Err(closed());
        }
        Ok(())
    }

    /// The subscription by which a delivery came.
    pub(crate) fn stream(&self, number: u32) -> Option<Arc<Shared>> {
        self.streams.read().get(&number).cloned()
    }

    /// Ends every subscription; what the program holds it may settle for as long as `policy` says, and what is left goes
    /// back, uncounted. Settling is still open when it returns: the connection is the owner's to close.
    pub(crate) async fn close(&self, policy: ClosePolicy) {
        let (all, first): (Vec<_>, bool) = {
            let streams = self.streams.write();
            (streams.values().cloned().collect(), !self.closing.swap(true, Ordering::AcqRel))
        };
        if first {
            for shared in &all {
                shared.end(|session| session.cut(closed()));
            }
        }
        if let ClosePolicy::Wait(wait) = policy {
            // What is not settled by then goes back.
            _ = timeout(wait, settled(&all, &self.unary)).await;
        }
        let left = all.iter().flat_map(|shared| shared.with(|session| session.held().take(Instant::now())));
        let give_back = self.settle(left.map(release).collect());
        let gone = join_all(all.iter().map(|shared| shared.gone.cancelled()));
        // A gateway that does not answer gets everything back by the end of its leases.
        _ = timeout(self.connection.options().call_timeout, async { tokio::join!(give_back, gone) }).await;
    }
}

fn release(token: LeaseToken) -> Settlement {
    Settlement { token, verb: Verb::Release { counted: false } }
}

/// Resolves when programs hold nothing any more, and everything they settled is answered.
async fn settled(all: &[Arc<Shared>], unary: &Unary) {
    let open = |shared: &Arc<Shared>| {
        shared.with(|session| session.held().count(Instant::now()) > 0 || !session.is_settled())
    };
    while unary.is_busy() || all.iter().any(open) {
        sleep(LOOK).await;
    }
}

fn closed() -> Error {
    Error::unavailable("the transport is closed")
}

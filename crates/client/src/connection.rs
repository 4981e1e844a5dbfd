//! The one connection that everything of a transport shares: `retry(breaker(rpc))` over whatever link stands.

mod dial;
mod greeting;
mod keeper;
mod link;

use std::{future::Future, mem, sync::Arc, time::Duration};

use busgate_core::{Effect, Error, ErrorKind, Result, Tasks};
use busgate_wire::{proto::event::v1::event_service_client::EventServiceClient, status};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tonic::{Response, Status};

use self::{
    keeper::Keeper,
    link::{Link, Unsent, Wire},
};
use crate::{
    breaker::{Breaker, is_failure},
    credentials::{Credential, Wallet},
    options::{Options, Retries},
    retry::{Next, Tries},
    state::ConnState,
};

/// The gateway's calls, over one link.
pub(crate) type Service = EventServiceClient<Wire>;

/// How many failures in a row make a link give way to the next endpoint.
const MAX_LINK_FAILURES: u32 = 3;

/// How often an attempt goes on over another link at once.
const MAX_DETOURS: u32 = 3;

/// The connection to a gateway, or to the first of several that answers.
#[derive(Debug)]
pub(crate) struct Connection {
    keeper: Arc<Keeper>,
    breaker: Arc<Breaker>,
    wallet: Wallet,
    options: Arc<Options>,
    /// Whatever belongs to the connection and ends with it.
    pub(crate) tasks: Tasks,
}

impl Connection {
    /// Starts to connect. Nothing has been dialled yet when it returns: the first call waits for that.
    ///
    /// # Errors
    /// `invalid` for bad options.
    #[allow(clippy::unused_async, reason = "what it starts needs a runtime")]
    pub(crate) async fn open(options: Options) -> Result<Arc<Self>> {
        options.validate()?;
        let options = Arc::new(options);
        let breaker = Arc::new(Breaker::new(options.breaker));
        let keeper = Arc::new(Keeper::new(&options, &breaker)?);
        let tasks = Tasks::new();
        tasks.spawn(Arc::clone(&keeper).run());
        let wallet = Wallet::new(options.credentials.clone());
        Ok(Arc::new(Self { keeper, breaker, wallet, options, tasks }))
    }

    /// Makes a call, again and again as the options allow. `effect` is what a try without an answer leaves behind:
    /// `None` for a call that changes nothing.
    ///
    /// # Errors
    /// The last try's; its effect is unknown when any try's was.
    pub(crate) async fn call<T, F, Fut>(&self, effect: Effect, rpc: F) -> Result<T>
    where
        F: Fn(Service) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.persist(|limit| self.attempt(effect, limit, &rpc)).await
    }

    /// Makes `attempt` again and again as the options allow; it is told how long it may take.
    ///
    /// # Errors
    /// The last attempt's; its effect is unknown when any attempt's was.
    pub(crate) async fn persist<T, F, Fut>(&self, attempt: F) -> Result<T>
    where
        F: Fn(Duration) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let mut tries = self.tries();
        loop {
            let error = match self.once(&tries, &attempt).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match self.after(&mut tries, error) {
                Next::Again(wait) => sleep(wait).await,
                Next::Stop(error) => return Err(error),
            }
        }
    }

    /// The tries of a call that begins now.
    pub(crate) fn tries(&self) -> Tries {
        let Retries { max_attempts, backoff } = self.options.retries;
        Tries::new(max_attempts, backoff, Instant::now() + self.options.deadline)
    }

    /// One attempt, as far as the breaker lets it through.
    ///
    /// # Errors
    /// The attempt's, or `unavailable` from the breaker.
    pub(crate) async fn once<T, F, Fut>(&self, tries: &Tries, attempt: F) -> Result<T>
    where
        F: FnOnce(Duration) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let permit = self.breaker.admit()?;
        let limit = tries.left(Instant::now()).min(self.options.call_timeout);
        let outcome = attempt(limit).await;
        permit.record(&outcome);
        outcome
    }

    /// What comes after an attempt that failed with `error`.
    pub(crate) fn after(&self, tries: &mut Tries, error: Error) -> Next {
        let next = tries.failed(error, Instant::now(), fastrand::f64());
        match next {
            Next::Again(_) if self.is_closed() => Next::Stop(tries.stop(closed())),
            next => next,
        }
    }

    /// A link that stands, and the credential to show on it; no breaker is asked.
    ///
    /// # Errors
    /// `unavailable`, or the credentials provider's; nothing was sent.
    pub(crate) async fn line(&self) -> Result<Line> {
        let credential = self.wallet.show().await?;
        Ok(Line { link: self.keeper.link().await?, credential })
    }

    /// A call over `line` got no answer in time.
    pub(crate) fn unanswered(&self, line: &Line) {
        self.keeper.unanswered(&line.link);
    }

    /// What to do about an error over `line`: whether to go on at once over another one, since nothing went out, or
    /// with fresh credentials.
    ///
    /// # Errors
    /// The error itself, or the credentials provider's.
    pub(crate) async fn redirect(&self, line: &Line, error: Error, detours: &mut Detours) -> Result<()> {
        if is_unsent(&error) {
            line.link.retire();
            detours.unsent += 1;
            return if detours.unsent > MAX_DETOURS { Err(error) } else { Ok(()) };
        }
        if is_failure(&error) {
            self.keeper.blame(&line.link);
        }
        if error.kind() == ErrorKind::Unauthenticated
            && !mem::replace(&mut detours.renewed, true)
            && self.wallet.refused(line.credential.as_ref()).await?
        {
            return Ok(());
        }
        Err(error)
    }

    /// A stream works.
    pub(crate) fn succeeded(&self) {
        self.breaker.succeeded();
        self.keeper.worked();
    }

    /// A stream has failed.
    pub(crate) fn failed(&self, error: &Error) {
        self.breaker.failed(error);
        if error.kind() == ErrorKind::Unauthenticated
            && let Some(shown) = self.wallet.held()
        {
            self.wallet.forget(&shown);
        }
        if is_failure(error) {
            self.keeper.failed();
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn state(&self) -> ConnState {
        self.keeper.state.get()
    }

    pub(crate) fn states(&self) -> watch::Receiver<ConnState> {
        self.keeper.state.watch()
    }

    /// Waits until it is connected; `false` when it is closed instead.
    pub(crate) async fn connected(&self) -> bool {
        self.keeper.state.wait(ConnState::Connected).await == ConnState::Connected
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state() == ConnState::Closed
    }

    /// Closes it: calls fail from now on, and nothing is dialled again. Streams under way are their owners' to end.
    pub(crate) fn close(&self) {
        self.keeper.close();
    }

    /// One attempt; it goes on over a fresh link when nothing went out, and once with fresh credentials.
    async fn attempt<T, F, Fut>(&self, effect: Effect, limit: Duration, rpc: &F) -> Result<T>
    where
        F: Fn(Service) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut sent = None;
        let sending = async {
            let mut detours = Detours::default();
            loop {
                let line = self.line().await?;
                sent = Some(Arc::clone(&line.link));
                let answer = rpc(line.service()).await;
                match answer.map_err(|status| read_status(&status)) {
                    Ok(answer) => {
                        line.worked();
                        return Ok(answer.into_inner());
                    }
                    Err(error) => self.redirect(&line, error, &mut detours).await?,
                }
                sent = None;
            }
        };
        match timeout(limit, sending).await {
            Ok(outcome) => outcome.map_err(|error| without_answer(error, effect)),
            Err(_) => Err(match sent {
                Some(link) => {
                    self.keeper.unanswered(&link);
                    late(effect)
                }
                None => late(Effect::None),
            }),
        }
    }
}

/// What one attempt has done already to get through.
#[derive(Debug, Default)]
pub(crate) struct Detours {
    /// How often nothing went out.
    unsent: u32,
    /// Whether the credentials were asked for again.
    renewed: bool,
}

/// A link, and what to show on it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    link: Arc<Link>,
    credential: Option<Credential>,
}

impl Line {
    /// Resolves when nothing new should go over it.
    pub(crate) async fn spent(&self) {
        self.link.spent().await;
    }

    pub(crate) fn service(&self) -> Service {
        let wire =
            Wire::new(Arc::clone(&self.link), self.credential.as_ref().map(Credential::header).cloned());
        EventServiceClient::with_origin(wire, self.link.origin().clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    }

    /// Whether something new may go over it.
    pub(crate) fn is_good(&self) -> bool {
        !self.link.is_spent() && self.credential.as_ref().is_none_or(Credential::is_good)
    }

    /// The gateway answered.
    pub(crate) fn worked(&self) {
        self.link.worked();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// The error that a status tells of: our own where it never left this process, else the gateway's.
pub(crate) fn read_status(status: &Status) -> Error {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(own) = error.downcast_ref::<Error>() {
            return own.clone();
        }
        source = error.source();
    }
    status::from_grpc(status)
}

/// Whether nothing went out, so that the call may go over another link at once.
fn is_unsent(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<Unsent>())
}

/// A call that changes nothing has no effect, whether it was answered or not.
fn without_answer(error: Error, effect: Effect) -> Error {
    match effect {
        Effect::None => error.with_effect(Effect::None),
        Effect::Unknown => error,
    }
}

pub(crate) fn late(effect: Effect) -> Error {
    Error::new(ErrorKind::Timeout, "the gateway did not answer in time").with_effect(effect)
}

fn closed() -> Error {
    Error::unavailable("the transport is closed")
}

//! The one connection that everything of a transport shares: `retry(breaker(rpc))` over whatever link stands.

mod dial;
mod keeper;
mod link;

use std::{future::Future, sync::Arc};

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
    options::Options,
    retry::{Next, Tries},
    state::ConnState,
};

/// The gateway's calls, over one link.
pub(crate) type Service = EventServiceClient<Wire>;

/// How many failures in a row make a link give way to the next endpoint.
const MAX_LINK_FAILURES: u32 = 3;

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
        let deadline = Instant::now() + self.options.deadline;
        let mut tries = Tries::new(self.options.retries.max_attempts, self.options.retries.backoff);
        loop {
            let permit = self.breaker.admit().map_err(|error| tries.stop(error))?;
            let left = deadline.saturating_duration_since(Instant::now());
            let outcome = self.attempt(effect, left.min(self.options.call_timeout), &rpc).await;
            permit.record(&outcome);
            let error = match outcome {
                Ok(answer) => return Ok(answer),
                Err(error) if self.is_closed() => return Err(tries.stop(error)),
                Err(error) => error,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            match tries.failed(error, left, fastrand::f64()) {
                Next::Again(wait) => sleep(wait).await,
                Next::Stop(error) => return Err(error),
            }
        }
    }

    /// The service for a stream. The stream reports how it goes by [`Connection::succeeded`] and
    /// [`Connection::failed`]; after a refusal of its credentials the next service carries fresh ones.
    ///
    /// # Errors
    /// `unavailable` while there is no connection, or while the breaker is open; the credentials provider's.
    pub(crate) async fn service(&self) -> Result<Service> {
        let permit = self.breaker.admit()?;
        let limit = self.options.call_timeout;
        let ready = timeout(limit, async {
            let credential = self.wallet.show().await?;
            Ok((self.keeper.link().await?, credential))
        });
        let ready = ready.await.unwrap_or_else(|_| Err(late(Effect::None)));
        match ready {
            Ok((link, credential)) => {
                permit.keep();
                Ok(self.over(link, credential.as_ref()))
            }
            Err(error) => {
                permit.record::<()>(&Err(error.clone()));
                Err(error)
            }
        }
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

    /// Resolves when it is closed.
    pub(crate) async fn closed(&self) {
        self.keeper.state.wait(ConnState::Closed).await;
    }

    /// Closes it: calls fail from now on, and nothing is dialled again. Streams under way are their owners' to end.
    pub(crate) fn close(&self) {
        self.keeper.close();
    }

    /// One try; a second one under fresh credentials when these are refused, and over a fresh link when the link was
    /// spent before anything went out.
    async fn attempt<T, F, Fut>(&self, effect: Effect, limit: std::time::Duration, rpc: &F) -> Result<T>
    where
        F: Fn(Service) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut sent = false;
        let tries = async {
            let mut renewed = false;
            loop {
                let credential = self.wallet.show().await?;
                let link = self.keeper.link().await?;
                sent = true;
                let answer = rpc(self.over(Arc::clone(&link), credential.as_ref())).await;
                let error = match answer.map_err(|status| read_status(&status)) {
                    Ok(answer) => {
                        link.worked();
                        return Ok(answer.into_inner());
                    }
                    Err(error) => error,
                };
                if is_unsent(&error) {
                    sent = false;
                    link.retire();
                    continue;
                }
                if is_failure(&error) {
                    self.keeper.blame(&link);
                }
                let refused = error.kind() == ErrorKind::Unauthenticated && !renewed;
                if refused && self.wallet.refused(credential.as_ref()).await? {
                    renewed = true;
                    continue;
                }
                return Err(error);
            }
        };
        let outcome = timeout(limit, tries).await;
        match outcome {
            Ok(outcome) => outcome.map_err(|error| without_answer(error, effect)),
            Err(_) if sent => {
                self.keeper.failed();
                Err(late(effect))
            }
            Err(_) => Err(late(Effect::None)),
        }
    }

    fn over(&self, link: Arc<Link>, credential: Option<&Credential>) -> Service {
        let origin = link.origin().clone();
        let wire = Wire::new(link, credential.map(Credential::header).cloned());
        EventServiceClient::with_origin(wire, origin)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
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

fn late(effect: Effect) -> Error {
    Error::new(ErrorKind::Timeout, "the gateway did not answer in time").with_effect(effect)
}

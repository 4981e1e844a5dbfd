//! A bound on how long a call may take.

use std::{error, fmt, time::Duration};

use tokio::time::timeout;

use crate::{
    Effect, Error, ErrorKind, Result,
    bus::{Layer, Service},
};

/// A layer that gives up a call after some time.
///
/// Around a handler: the handler is dropped, and the message comes back. Around publishing: the answer is `timeout`, and
/// the message may or may not be there; published again under the same id it is there once.
#[derive(Clone, Copy, Debug)]
pub struct Timeout(Duration);

impl Timeout {
    /// Gives up after `limit`.
    #[must_use]
    pub const fn after(limit: Duration) -> Self {
        Self(limit)
    }
}

impl<S> Layer<S> for Timeout {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed { limit: self.0, inner }
    }
}

/// A service with a bound on its time: see [`Timeout`].
#[derive(Clone, Copy, Debug)]
pub struct Timed<S> {
    limit: Duration,
    inner: S,
}

impl<Request, S> Service<Request> for Timed<S>
where
    Request: Send,
    S: Service<Request, Error: From<Elapsed>>,
{
    type Response = S::Response;
    type Error = S::Error;

    async fn call(&self, request: Request) -> Result<S::Response, S::Error> {
        match timeout(self.limit, self.inner.call(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Elapsed(self.limit).into()),
        }
    }
}

/// A call took longer than its [`Timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not done within {:?}", self.0)
    }
}

impl error::Error for Elapsed {}

impl From<Elapsed> for Error {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(ErrorKind::Timeout, elapsed.to_string()).with_effect(Effect::Unknown)
    }
}

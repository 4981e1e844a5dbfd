//! The seams of middleware: a service answers requests, a layer puts something around a service.

use std::{fmt, future::Future, sync::Arc};

use futures_util::future::BoxFuture;

use super::{Context, Failure, Publication};
use crate::{Error, Receipt, Result};

/// Answers requests.
///
/// It is tower's `Service` without `poll_ready` and `&mut self`: back-pressure is the subscription's window and its
/// concurrency limit, so a middleware is one `async fn`, and the futures of a stack are one value, not a box a layer.
///
/// ```
/// use busgate_core::bus::{Context, Failure, Layer, Service};
///
/// /// Lets only messages of one source through; the others are settled as done.
/// #[derive(Clone, Debug)]
/// struct OnlyFrom(&'static str);
///
/// #[derive(Debug)]
/// struct OnlyFromService<S>(&'static str, S);
///
/// impl<S> Layer<S> for OnlyFrom {
///     type Service = OnlyFromService<S>;
///
///     fn layer(&self, inner: S) -> Self::Service {
///         OnlyFromService(self.0, inner)
///     }
/// }
///
/// impl<S: Service<Context, Response = (), Error = Failure>> Service<Context> for OnlyFromService<S> {
///     type Response = ();
///     type Error = Failure;
///
///     async fn call(&self, context: Context) -> Result<(), Failure> {
///         if context.source() != self.0 {
///             return Ok(());
///         }
///         self.1.call(context).await
///     }
/// }
/// ```
pub trait Service<Request>: Send + Sync {
    /// The answer.
    type Response: Send;

    /// What can go wrong.
    type Error: Send;

    /// Answers one request. Many may be under way at a time.
    fn call(&self, request: Request) -> impl Future<Output = Result<Self::Response, Self::Error>> + Send;
}

/// Puts something around a service. It is called once per subscription or bus, not per message.
pub trait Layer<S> {
    /// What comes of it.
    type Service;

    /// Wraps `inner`.
    fn layer(&self, inner: S) -> Self::Service;
}

/// A [`Service`] that handles messages: it takes a [`Context`] and answers like a handler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't handle messages",
    label = "not a `Service<Context, Response = (), Error = Failure>`",
    note = "the innermost service decodes the payload and calls your handler; each layer's service must implement `Service<Context>` with `Response = ()` and `Error = Failure`"
)]
pub trait Handling: Service<Context, Response = (), Error = Failure> {}

impl<S: Service<Context, Response = (), Error = Failure>> Handling for S {}

/// A [`Service`] that publishes: it takes a [`Publication`] and answers for each of its messages, in their order.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't publish messages",
    label = "not a `Service<Publication, Response = Vec<Result<Receipt>>, Error = busgate_core::Error>`",
    note = "each layer's service must implement `Service<Publication>` with `Response = Vec<Result<Receipt>>` and `Error = busgate_core::Error`"
)]
pub trait Publishing: Service<Publication, Response = Vec<Result<Receipt>>, Error = Error> {}

impl<S: Service<Publication, Response = Vec<Result<Receipt>>, Error = Error>> Publishing for S {}

/// The layer that adds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl<S> Layer<S> for Identity {
    type Service = S;

    fn layer(&self, inner: S) -> S {
        inner
    }
}

/// Two layers as one: the outer sees a request first.
#[derive(Clone, Copy, Debug)]
pub struct Stack<Outer, Inner> {
    outer: Outer,
    inner: Inner,
}

impl<Outer, Inner> Stack<Outer, Inner> {
    /// `outer` around `inner`.
    pub const fn new(outer: Outer, inner: Inner) -> Self {
        Self { outer, inner }
    }
}

impl<S, Outer: Layer<Inner::Service>, Inner: Layer<S>> Layer<S> for Stack<Outer, Inner> {
    type Service = Outer::Service;

    fn layer(&self, inner: S) -> Self::Service {
        self.outer.layer(self.inner.layer(inner))
    }
}

/// A service whose type is forgotten, at the price of one box per request.
pub struct Boxed<Request, Response, Error>(Arc<dyn Erased<Request, Response, Error>>);

/// A boxed [`Handling`].
pub type BoxedHandling = Boxed<Context, (), Failure>;

/// A boxed [`Publishing`].
pub type BoxedPublishing = Boxed<Publication, Vec<Result<Receipt>>, Error>;

trait Erased<Request, Response, Error>: Send + Sync {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>>;
}

impl<S, Request> Erased<Request, S::Response, S::Error> for S
where
    S: Service<Request>,
    Request: Send + 'static,
{
    fn call(&self, request: Request) -> BoxFuture<'_, Result<S::Response, S::Error>> {
        Box::pin(Service::call(self, request))
    }
}

impl<Request: Send + 'static, Response: Send, Error: Send> Boxed<Request, Response, Error> {
    /// Forgets the type of `service`.
    pub fn new(service: impl Service<Request, Response = Response, Error = Error> + 'static) -> Self {
        Self(Arc::new(service))
    }

    /// Calls it, without a second box.
    pub(super) fn start(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        self.0.call(request)
    }
}

impl<Request, Response, Error> Service<Request> for Boxed<Request, Response, Error>
where
    Request: Send + 'static,
    Response: Send,
    Error: Send,
{
    type Response = Response;
    type Error = Error;

    fn call(&self, request: Request) -> impl Future<Output = Result<Response, Error>> + Send {
        self.0.call(request)
    }
}

impl<Request, Response, Error> Clone for Boxed<Request, Response, Error> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Request, Response, Error> fmt::Debug for Boxed<Request, Response, Error> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Boxed").finish_non_exhaustive()
    }
}

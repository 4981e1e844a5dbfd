//! One HTTP/2 connection to one endpoint, and the service that sends calls over it.

use std::{
    error, fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
};

use busgate_core::{Effect, Error, Result, Tasks};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, Uri,
    header::{AUTHORIZATION, USER_AGENT},
};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, client::conn::http2, rt::Executor};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::greeting::Greeted;
use crate::{
    connector::Io,
    options::{Dialling, Target},
};

/// How many bytes may be under way to us, of one stream and of all: one that nobody reads holds up no other.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// An HTTP/2 connection. It lives as long as anything uses it: a call, or the body of an answer.
pub(crate) struct Link {
    endpoint: usize,
    origin: Uri,
    user_agent: HeaderValue,
    /// Gone when nothing new goes over it; the connection ends with what is under way then.
    sender: Mutex<Option<http2::SendRequest<Body>>>,
    /// Nothing new goes over it any more.
    spent: CancellationToken,
    /// Whether anything was ever answered over it.
    proven: AtomicBool,
    /// Failures in a row.
    failures: AtomicU32,
    _tasks: Arc<Tasks>,
}

impl Link {
    /// Speaks HTTP/2 over `io`, with who speaks it as well.
    pub(super) async fn over(
        io: Box<dyn Io>,
        (endpoint, target): (usize, &Target),
        dialling: &Dialling,
        user_agent: HeaderValue,
    ) -> io::Result<Arc<Self>> {
        let tasks = Arc::new(Tasks::new());
        let (io, greeted) = Greeted::new(io);
        let (sender, connection) = http2::Builder::new(Owned(Arc::downgrade(&tasks)))
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(dialling.keepalive_interval)
            .keep_alive_timeout(dialling.keepalive_timeout)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(io))
            .await
            .map_err(io::Error::other)?;
        let spent = CancellationToken::new();
        let ended = spent.clone().drop_guard();
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the gateway broke");
            }
            drop(ended);
        });
        greeted.await.map_err(|_| io::Error::other("it speaks no HTTP/2, or hung up"))?;
        Ok(Arc::new(Self {
            endpoint,
            origin: target.origin().clone(),
            user_agent,
            sender: Mutex::new(Some(sender)),
            spent,
            proven: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            _tasks: tasks,
        }))
    }

    /// The place of its endpoint among all.
    pub(super) const fn endpoint(&self) -> usize {
        self.endpoint
    }

    pub(super) const fn origin(&self) -> &Uri {
        &self.origin
    }

    /// Sends nothing new over it; what is under way goes on.
    pub(super) fn retire(&self) {
        self.spent.cancel();
        drop(self.sender.lock().take());
    }

    pub(super) fn is_spent(&self) -> bool {
        self.spent.is_cancelled()
    }

    /// Resolves when nothing new goes over it.
    pub(super) async fn spent(&self) {
        self.spent.cancelled().await;
    }

    pub(super) fn worked(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.proven.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// How often in a row it failed, this time included.
    pub(super) fn failed(&self) -> u32 {
        self.failures.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Runs the tasks of a link as its own.
#[derive(Clone)]
struct Owned(Weak<Tasks>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Owned {
    fn execute(&self, task: F) {
        if let Some(tasks) = self.0.upgrade() {
            tasks.spawn(task);
        }
    }
}

/// Sends calls over a link, with the headers that each call carries.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    link: Arc<Link>,
    authorization: Option<HeaderValue>,
}

impl Wire {
    pub(super) const fn new(link: Arc<Link>, authorization: Option<HeaderValue>) -> Self {
        Self { link, authorization }
    }
}

impl tower_service::Service<Request<Body>> for Wire {
    type Response = Response<Answer>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let link = Arc::clone(&self.link);
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, link.user_agent.clone());
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let sender = link.sender.lock().clone();
        let answer = sender.map(|mut sender| sender.try_send_request(request));
        Box::pin(async move {
            let Some(answer) = answer else { return Err(unsent()) };
            match answer.await {
                Ok(response) => Ok(response.map(|body| Answer { body, _link: link })),
                // What comes back did not go out.
                Err(error) if error.message().is_some() => Err(unsent()),
                Err(error) => Err(lost(error.into_error())),
            }
        })
    }
}

/// Marks an error of a call of which nothing went out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsent;

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing was sent")
    }
}

impl error::Error for Unsent {}

/// The body of an answer; its link lives as long.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Incoming,
    _link: Arc<Link>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(lost)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn unsent() -> Error {
    Error::unavailable("the connection to the gateway is gone").with_source(Unsent)
}

/// The connection broke under a call: nobody knows how far it got.
fn lost(error: hyper::Error) -> Error {
    Error::unavailable("the connection to the gateway was lost")
        .with_effect(Effect::Unknown)
        .with_source(error)
}

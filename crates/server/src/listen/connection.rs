//! One connection, from its first byte to its last.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, extract::Request};
use busgate_core::Dormant;
use http::Response;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{Peer, Socket, protocol, protocol::Protocol, timer::Timer};
use crate::{
    app::App,
    doors::{body::Never, front::Front},
};

/// How often an HTTP/2 connection is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long it may take to say so.
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// How many bytes of one stream, and of one connection, a client may send ahead.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// How many bytes wait for the socket in each stream: a stalled client holds no more, however wide its windows are.
const SEND_BUFFER: usize = 64 * 1024;

/// The most bytes of a request's head.
const MAX_HEAD_BYTES: u32 = 64 * 1024;

/// What a listener serves.
#[derive(Clone, Debug)]
pub(crate) enum Service {
    /// HTTP doors.
    Http(Arc<Front>),
    /// gRPC.
    Grpc(Router),
}

/// Serves a connection until it ends, or until `goodbye`: then it finishes what it has begun.
pub(super) async fn serve(
    stream: TcpStream,
    peer: Peer,
    service: Service,
    app: Arc<App>,
    goodbye: CancellationToken,
) {
    let address = peer.address();
    let protocol = tokio::select! {
        detected = protocol::detect(&stream, app.doors.header_timeout) => detected,
        () = goodbye.cancelled() => return,
    };
    let Ok(Some(protocol)) = protocol else {
        tracing::debug!(%address, "a connection ended before it said anything");
        return;
    };
    if let Err(error) = speak(protocol, stream, peer, service, app, goodbye).await {
        tracing::debug!(%address, %error, "a connection broke off");
    }
}

type Ended = hyper::Result<()>;

async fn speak(
    protocol: Protocol,
    stream: TcpStream,
    peer: Peer,
    service: Service,
    app: Arc<App>,
    goodbye: CancellationToken,
) -> Ended {
    let io = TokioIo::new(Socket::new(stream, app.doors.write_timeout));
    match service {
        Service::Http(front) => {
            let answer = service_fn(move |request| Arc::clone(&front).answer(request, peer.clone()));
            match protocol {
                Protocol::Http1 => {
                    let connection = http1(&app).serve_connection(io, answer).with_upgrades();
                    until(goodbye, connection, |connection| connection.graceful_shutdown()).await
                }
                Protocol::Http2 => {
                    let connection = http2(&app).serve_connection(io, answer);
                    until(goodbye, connection, |connection| connection.graceful_shutdown()).await
                }
            }
        }
        Service::Grpc(router) => {
            let answer = service_fn(move |request| call(router.clone(), request, peer.clone()));
            match protocol {
                Protocol::Http1 => {
                    let connection = http1(&app).serve_connection(io, answer);
                    until(goodbye, connection, |connection| connection.graceful_shutdown()).await
                }
                Protocol::Http2 => {
                    let connection = http2(&app).serve_connection(io, answer);
                    until(goodbye, connection, |connection| connection.graceful_shutdown()).await
                }
            }
        }
    }
}

/// Answers a gRPC call.
async fn call(router: Router, mut request: Request<Incoming>, peer: Peer) -> Result<Response<Body>, Never> {
    request.extensions_mut().insert(peer);
    router.oneshot(request).await
}

/// Runs a connection; after `goodbye` it is told to take no more requests.
async fn until<C>(goodbye: CancellationToken, connection: C, tell: impl FnOnce(Pin<&mut C>)) -> Ended
where
    C: Future<Output = Ended>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = Dormant::new(goodbye.cancelled_owned()) => {}
    }
    tell(connection.as_mut());
    connection.await
}

fn http1(app: &App) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(Timer::default()).header_read_timeout(app.doors.header_timeout);
    builder.max_buf_size(MAX_HEAD_BYTES as usize);
    builder
}

fn http2(app: &App) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(app.doors.max_streams)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_PATIENCE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEAD_BYTES);
    builder
}

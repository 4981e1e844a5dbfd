//! WebSocket: one event a socket (`/v1/events/{name}/subscribe`), or many subscriptions and publishing (`/v1/ws`).
//!
//! Everything that can be refused is refused before the 101. After it the raw socket is taken out of the HTTP server,
//! and one task moves bytes: [`pump`]. What is said on it is decided by [`session`], which knows no socket.

mod backlog;
mod calls;
mod decoder;
mod deflate;
mod dialect;
mod frame;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod handshake;
mod outbox;
mod pump;
mod session;
mod subscriptions;

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    routing,
};
use busgate_core::{AckMode, Caller, Error};
use busgate_wire::{encoding::Encoding, query::SubscribeQuery};
use http::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use self::{
    calls::Calls,
    decoder::Decoder,
    dialect::Dialect,
    handshake::Handshake,
    pump::Pump,
    session::{Purpose, Route, Session},
    subscriptions::{Many, Subscription, Subscriptions},
};
use super::{
    extract::{Authenticated, Target, no_options},
    problem::Problem,
    request_id::RequestId,
};
use crate::{
    app::App,
    listen::{Peer, Socket},
};

/// The most bytes of a client's frame beside twice the largest payload: metadata, or ack ids. Twice, because base64 and
/// JSON's escapes take room.
const FRAME_BYTES: usize = 1024 * 1024;

/// The WebSocket endpoints.
pub(crate) fn routes() -> Router<Arc<App>> {
    let routes = Router::new()
        .route("/v1/events/{name}/subscribe", routing::get(subscribe))
        .route("/v1/ws", routing::get(converse));
    #[cfg(test)]
    let routes = routes.route("/echo", routing::get(tests::echo));
    routes
}

/// What a socket needs beside its conversation.
struct Opening {
    app: Arc<App>,
    caller: Caller,
    upgrade: OnUpgrade,
    /// Whether messages may be compressed.
    deflates: bool,
    /// Holds the socket's place in the limit of connections.
    peer: Peer,
}

/// One event or pattern; the socket ends with its subscription.
async fn subscribe(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    Target(target): Target,
    Extension(request_id): Extension<RequestId>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
) -> Result<Response<Body>, Problem> {
    let handshake = Handshake::of(&request)?;
    let query = SubscribeQuery::parse(request.uri().query().unwrap_or_default())?;
    let encoding = query.encoding();
    if handshake.dialect() == Dialect::Proto && encoding != Encoding::Base64 {
        return Err(Error::invalid("encoding is for JSON frames").into());
    }
    let source = app.gateway.subscribe(&caller, query.into_request(target, AckMode::Manual)?).await?;
    let route = Route { sub: None, encoding };
    let only = Subscriptions::One(Subscription { route, source: Box::new(source) });
    let session = Session::new(
        handshake.dialect(),
        Purpose::One,
        handshake.deflates(),
        Some(request_id.as_str().into()),
    );
    let upgrade = hyper::upgrade::on(&mut request);
    open(Opening { app, caller, upgrade, deflates: handshake.deflates(), peer }, session, only);
    Ok(handshake.response())
}

/// Many subscriptions, and publishing.
async fn converse(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    Extension(request_id): Extension<RequestId>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
) -> Result<Response<Body>, Problem> {
    let handshake = Handshake::of(&request)?;
    no_options(request.uri().query())?;
    if app.gateway.is_draining() {
        return Err(Error::unavailable("the gateway is draining").into());
    }
    let session = Session::new(
        handshake.dialect(),
        Purpose::Many,
        handshake.deflates(),
        Some(request_id.as_str().into()),
    );
    let upgrade = hyper::upgrade::on(&mut request);
    open(
        Opening { app, caller, upgrade, deflates: handshake.deflates(), peer },
        session,
        Subscriptions::Many(Many::default()),
    );
    Ok(handshake.response())
}

/// Talks on the socket as soon as the HTTP server has let go of it.
fn open(opening: Opening, session: Session, subscriptions: Subscriptions) {
    let Opening { app, caller, upgrade, deflates, peer } = opening;
    let owner = Arc::clone(&app);
    owner.tasks.spawn(async move {
        let (io, early) = match upgrade.await.map(Upgraded::downcast::<TokioIo<Socket>>) {
            Ok(Ok(parts)) => (parts.io.into_inner(), parts.read_buf),
            Ok(Err(_)) => return tracing::error!("the connection is no TCP stream"),
            Err(error) => return tracing::debug!(%error, "a socket was not opened"),
        };
        let mut pump = Box::new(Pump {
            io,
            decoder: Decoder::new(FRAME_BYTES + 2 * app.doors.max_payload_bytes, deflates),
            session,
            subscriptions,
            gateway: app.gateway.clone(),
            heartbeat: app.doors.heartbeat,
            calls: Calls::new(app, caller),
        });
        pump.take(&early);
        // However little came, it keeps a whole buffer of the HTTP server.
        drop(early);
        pump.run().await;
        drop(peer);
    });
}

#[cfg(test)]
mod tests;

//! Moves bytes between one socket, its conversation and the gateway: one task, nothing queued between them.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use busgate_core::Gateway;
use busgate_wire::status::DEFAULT_RETRY_AFTER;
use futures_util::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use super::{
    backlog::Ask,
    calls::{Calls, Done},
    decoder::Decoder,
    outbox::Outbox,
    session::{Parting, Route, Session},
    subscriptions::{Subscription, Subscriptions},
};

/// How long a socket that ends may take to finish its work and to close.
const PATIENCE: Duration = Duration::from_secs(5);

thread_local! {
    /// Where bytes are read into: they are decoded before the task waits again, so that all sockets can share it.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 32 * 1024]);
}

/// A socket that talks.
pub(super) struct Pump<IO> {
    pub(super) io: IO,
    pub(super) decoder: Decoder,
    pub(super) session: Session,
    pub(super) subscriptions: Subscriptions,
    pub(super) calls: Calls,
    pub(super) gateway: Gateway,
    pub(super) heartbeat: Duration,
}

/// What moved.
#[derive(Debug)]
enum Moved {
    /// Everything that was to go out went.
    Out,
    /// Something came in.
    In,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Pump<IO> {
    /// Takes in what came with the handshake.
    pub(super) fn take(&mut self, early: &[u8]) {
        decode(&mut self.decoder, &mut self.session, early);
    }

    /// Talks until either side ends it.
    pub(super) async fn run(mut self: Box<Self>) {
        self.talk().await;
        // Whoever does not take the farewell in time goes without. Boxed, so that a socket that talks keeps no room for it.
        _ = timeout(PATIENCE, Box::pin(self.part())).await;
    }

    async fn talk(&mut self) {
        let mut ticks = interval_at(Instant::now() + self.heartbeat, self.heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let gateway = self.gateway.clone();
        let mut draining = pin!(gateway.draining());
        loop {
            self.begin_calls();
            self.session.rest(self.calls.is_busy());
            if self.session.parting().is_some() {
                return;
            }
            let Self { io, decoder, session, subscriptions, calls, .. } = &mut *self;
            let (watch, deliver) = (!session.is_draining(), session.outbox.is_empty());
            tokio::select! {
                moved = poll_fn(|cx| poll_move(cx, io, decoder, session)) => self.moved(moved),
                done = poll_fn(|cx| calls.poll_done(cx)) => self.done(done),
                ready = subscriptions.next(), if deliver => {
                    subscriptions.deliver(ready, session);
                    self.write_now();
                }
                _ = ticks.tick() => session.tick(),
                () = &mut draining, if watch && subscriptions.is_empty() => session.drain(DEFAULT_RETRY_AFTER),
            }
        }
    }

    /// Finishes the work that was asked for and closes. The subscriptions end when the client has been told: a gateway
    /// that drains waits for them.
    async fn part(mut self: Box<Self>) {
        loop {
            self.begin_calls();
            if !self.calls.is_busy() {
                break;
            }
            let done = poll_fn(|cx| self.calls.poll_done(cx)).await;
            self.done(done);
        }
        let Self { mut io, mut session, subscriptions, .. } = *self;
        let Some(Parting::Close(close)) = session.parting().cloned() else { return };
        session.say_goodbye(&close);
        let closed = close_gently(&mut io, &mut session.outbox, subscriptions).await;
        if let Err(error) = closed {
            tracing::trace!(%error, "a socket broke off while it was closed");
        }
    }

    /// Starts what the client asked for.
    fn begin_calls(&mut self) {
        let Self { session, calls, subscriptions, .. } = self;
        if calls.can_settle() {
            let frames = session.backlog.take_settles();
            if !frames.is_empty() {
                calls.settle(frames);
            }
        }
        while calls.can_ask() {
            match session.backlog.take_ask() {
                None => return,
                Some(Ask::Publish { event, batch }) => calls.publish(event, batch),
                Some(Ask::Subscribe { sub, request, encoding }) => {
                    calls.subscribe(sub, encoding, *request);
                }
                Some(Ask::Unsubscribe { reference, sub }) => {
                    if session.unsubscribed(reference, &sub) {
                        subscriptions.remove(&sub);
                    }
                }
            }
        }
    }

    fn done(&mut self, done: Done) {
        let session = &mut self.session;
        match done {
            Done::Settled(frames) => {
                frames.into_iter().for_each(|(frame, result)| session.settled(frame, result));
            }
            Done::Published(frames) => {
                frames.into_iter().for_each(|(reference, result)| session.published(reference, result));
            }
            Done::Subscribed(sub, _, Err(error)) => session.subscribed(sub, Err(error)),
            Done::Subscribed(sub, encoding, Ok(source)) => {
                session.subscribed(sub.clone(), Ok(()));
                let route = Route { sub: Some(sub), encoding };
                self.subscriptions.add(Subscription { route, source });
            }
        }
    }

    fn moved(&mut self, moved: io::Result<Moved>) {
        match moved {
            Ok(Moved::In) => {}
            Ok(Moved::Out) => {
                self.session.flushed();
                self.subscriptions.handed_off();
            }
            Err(error) => {
                tracing::trace!(%error, "a socket broke off");
                self.session.lost();
            }
        }
    }

    /// Writes at once: most of the time the socket has room, and waiting for it would only cost.
    fn write_now(&mut self) {
        let Self { io, session, .. } = self;
        if let Some(written) = poll_fn(|cx| session.outbox.poll_write_all(cx, io)).now_or_never() {
            self.moved(written.map(|()| Moved::Out));
        }
    }
}

/// Writes the last frames, ends this side, and waits for the other: unread bytes would have the client lose them.
async fn close_gently<IO: AsyncRead + AsyncWrite + Unpin>(
    io: &mut IO,
    outbox: &mut Outbox,
    subscriptions: Subscriptions,
) -> io::Result<()> {
    poll_fn(|cx| outbox.poll_write_all(cx, io)).await?;
    poll_fn(|cx| Pin::new(&mut *io).poll_shutdown(cx)).await?;
    drop(subscriptions);
    while poll_fn(|cx| poll_read(cx, io, <[u8]>::len)).await? > 0 {}
    Ok(())
}

/// Writes what waits and reads what the conversation has room for, until either has happened.
fn poll_move<IO: AsyncRead + AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    io: &mut IO,
    decoder: &mut Decoder,
    session: &mut Session,
) -> Poll<io::Result<Moved>> {
    if !session.outbox.is_empty() {
        let before = session.outbox.bytes();
        if let Poll::Ready(written) = session.outbox.poll_write_all(cx, io) {
            return Poll::Ready(written.map(|()| Moved::Out));
        }
        if session.outbox.bytes() < before {
            // The client makes room by reading.
            session.heard();
        }
    }
    if !session.can_read() {
        return Poll::Pending;
    }
    let read = ready!(poll_read(cx, io, |bytes| {
        decode(decoder, session, bytes);
        bytes.len()
    }))?;
    Poll::Ready(if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Moved::In) })
}

/// Reads some bytes and shows them to `take`; none at the end of the stream.
fn poll_read<IO: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    io: &mut IO,
    take: impl FnOnce(&[u8]) -> usize,
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(take(buffer.filled())))
    })
}

pub(super) fn decode(decoder: &mut Decoder, session: &mut Session, mut bytes: &[u8]) {
    session.heard();
    while session.parting().is_none() {
        match decoder.next(&mut bytes) {
            Ok(Some(incoming)) => session.take(incoming),
            Ok(None) => return,
            Err(violation) => session.violated(violation),
        }
    }
}

//! A subscription over a `Consume` stream, which comes back when it breaks.

mod driver;
mod held;
mod intake;
mod outbound;
mod outbox;
mod plan;
mod resume;
mod session;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use busgate_core::{Delivery, Effect, EventName, Holder, Item, Result, SettleAnswer, Transport};
use futures_core::Stream;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    driver::Driver,
    outbox::{FRAME_ENTRIES, Outbox},
    plan::Plan,
    resume::{Patience, Row},
    session::{Session, Yielded},
};
use crate::subscription::Departures;

/// Gets the answers to what was settled over a stream; else, when that broke first, whether it may have happened.
pub(crate) type Waiter = oneshot::Sender<Result<Vec<SettleAnswer>, Effect>>;

/// What the parts of one subscription share: the program that reads it, the stream's body that writes its frames, the
/// driver that keeps it going, and whoever settles.
#[derive(Debug)]
pub(crate) struct Shared {
    session: Mutex<Session<Waiter>>,
    /// The program, when it waits for an item.
    program: AtomicWaker,
    /// The body of the stream's request, when it waits for a frame.
    body: AtomicWaker,
    /// The driver, told that the program has left or has room again.
    turn: Notify,
    /// Cancelled when everything of it has come to its end.
    pub(crate) gone: CancellationToken,
}

impl Shared {
    pub(crate) fn new(session: Session<Waiter>) -> Self {
        Self {
            session: Mutex::new(session),
            program: AtomicWaker::new(),
            body: AtomicWaker::new(),
            turn: Notify::new(),
            gone: CancellationToken::new(),
        }
    }

    /// Changes the session, and wakes whoever that gives something to do.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Session<Waiter>) -> T) -> T {
        let (out, has_frame, is_ready) = {
            let mut session = self.session.lock();
            let out = change(&mut session);
            (out, session.has_frame(), session.is_ready())
        };
        if has_frame {
            self.body.wake();
        }
        if is_ready {
            self.program.wake();
        }
        out
    }

    /// The program leaves, or the transport closes: `change` says which.
    pub(crate) fn end(&self, change: impl FnOnce(&mut Session<Waiter>)) {
        self.with(change);
        self.turn.notify_one();
    }

    /// The next thing for the program.
    fn poll(&self) -> Option<Yielded> {
        let (found, has_frame, has_room) = {
            let mut session = self.session.lock();
            let stood = !session.may_read();
            let found = session.poll(Instant::now());
            (found, session.has_frame(), stood && session.may_read())
        };
        if has_frame {
            self.body.wake();
        }
        if has_room {
            self.turn.notify_one();
        }
        found
    }
}

/// The subscription as the program reads it. Dropping it leaves.
pub(crate) struct Program {
    pub(crate) shared: Arc<Shared>,
    pub(crate) transport: Arc<dyn Transport>,
    /// Of which event it takes whose messages, if others of the same wait for it to leave.
    pub(crate) seat: Option<(EventName, Holder)>,
    /// Told when it leaves.
    pub(crate) departures: Arc<Departures>,
}

impl Program {
    /// The next thing. Cancel-safe.
    pub(crate) fn poll_yielded(&self, cx: &mut Context<'_>) -> Poll<Yielded> {
        if let Some(yielded) = self.shared.poll() {
            return Poll::Ready(yielded);
        }
        self.shared.program.register(cx.waker());
        // Something may have come before the waker stood there.
        self.shared.poll().map_or(Poll::Pending, Poll::Ready)
    }

    fn item(&self, yielded: Yielded) -> Option<Result<Item>> {
        let (received, token) = match yielded {
            Yielded::Message(received, token) => (received, token),
            Yielded::Gap(gap) => return Some(Ok(Item::Gap(gap))),
            Yielded::End(error) => return error.map(Err),
        };
        let (message, cursor) = (Arc::new(received.message), received.cursor);
        Some(Ok(Item::Delivery(match token {
            None => Delivery::unleased(received.event, message, cursor),
            Some(token) => {
                Delivery::leased(token, message, cursor, received.attempt, Arc::clone(&self.transport))
            }
        })))
    }
}

impl Stream for Program {
    type Item = Result<Item>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_yielded(cx).map(|yielded| self.item(yielded))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some((event, holder)) = self.seat.take() {
            self.departures.begin(event, holder, self.shared.gone.clone());
        }
        self.shared.end(Session::leave);
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("seat", &self.seat).finish_non_exhaustive()
    }
}

//! Keeps a subscription going: opens its stream, reads it, keeps leases alive, and comes back when it breaks.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use busgate_core::{Effect, Error, ErrorKind, Pattern, Result, SettleAction, SettleRequest};
use busgate_wire::{
    convert::{self, Frame},
    proto::event::v1::ConsumeResponse,
};
use futures_util::StreamExt;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until, timeout},
};
use tonic::Streaming;

use super::{FRAME_ENTRIES, Program, Row, Session, Shared, Waiter, outbound::Outbound, session};
use crate::{
    connection::{Connection, Detours, late, read_status},
    settle::Unary,
};

/// How many frames are taken in at once.
const BATCH: usize = 128;

/// How a stream ended.
#[derive(Debug)]
enum Ending {
    /// The event was unregistered.
    Closed,
    /// The program has left.
    Left,
    Failed(Error),
}

/// Keeps one subscription going until its program leaves, or it ends for good.
pub(crate) struct Driver {
    pub(crate) connection: Arc<Connection>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) unary: Arc<Unary>,
    /// What it is subscribed to.
    pub(crate) target: Pattern,
    pub(crate) row: Row,
}

impl Driver {
    /// Opens the first stream, hands the program its end, and goes on until the end. A program that does not wait any
    /// more leaves no subscription behind.
    pub(crate) async fn run(mut self, program: Program, mut opened: oneshot::Sender<Result<Program>>) {
        let _gone = self.shared.gone.clone().drop_guard();
        let first = tokio::select! {
            biased;
            () = opened.closed() => return,
            first = self.connection.persist(|limit| self.open(limit)) => first,
        };
        match first {
            Err(error) => _ = opened.send(Err(error)),
            Ok(inbound) => {
                self.shared.with(Session::opened);
                // Whoever does not take it drops it, and so leaves.
                drop(opened.send(Ok(program)));
                self.follow(inbound).await;
            }
        }
    }

    /// One stream: over a fresh link when nothing went out, and once with fresh credentials.
    async fn open(&self, limit: Duration) -> Result<Streaming<ConsumeResponse>> {
        let opening = async {
            let mut detours = Detours::default();
            loop {
                let line = self.connection.line().await?;
                let answer = line.service().consume(Outbound::new(&self.shared)).await;
                match answer.map_err(|status| read_status(&status)) {
                    Ok(answer) => {
                        line.worked();
                        return Ok(answer.into_inner());
                    }
                    Err(error) => self.connection.redirect(&line, error, &mut detours).await?,
                }
            }
        };
        timeout(limit, opening).await.unwrap_or_else(|_| Err(late(Effect::None)))
    }

    async fn follow(&mut self, first: Streaming<ConsumeResponse>) {
        let mut inbound = first;
        let last = loop {
            let ending = self.read(&mut inbound).await;
            drop(inbound);
            self.broken();
            let error = match ending {
                Ending::Closed => break None,
                Ending::Left => {
                    self.give_back().await;
                    break None;
                }
                Ending::Failed(error) => error,
            };
            match self.again(error).await {
                Ok(Some(stream)) => inbound = stream,
                Ok(None) => {
                    self.give_back().await;
                    break None;
                }
                Err(error) => break Some(error),
            }
        };
        self.shared.with(|session| session.finish(last));
    }

    /// Whoever waits for answers of the stream is told that there will be none.
    fn broken(&self) {
        for (waiter, effect) in self.shared.with(Session::broken) {
            // Whoever does not wait any more does not need to know.
            _ = waiter.send(Err(effect));
        }
    }

    /// Reads a stream to its end.
    async fn read(&mut self, inbound: &mut Streaming<ConsumeResponse>) -> Ending {
        let mut frames = Vec::new();
        let timer = sleep_until(Instant::now());
        tokio::pin!(timer);
        let mut armed = false;
        let mut leave_by = None;
        loop {
            let (leaving, may_read, wake_at) =
                self.shared.with(|session| (session.is_leaving(), session.may_read(), session.wake_at()));
            if leaving && leave_by.is_none() {
                let by = Instant::now() + self.connection.options().call_timeout;
                leave_by = Some(by);
                timer.as_mut().reset(by);
                armed = true;
            }
            // What is due later than the timer is looked at then: leases only ever get younger.
            if let Some(at) = wake_at.filter(|_| !armed) {
                timer.as_mut().reset(at);
                armed = true;
            }
            let ending = tokio::select! {
                biased;
                () = self.shared.turn.notified() => None,
                () = &mut timer, if armed => {
                    armed = false;
                    self.shared.with(|session| session.tick(Instant::now()));
                    leave_by.filter(|by| *by <= Instant::now()).map(|_| Ending::Left)
                }
                ending = gather(inbound, &mut frames), if may_read => ending,
            };
            let taken = self.take(&mut frames);
            if let Some(ending) = taken.err().map(Ending::Failed).or(ending) {
                return if self.shared.with(|session| session.is_leaving()) { Ending::Left } else { ending };
            }
        }
    }

    fn take(&mut self, frames: &mut Vec<Frame>) -> Result<()> {
        if frames.is_empty() {
            return Ok(());
        }
        if frames.iter().any(|frame| matches!(frame, Frame::Message(_))) {
            self.row.delivered();
        }
        let now = Instant::now();
        let answered: Result<session::Answered<Waiter>> = self.shared.with(|session| {
            let mut answered = Vec::new();
            for frame in frames.drain(..) {
                answered.append(&mut session.received(now, frame)?);
            }
            Ok(answered)
        });
        for (waiter, answers) in answered? {
            // Whoever does not wait any more does not need to know.
            _ = waiter.send(Ok(answers));
        }
        Ok(())
    }

    /// Comes back after a failure; `None` when the program has left meanwhile.
    ///
    /// # Errors
    /// The failure that was one too many.
    async fn again(&mut self, error: Error) -> Result<Option<Streaming<ConsumeResponse>>> {
        self.connection.failed(&error);
        let mut error = error;
        loop {
            if let Some(callback) = &self.connection.options().subscribing.on_error {
                callback.tell(&error);
            }
            let Some(wait) = self.wait(&error) else { return Err(error) };
            tracing::debug!(%error, ?wait, "a subscription comes back");
            let opened = tokio::select! {
                biased;
                () = self.left() => return Ok(None),
                opened = self.reopen(wait) => opened,
            };
            match opened {
                Ok(inbound) => {
                    self.connection.succeeded();
                    self.shared.with(Session::opened);
                    let (unary, target, orphans) =
                        (Arc::clone(&self.unary), self.target.clone(), self.orphans());
                    self.connection.tasks.spawn(async move { release(&unary, &target, orphans).await });
                    return Ok(Some(inbound));
                }
                Err(failed) => error = failed,
            }
        }
    }

    async fn reopen(&self, wait: Duration) -> Result<Streaming<ConsumeResponse>> {
        sleep(wait).await;
        self.connection.once(&self.connection.tries(), |limit| self.open(limit)).await
    }

    /// How long to wait before the next try, if there is one. Credentials that ran out are renewed with it.
    fn wait(&mut self, error: &Error) -> Option<Duration> {
        let renewable = self.connection.options().credentials.is_some();
        if renewable && error.kind() == ErrorKind::Unauthenticated && self.row.renews() {
            return Some(Duration::ZERO);
        }
        self.row.failed(error, fastrand::f64())
    }

    async fn left(&self) {
        while !self.shared.with(|session| session.is_leaving()) {
            self.shared.turn.notified().await;
        }
    }

    fn orphans(&self) -> Vec<String> {
        self.shared.with(Session::take_orphans)
    }

    /// What came and was never yielded goes back, uncounted.
    async fn give_back(&self) {
        release(&self.unary, &self.target, self.orphans()).await;
    }
}

async fn release(unary: &Unary, target: &Pattern, ack_ids: Vec<String>) {
    let release = |ack_id: &String| {
        let action = SettleAction::Release { counted: false };
        SettleRequest { ack_id: ack_id.clone(), action }
    };
    for chunk in ack_ids.chunks(FRAME_ENTRIES) {
        if let Err(error) = unary.settle(target, chunk.iter().map(release).collect()).await {
            tracing::debug!(%error, "what was not taken could not be given back, its leases will run out");
        }
    }
}

/// Takes what has come, and waits when there is nothing. Cancel-safe.
async fn gather(inbound: &mut Streaming<ConsumeResponse>, frames: &mut Vec<Frame>) -> Option<Ending> {
    poll_fn(|cx| {
        while frames.len() < BATCH {
            match inbound.poll_next_unpin(cx) {
                Poll::Pending if frames.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(None) => return Poll::Ready(Some(Ending::Closed)),
                Poll::Ready(Some(Err(status))) => {
                    return Poll::Ready(Some(Ending::Failed(read_status(&status))));
                }
                Poll::Ready(Some(Ok(response))) => match convert::read_consumed(response) {
                    Ok(frame) => frames.extend(frame),
                    Err(error) => return Poll::Ready(Some(Ending::Failed(error))),
                },
            }
        }
        Poll::Ready(None)
    })
    .await
}

//! A subscription with all that a gateway offers beyond a [`Transport`]: patterns, ages, and deliveries by their ack ids.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use busgate_core::{
    DEFAULT_ACK_WAIT, Gap, Pattern, Result, SettleAnswer, SettleRequest, SubscribeRequest, Transport,
};
use busgate_wire::convert::Received;
use futures_core::Stream;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    settle::{self, Unary},
    stream::{Program, Shared, Yielded},
    subscription::Face,
    transport::RemoteTransport,
};

/// What a [`Following`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// A message, with its ack id when it is to be settled.
    Message(Box<Received>),
    /// Messages that can't be had.
    Gap(Gap),
}

/// A subscription as a gateway offers it: a stream that comes back when it breaks, and ends with the error that it can't
/// come back from, or without one when the event was unregistered.
///
/// Dropping it leaves, and gives nothing back that was yielded: that may be settled by its ack id for as long as its lease
/// runs.
pub struct Following {
    program: Program,
    unary: Arc<Unary>,
    target: Pattern,
    call_timeout: Duration,
}

impl RemoteTransport {
    /// Follows what `request` asks for. Without an `ack_wait` leases run for [`DEFAULT_ACK_WAIT`].
    ///
    /// An unnamed subscription of one event goes on after what came last when its stream broke; what it had yielded and
    /// waited to see settled is not delivered again. An unnamed one of a pattern goes on live, and a gap says so.
    ///
    /// # Errors
    /// What the gateway refuses the request with; `unavailable` or `timeout` when it does not answer.
    pub async fn follow(self: &Arc<Self>, mut request: SubscribeRequest) -> Result<Following> {
        request.ack_wait.get_or_insert(DEFAULT_ACK_WAIT);
        let transport: Arc<dyn Transport> = Arc::<Self>::clone(self);
        let target = request.target.clone();
        Ok(Following {
            program: self.subscriptions.open(transport, request, Face::AckIds).await?,
            unary: Arc::clone(&self.subscriptions.unary),
            target,
            call_timeout: self.connection.options().call_timeout,
        })
    }

    /// Settles deliveries by their ack ids, whoever received them; the answers are in their order.
    ///
    /// # Errors
    /// `invalid` when no entry is valid; `denied`; what the call fails with. Nothing is settled then, unless the error's
    /// effect says otherwise.
    pub async fn settle_ids(&self, entries: Vec<SettleRequest>) -> Result<Vec<SettleAnswer>> {
        settle::call(&self.connection, entries).await
    }
}

impl Following {
    /// Settles what it yielded: over its stream while that stands, else by a call. The answers are in the order of the
    /// entries. What is settled first goes first, also when the answers are waited for later.
    ///
    /// # Errors
    /// As [`RemoteTransport::settle_ids`].
    pub fn settle(
        &self,
        entries: Vec<SettleRequest>,
    ) -> impl Future<Output = Result<Vec<SettleAnswer>>> + Send + use<> {
        let (unary, target) = (Arc::clone(&self.unary), self.target.clone());
        let deadline = Instant::now() + self.call_timeout;
        let asked = ask(&self.program.shared, entries.clone());
        async move {
            if let Some(answers) = asked
                && let Ok(Ok(Ok(answers))) = timeout_at(deadline, answers).await
            {
                return Ok(answers);
            }
            unary.settle(&target, entries).await
        }
    }
}

/// Asks over the stream; `None` when there is none.
fn ask(
    shared: &Shared,
    entries: Vec<SettleRequest>,
) -> Option<oneshot::Receiver<Result<Vec<SettleAnswer>, busgate_core::Effect>>> {
    let (waiter, answers) = oneshot::channel();
    shared.with(|session| session.settle_ids(entries, waiter)).then_some(answers)
}

impl Stream for Following {
    type Item = Result<Followed>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.program.poll_yielded(cx).map(|yielded| match yielded {
            Yielded::Message(received, _) => Some(Ok(Followed::Message(received))),
            Yielded::Gap(gap) => Some(Ok(Followed::Gap(gap))),
            Yielded::End(error) => error.map(Err),
        })
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").field("target", &self.target).finish_non_exhaustive()
    }
}

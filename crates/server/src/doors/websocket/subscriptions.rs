//! The subscriptions of one socket: each is asked for more only when the socket has taken everything before.

use std::{collections::HashMap, future};

use busgate_core::{Outgoing, Session as Source};
use futures_util::{
    StreamExt,
    future::{AbortHandle, Abortable, BoxFuture, FutureExt, abortable},
    stream::FuturesUnordered,
};

use super::session::{Route, Session};

/// How many bytes are gathered for one write.
const WRITE_BYTES: usize = 64 * 1024;

/// A subscription: where messages come from, and where they go.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) route: Route,
    pub(super) source: Box<Source>,
}

/// What a subscription has to say.
#[derive(Debug)]
pub(super) struct Ready {
    /// The subscription itself, unless it is the only one.
    from: Option<Subscription>,
    outgoing: Outgoing,
}

/// The subscriptions of one socket.
pub(super) enum Subscriptions {
    /// The only one, for good.
    One(Subscription),
    /// Any number.
    Many(Many),
}

/// Any number of subscriptions.
#[derive(Default)]
pub(super) struct Many {
    /// Those that are waited for. Only those that have something are looked at.
    waiting: FuturesUnordered<Abortable<BoxFuture<'static, Ready>>>,
    handles: HashMap<String, AbortHandle>,
    /// Those whose messages are on their way to the socket.
    writing: Vec<Subscription>,
}

impl Subscriptions {
    /// What comes next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Ready {
        match self {
            Self::One(only) => Ready { from: None, outgoing: only.source.next().await },
            Self::Many(many) => many.next().await,
        }
    }

    /// Hands over what is ready, and everything else that is there, up to what fits one write.
    pub(super) fn deliver(&mut self, ready: Ready, session: &mut Session) {
        match (self, ready) {
            (Self::One(only), Ready { outgoing, .. }) => {
                pass_on(only, outgoing, session);
            }
            (Self::Many(many), Ready { from, outgoing }) => many.deliver(from, outgoing, session),
        }
    }

    /// Everything handed over has been taken by the socket.
    pub(super) fn handed_off(&mut self) {
        match self {
            Self::One(only) => only.source.handed_off(),
            Self::Many(many) => {
                for mut subscription in std::mem::take(&mut many.writing) {
                    subscription.source.handed_off();
                    many.wait_for(subscription);
                }
            }
        }
    }

    /// Adds a subscription that has a name.
    pub(super) fn add(&mut self, subscription: Subscription) {
        if let Self::Many(many) = self {
            many.wait_for(subscription);
        }
    }

    /// Whether there are none now.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Many(many) => many.handles.is_empty(),
        }
    }

    /// Ends the subscription with this name.
    pub(super) fn remove(&mut self, sub: &str) {
        if let Self::Many(many) = self {
            many.writing.retain(|subscription| subscription.route.sub.as_deref() != Some(sub));
            if let Some(handle) = many.handles.remove(sub) {
                handle.abort();
            }
        }
    }
}

impl Many {
    async fn next(&mut self) -> Ready {
        loop {
            match self.waiting.next().await {
                Some(Ok(ready)) => return ready,
                Some(Err(_aborted)) => {}
                None => return future::pending().await,
            }
        }
    }

    fn deliver(&mut self, from: Option<Subscription>, outgoing: Outgoing, session: &mut Session) {
        let mut ready = from.map(|from| (from, outgoing));
        while let Some((mut subscription, outgoing)) = ready.take() {
            if pass_on(&mut subscription, outgoing, session) {
                self.writing.push(subscription);
            } else if let Some(sub) = &subscription.route.sub {
                self.handles.remove(sub);
            }
            if session.outbox.bytes() < WRITE_BYTES {
                let next = self.next().now_or_never();
                ready = next.and_then(|next| Some((next.from?, next.outgoing)));
            }
        }
    }

    fn wait_for(&mut self, mut subscription: Subscription) {
        let sub = subscription.route.sub.clone();
        let next = async move {
            let outgoing = subscription.source.next().await;
            Ready { from: Some(subscription), outgoing }
        };
        let (next, handle) = abortable(next.boxed());
        self.waiting.push(next);
        if let Some(sub) = sub {
            self.handles.insert(sub, handle);
        }
    }
}

/// Passes on what a subscription yielded and what else it has; whether it goes on.
fn pass_on(subscription: &mut Subscription, outgoing: Outgoing, session: &mut Session) -> bool {
    let Subscription { route, source } = subscription;
    let mut next = Some(outgoing);
    while let Some(outgoing) = next {
        if !session.deliver(route, outgoing) {
            return false;
        }
        next = if session.outbox.bytes() < WRITE_BYTES { source.try_next() } else { None };
    }
    true
}

//! Publishing one message, with whatever its publisher has to say about it.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::future::BoxFuture;

use super::inner::Inner;
use crate::{Effect, Error, EventName, Message, MessageId, Receipt, Result};

/// The metadata key of the W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

/// What a publishing middleware sees: messages on their way to one event.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The event.
    pub event: EventName,
    /// The messages, in order.
    pub messages: Vec<Message>,
}

/// A message about to be published: say more about it, then `.await` it.
#[must_use = "nothing is published until it is awaited"]
pub struct Publish<'a> {
    inner: &'a Inner,
    event: &'a EventName,
    message: Result<Message>,
}

impl<'a> Publish<'a> {
    pub(super) const fn new(inner: &'a Inner, event: &'a EventName, message: Result<Message>) -> Self {
        Self { inner, event, message }
    }

    /// The id of the message; by default a new UUIDv7. Published again within the event's window it is a duplicate.
    pub fn id(self, id: impl AsRef<str>) -> Self {
        let id = MessageId::new(id);
        self.change(|message| id.map(|id| message.id = id))
    }

    /// What orders it: the messages of a key are handled one after the other.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.change(|message| {
            message.key = Some(key.into());
            Ok(())
        })
    }

    /// Text that travels along.
    pub fn meta(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.change(|message| {
            message.metadata.insert(key.into(), value.into());
            Ok(())
        })
    }

    /// The W3C trace context that its handlers go on with.
    pub fn traceparent(self, traceparent: impl Into<String>) -> Self {
        self.meta(TRACEPARENT, traceparent)
    }

    /// A media type other than the codec's.
    pub fn content_type(self, content_type: impl Into<String>) -> Self {
        self.change(|message| {
            message.content_type = Some(content_type.into());
            Ok(())
        })
    }

    /// A source other than the bus's.
    pub fn source(self, source: impl Into<String>) -> Self {
        self.change(|message| {
            message.source = source.into();
            Ok(())
        })
    }

    /// The first thing that goes wrong stays.
    fn change(mut self, change: impl FnOnce(&mut Message) -> Result<()>) -> Self {
        if let Ok(message) = &mut self.message
            && let Err(error) = change(message)
        {
            self.message = Err(error);
        }
        self
    }
}

impl<'a> IntoFuture for Publish<'a> {
    type Output = Result<Receipt>;
    type IntoFuture = Published<'a>;

    fn into_future(self) -> Published<'a> {
        let Self { inner, event, message } = self;
        Published(match message.and_then(|message| inner.admit(event, message)) {
            Ok(message) => inner.send(event, vec![message]),
            Err(error) => Sending::Refused(Some(error)),
        })
    }
}

impl fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("event", &self.event)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// The answer to a [`Publish`], as a future.
pub struct Published<'a>(Sending<'a>);

impl Future for Published<'_> {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answers = ready!(Pin::new(&mut self.0).poll(cx))?;
        Poll::Ready(answers.pop().unwrap_or_else(no_answer))
    }
}

impl fmt::Debug for Published<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").finish_non_exhaustive()
    }
}

/// A batch on its way: straight to the transport, through the bus's layers, or nowhere.
///
/// It holds the one box that the callee makes anyway, so that a publish allocates nothing of its own.
pub(super) enum Sending<'a> {
    Refused(Option<Error>),
    Direct(BoxFuture<'a, Vec<Result<Receipt>>>),
    Layered(BoxFuture<'a, Result<Vec<Result<Receipt>>>>),
}

impl Future for Sending<'_> {
    type Output = Result<Vec<Result<Receipt>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Refused(error) => {
                let error = error.take();
                Poll::Ready(Err(
                    error.unwrap_or_else(|| Error::internal("a publish was polled after its end"))
                ))
            }
            Self::Direct(call) => call.as_mut().poll(cx).map(Ok),
            Self::Layered(call) => call.as_mut().poll(cx),
        }
    }
}

pub(super) fn no_answer() -> Result<Receipt> {
    Err(Error::internal("the transport gave fewer answers than it got messages").with_effect(Effect::Unknown))
}

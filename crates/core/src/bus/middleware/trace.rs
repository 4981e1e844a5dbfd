//! A span per message, in the trace its publisher began.

use tracing::{Instrument, field::Empty, info_span};

use super::traceparent::{CURRENT, Traceparent};
use crate::{
    Error, Receipt, Result,
    bus::{Context, Failure, Handling, Layer, Publication, Publishing, Service, TRACEPARENT},
};

/// A layer that traces, around publishing and around handlers alike.
///
/// Around publishing it stamps each message that has none with a `traceparent`: of the trace the publisher handles a
/// message in, else of a new one. Around a handler it opens a `tracing` span with that trace's id, and what the handler
/// publishes stays in the trace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace;

impl<S> Layer<S> for Trace {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner }
    }
}

/// A service that is traced: see [`Trace`].
#[derive(Clone, Copy, Debug)]
pub struct Traced<S> {
    inner: S,
}

impl<S: Handling> Service<Context> for Traced<S> {
    type Response = ();
    type Error = Failure;

    async fn call(&self, context: Context) -> Result<(), Failure> {
        let parent: Option<Traceparent> = context.meta(TRACEPARENT).and_then(|text| text.parse().ok());
        let here = parent.map_or_else(Traceparent::generate, |parent| parent.child());
        let span = info_span!(
            "handle",
            event = %context.event(),
            id = %context.id(),
            attempt = context.attempt(),
            trace_id = here.trace_id(),
            span_id = here.span_id(),
            parent_span_id = parent.map(|parent| parent.span_id()),
            outcome = Empty,
        );
        let result = CURRENT.scope(here, self.inner.call(context)).instrument(span.clone()).await;
        span.record("outcome", if result.is_ok() { "handled" } else { "failed" });
        result
    }
}

impl<S: Publishing> Service<Publication> for Traced<S> {
    type Response = Vec<Result<Receipt>>;
    type Error = Error;

    async fn call(&self, mut request: Publication) -> Result<Self::Response> {
        let current = Traceparent::current();
        let here = current.map_or_else(Traceparent::generate, |current| current.child());
        for message in &mut request.messages {
            if !message.metadata.contains_key(TRACEPARENT) {
                message.metadata.insert(TRACEPARENT.to_owned(), here.to_string());
            }
        }
        let span = info_span!(
            "publish",
            event = %request.event,
            messages = request.messages.len(),
            trace_id = here.trace_id(),
            span_id = here.span_id(),
        );
        self.inner.call(request).instrument(span).await
    }
}

//! The innermost service: decode, then the handler.

use std::{fmt, future::Future, marker::PhantomData, sync::Arc};

use super::{Codec, Context, Decode, Failure, Service, codec::reads};

/// Your handler as a [`Service`]: what a layer's `layer` is given, unless it wraps another layer's service.
pub struct Typed<T, C, F> {
    codec: Arc<C>,
    handler: F,
    values: PhantomData<fn(T)>,
}

impl<T, C: Codec, F> Typed<T, C, F> {
    pub(super) const fn new(codec: Arc<C>, handler: F) -> Self {
        Self { codec, handler, values: PhantomData }
    }

    /// A payload that does not decode will never do so: no attempt is spent on it.
    fn decode(&self, context: &Context) -> Result<T, Failure>
    where
        C: Decode<T>,
    {
        let message = context.message();
        let content_type = message.content_type.as_deref();
        if !reads(&*self.codec, content_type) {
            let (found, read) = (content_type.unwrap_or_default(), self.codec.content_type());
            return Err(Failure::reject(format!("content type `{found}` where `{read}` is read")));
        }
        self.codec
            .decode(&message.payload)
            .map_err(|error| Failure::reject(format!("the payload does not decode: {error}")))
    }
}

impl<T, C, F, Fut> Service<Context> for Typed<T, C, F>
where
    T: Send,
    C: Decode<T>,
    F: Fn(T, Context) -> Fut + Send + Sync,
    Fut: Future<Output = Result<(), Failure>> + Send,
{
    type Response = ();
    type Error = Failure;

    async fn call(&self, context: Context) -> Result<(), Failure> {
        let value = self.decode(&context)?;
        (self.handler)(value, context).await
    }
}

impl<T, C: fmt::Debug, F> fmt::Debug for Typed<T, C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").field("codec", &self.codec).finish_non_exhaustive()
    }
}

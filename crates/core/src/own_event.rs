//! Events that the gateway keeps for itself: made when they are first needed.

use crate::{ErrorKind, EventConfig, EventName, Message, Result, Transport};

/// Makes the event known. One that another version of the program made, with other figures, is as good.
///
/// # Errors
/// As [`Transport::register`], without `exists`.
pub(crate) async fn register(
    transport: &dyn Transport,
    event: &EventName,
    config: &EventConfig,
) -> Result<()> {
    match transport.register(event, config).await {
        Err(error) if error.kind() == ErrorKind::Exists => Ok(()),
        other => other,
    }
}

/// Publishes all, and makes the event known before where it is not.
///
/// # Errors
/// The first of [`Transport::publish`]; as [`register`].
pub(crate) async fn publish(
    transport: &dyn Transport,
    event: &EventName,
    config: &EventConfig,
    messages: Vec<Message>,
) -> Result<()> {
    let first = |answers: Vec<Result<_>>| answers.into_iter().try_for_each(|answer| answer.map(drop));
    match first(transport.publish(event, messages.clone()).await) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        other => return other,
    }
    register(transport, event, config).await?;
    first(transport.publish(event, messages).await)
}

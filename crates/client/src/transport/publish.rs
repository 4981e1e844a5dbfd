//! Publishing.

use busgate_core::{Draft, Effect, Error, EventName, Message, Receipt, Result};
use busgate_wire::convert;

use super::RemoteTransport;
use crate::connection::Service;

/// Publishes a batch; the answers are in the order of the messages.
pub(super) async fn publish(
    transport: &RemoteTransport,
    event: &EventName,
    batch: Vec<Message>,
) -> Vec<Result<Receipt>> {
    let count = batch.len();
    let request = convert::batch_request(batch.into_iter().map(|message| (event.clone(), draft(message))));
    let rpc = |mut service: Service| {
        let request = request.clone();
        async move { service.publish_batch(request).await }
    };
    match transport.connection.call(Effect::Unknown, rpc).await {
        Ok(response) => {
            let mut answers = convert::read_batch_answer(response);
            answers.resize_with(count, || Err(Error::internal("no answer").with_effect(Effect::Unknown)));
            answers
        }
        Err(error) => vec![Err(error); count],
    }
}

/// A message as a publisher's draft; the gateway tells the time.
fn draft(message: Message) -> Draft {
    Draft {
        id: Some(message.id),
        payload: message.payload,
        metadata: message.metadata,
        key: message.key,
        content_type: message.content_type,
        source: Some(message.source).filter(|source| !source.is_empty()),
    }
}

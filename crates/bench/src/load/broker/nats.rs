//! JetStream by its own client: publishes with their acks outstanding, a pull consumer whose acks are answered.

use async_nats::{
    Client,
    jetstream::{
        self, AckKind, Context, Message,
        consumer::{PullConsumer, pull},
        message::PublishMessage,
        stream,
    },
};
use async_trait::async_trait;
use busgate_core::MessageId;
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{Done, Side, Sizes};
use crate::{Failure, load::pool::WINDOW};

pub(super) struct Nats {
    _client: Client,
    context: Context,
    consumer: PullConsumer,
    subject: String,
    stream: String,
}

impl Nats {
    pub(super) async fn open(url: &str, event: &str, sizes: &Sizes) -> Result<Self, Failure> {
        let client = async_nats::connect(url).await?;
        let context =
            jetstream::ContextBuilder::new().max_ack_inflight(sizes.in_flight * 2).build(client.clone());
        let stream = event.replace('.', "_");
        let config =
            stream::Config { name: stream.clone(), subjects: vec![event.to_owned()], ..Default::default() };
        let made = context.create_stream(config).await?;
        let config = pull::Config {
            durable_name: Some("workers".into()),
            max_ack_pending: i64::try_from(WINDOW * sizes.members)?,
            ..Default::default()
        };
        let consumer = made.create_consumer(config).await?;
        Ok(Self { _client: client, context, consumer, subject: event.to_owned(), stream })
    }
}

#[async_trait]
impl Side for Nats {
    async fn publish(&self, payload: Bytes) -> Result<(), Failure> {
        // With an id, so that the server looks for duplicates here too.
        let message = PublishMessage::build().payload(payload).message_id(MessageId::generate().as_str());
        self.context.send_publish(self.subject.clone(), message).await?.await?;
        Ok(())
    }

    async fn work(&self, _: usize, done: &Done) -> Result<(), Failure> {
        let mut messages = self.consumer.stream().max_messages_per_batch(WINDOW).messages().await?;
        let mut acks = FuturesUnordered::new();
        loop {
            tokio::select! {
                message = messages.next() => acks.push(ack(message.ok_or("the consumer ended")??, done)),
                Some(acked) = acks.next(), if !acks.is_empty() => acked?,
            }
        }
    }

    async fn clear(&self) -> Result<(), Failure> {
        self.context.delete_stream(&self.stream).await?;
        Ok(())
    }
}

async fn ack(message: Message, done: &Done) -> Result<(), Failure> {
    message.double_ack_with(AckKind::Ack).await?;
    done.acked(&message.payload);
    Ok(())
}

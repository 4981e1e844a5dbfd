//! Kafka by its own client: an idempotent producer that waits for all replicas, a consumer group that commits each batch.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{CommitMode, Consumer, StreamConsumer},
    message::OwnedMessage,
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};

use super::{Done, Side, Sizes};
use crate::{Failure, load::pool::WINDOW};

pub(super) struct Kafka {
    config: ClientConfig,
    producer: FutureProducer,
    topic: String,
}

impl Kafka {
    pub(super) async fn open(url: &str, event: &str, sizes: &Sizes) -> Result<Self, Failure> {
        let servers = url.trim_start_matches("kafka://").split('?').next().unwrap_or_default();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers);
        let mut producing = config.clone();
        producing.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "1");
        config.set("group.id", event).set("group.protocol", "consumer");
        config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        let partitions = i32::try_from(sizes.members)?;
        let topic = NewTopic::new(event, partitions, TopicReplication::Fixed(1));
        for made in admin(&config)?.create_topics([&topic], &AdminOptions::new()).await? {
            made.map_err(|(name, code)| format!("{name}: {code}"))?;
        }
        Ok(Self { config, producer: producing.create()?, topic: event.to_owned() })
    }
}

fn admin(config: &ClientConfig) -> Result<AdminClient<DefaultClientContext>, Failure> {
    let servers = config.get("bootstrap.servers").unwrap_or_default();
    Ok(ClientConfig::new().set("bootstrap.servers", servers).create()?)
}

#[async_trait]
impl Side for Kafka {
    async fn publish(&self, payload: Bytes) -> Result<(), Failure> {
        let record = FutureRecord::<(), [u8]>::to(&self.topic).payload(&payload);
        self.producer.send(record, Timeout::Never).await.map_err(|(error, _)| error)?;
        Ok(())
    }

    async fn work(&self, _: usize, done: &Done) -> Result<(), Failure> {
        let consumer: Arc<StreamConsumer> = Arc::new(self.config.create()?);
        consumer.subscribe(&[&self.topic])?;
        loop {
            let mut batch = vec![consumer.recv().await?.detach()];
            while batch.len() < WINDOW {
                match tokio::time::timeout(Duration::ZERO, consumer.recv()).await {
                    Ok(record) => batch.push(record?.detach()),
                    Err(_) => break,
                }
            }
            commit(&consumer, &batch).await?;
            for record in &batch {
                done.acked(record.payload().unwrap_or_default());
            }
        }
    }

    async fn clear(&self) -> Result<(), Failure> {
        for gone in admin(&self.config)?.delete_topics(&[&self.topic], &AdminOptions::new()).await? {
            gone.map_err(|(name, code)| format!("{name}: {code}"))?;
        }
        Ok(())
    }
}

/// Commits a batch and waits for the answer.
async fn commit(consumer: &Arc<StreamConsumer>, batch: &[OwnedMessage]) -> Result<(), Failure> {
    let mut places = TopicPartitionList::new();
    for record in batch {
        let offset = rdkafka::Offset::Offset(record.offset() + 1);
        let topic = record.topic();
        match places.find_partition(topic, record.partition()) {
            Some(mut place) => place.set_offset(offset)?,
            None => places.add_partition_offset(topic, record.partition(), offset)?,
        }
    }
    let consumer = Arc::clone(consumer);
    tokio::task::spawn_blocking(move || consumer.commit(&places, CommitMode::Sync)).await??;
    Ok(())
}

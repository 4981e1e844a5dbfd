//! Topics: made, looked at, trimmed and deleted.

use std::{fmt, sync::Arc, time::Duration};

use busgate_core::Result;
use rdkafka::{
    TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    topic_partition_list::Offset,
    types::RDKafkaErrorCode as Code,
};
use tokio::time::{Instant, sleep};

use crate::{
    clients::{Clients, Context},
    config::KafkaConfig,
    error,
};

/// A broker that has just started answers a moment before its controller places replicas on it, and says until then that
/// there can't be as many as were asked for: for how long it is not believed, and how often it is asked.
const COUNTED: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(100);

const NOT_MADE: &str = "the topic was not made";

/// How a topic is made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Its name.
    pub(crate) name: String,
    /// How many partitions it gets.
    pub(crate) partitions: u16,
    /// What it is configured with, beside what the transport's own configuration says of all topics.
    pub(crate) config: Vec<(&'static str, String)>,
}

/// The administrator of topics.
pub(crate) struct Admin {
    client: AdminClient<Context>,
    config: Arc<KafkaConfig>,
}

impl Admin {
    pub(crate) fn new(clients: &Clients, config: &Arc<KafkaConfig>) -> Result<Self> {
        Ok(Self { client: clients.make(&clients.admin())?, config: Arc::clone(config) })
    }

    fn options(&self) -> AdminOptions {
        let timeout = Some(self.config.timeout);
        AdminOptions::new().request_timeout(timeout).operation_timeout(timeout)
    }

    /// Makes a topic; whether it was made now, or was there.
    ///
    /// # Errors
    /// `unsupported` when the broker does not take the plan, else as the broker says.
    pub(crate) async fn create(&self, plan: &Plan) -> Result<bool> {
        let replication = i32::from(self.config.replication.unwrap_or(0));
        let replication = if replication == 0 { -1 } else { replication };
        let mut topic =
            NewTopic::new(&plan.name, i32::from(plan.partitions), TopicReplication::Fixed(replication));
        for (key, value) in &plan.config {
            topic = topic.set(key, value);
        }
        let in_sync = self.config.min_insync_replicas.map(|count| count.to_string());
        if let Some(count) = &in_sync {
            topic = topic.set("min.insync.replicas", count);
        }
        let until = Instant::now() + COUNTED;
        loop {
            let made = self.client.create_topics([&topic], &self.options()).await;
            let made = made.map_err(|error| error::failed(NOT_MADE, error))?;
            match made.into_iter().find_map(Result::err) {
                None => return Ok(true),
                Some((_, Code::TopicAlreadyExists)) => return Ok(false),
                Some((_, Code::InvalidReplicationFactor)) if Instant::now() < until => sleep(AGAIN).await,
                Some((_, code)) => return Err(error::of_code(NOT_MADE, code)),
            }
        }
    }

    /// Deletes topics; those that are not there are left out.
    ///
    /// # Errors
    /// As the broker says.
    pub(crate) async fn delete(&self, topics: &[&str]) -> Result<()> {
        if topics.is_empty() {
            return Ok(());
        }
        let results = self.client.delete_topics(topics, &self.options()).await;
        let results = results.map_err(|error| error::failed("the topics were not deleted", error))?;
        for result in results {
            match result {
                Ok(_) | Err((_, Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {}
                Err((_, code)) => return Err(error::of_code("the topic was not deleted", code)),
            }
        }
        Ok(())
    }

    /// Lets go of what is before these offsets.
    ///
    /// # Errors
    /// As the broker says.
    pub(crate) async fn trim(&self, topic: &str, before: &[(i32, i64)]) -> Result<()> {
        let mut list = TopicPartitionList::with_capacity(before.len());
        for (partition, offset) in before {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
                .map_err(|error| error::failed("the topic was not trimmed", error))?;
        }
        let result = self.client.delete_records(&list, &self.options()).await;
        result.map(drop).map_err(|error| error::failed("the topic was not trimmed", error))
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

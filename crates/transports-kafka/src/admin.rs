//! Topics: made, looked at, trimmed and deleted.

use std::{fmt, sync::Arc, time::Duration};

use busgate_core::{ErrorKind, Result};
use rdkafka::{
    TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    topic_partition_list::Offset,
    types::RDKafkaErrorCode as Code,
};

use crate::{
    clients::{Clients, Context},
    config::KafkaConfig,
    error,
};

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
        match self.one(self.client.create_topics([&topic], &self.options()).await, "the topic was not made") {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Exists => Ok(false),
            Err(error) => Err(error),
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

    /// Deletes groups; those that are not there are left out.
    ///
    /// # Errors
    /// As the broker says.
    pub(crate) async fn delete_groups(&self, groups: &[&str]) -> Result<()> {
        if groups.is_empty() {
            return Ok(());
        }
        let results = self.client.delete_groups(groups, &self.options()).await;
        let results = results.map_err(|error| error::failed("the groups were not deleted", error))?;
        for result in results {
            match result {
                Ok(_) | Err((_, Code::GroupIdNotFound | Code::UnknownGroup)) => {}
                Err((_, code)) => return Err(error::of_code("the group was not deleted", code)),
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

    /// One setting of a topic, as the broker has it.
    ///
    /// # Errors
    /// As the broker says.
    pub(crate) async fn setting(&self, topic: &str, key: &str) -> Result<Option<String>> {
        let what = "the topic's settings can't be read";
        let wanted = [ResourceSpecifier::Topic(topic)];
        let results = self.client.describe_configs(&wanted, &self.options()).await;
        let results = results.map_err(|error| error::failed(what, error))?;
        let Some(result) = results.into_iter().next() else { return Ok(None) };
        let resource = result.map_err(|code| error::of_code(what, code))?;
        Ok(resource.get(key).and_then(|entry| entry.value.clone()))
    }

    /// How long a call may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    fn one(
        &self,
        results: rdkafka::error::KafkaResult<Vec<rdkafka::admin::TopicResult>>,
        what: &str,
    ) -> Result<()> {
        let results = results.map_err(|error| error::failed(what, error))?;
        for result in results {
            result.map_err(|(_, code)| error::of_code(what, code))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

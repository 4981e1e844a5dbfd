//! What the API tells of consumers, and what can be done with them.

use std::time::Duration;

use busgate_core::Result;
use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::call::{Answer, found};
use crate::link::Link;

/// A consumer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ConsumerInfo {
    pub(crate) name: String,
    pub(crate) created: String,
    pub(crate) config: ConsumerConfig,
    pub(crate) delivered: Sequences,
    ack_floor: Sequences,
    pub(crate) num_ack_pending: u64,
    pub(crate) num_pending: u64,
    cluster: Option<Cluster>,
}

/// Which servers have it.
#[derive(Clone, Debug, Deserialize)]
struct Cluster {
    /// But for the one that leads.
    #[serde(default)]
    replicas: Vec<IgnoredAny>,
}

impl ConsumerInfo {
    /// Whether several servers have it, of which one leads.
    pub(crate) fn is_replicated(&self) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| !cluster.replicas.is_empty())
    }

    /// The last sequence that somebody got. Servers of 2.9 call some delivered that they took back; what is acked tells
    /// better, when nothing is open.
    pub(crate) fn reached(&self) -> u64 {
        let at = if self.num_ack_pending == 0 { self.ack_floor } else { self.delivered };
        at.stream_seq
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ConsumerConfig {
    /// Nanoseconds.
    #[serde(default)]
    ack_wait: u64,
}

impl ConsumerConfig {
    pub(crate) const fn ack_wait(&self) -> Duration {
        Duration::from_nanos(self.ack_wait)
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Sequences {
    pub(crate) stream_seq: u64,
}

#[derive(Deserialize)]
struct ConsumerPage {
    total: usize,
    consumers: Option<Vec<ConsumerInfo>>,
}

impl Link {
    /// The consumer, if there is one.
    pub(crate) async fn consumer(&self, stream: &str, consumer: &str) -> Result<Option<ConsumerInfo>> {
        found(self.inquire(&format!("CONSUMER.INFO.{stream}.{consumer}"), &Value::Null).await?)
    }

    /// All of a stream.
    pub(crate) async fn consumers(&self, stream: &str) -> Result<Vec<ConsumerInfo>> {
        let mut all = Vec::new();
        loop {
            let subject = format!("CONSUMER.LIST.{stream}");
            let answer = self.call(&subject, &json!({ "offset": all.len() })).await?;
            let Some(page) = found::<ConsumerPage>(answer)? else { return Ok(all) };
            let more = page.consumers.unwrap_or_default();
            let is_last = more.is_empty();
            all.extend(more);
            if is_last || all.len() >= page.total {
                return Ok(all);
            }
        }
    }

    /// Makes a consumer; the same once more is no refusal.
    pub(crate) async fn create_consumer(
        &self,
        stream: &str,
        name: &str,
        config: &Value,
    ) -> Result<Answer<ConsumerInfo>> {
        let request = json!({ "stream_name": stream, "config": config, "action": "create" });
        self.inquire(&format!("CONSUMER.CREATE.{stream}.{name}"), &request).await
    }

    /// Lets go of a consumer without waiting for it.
    pub(crate) fn drop_consumer(&self, stream: &str, name: &str) {
        // What is not dropped goes by itself when it was idle for long enough.
        let _ = self.post_request(format!("{}.CONSUMER.DELETE.{stream}.{name}", self.api()), Bytes::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_nothing_open_what_is_acked_tells_how_far_a_group_is() {
        for (open, wanted) in [(0, 5), (2, 9)] {
            let info: ConsumerInfo = serde_json::from_value(json!({
                "name": "g-x", "created": "", "config": {}, "delivered": { "stream_seq": 9 },
                "ack_floor": { "stream_seq": 5 }, "num_ack_pending": open, "num_pending": 0,
            }))
            .unwrap();
            assert_eq!(info.reached(), wanted, "{open} open");
        }
    }
}

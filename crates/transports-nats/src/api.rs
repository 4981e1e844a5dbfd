//! The few calls of JetStream's API that are needed, in the form that 2.9 knows as well.

use std::time::Duration;

use async_nats::jetstream::{self, response::Response};
use busgate_core::Result;
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{error, link::Link};

/// How long an answer may take before it is asked again, and how often that is done before it is waited for.
const UNHEARD: Duration = Duration::from_millis(500);
const INQUIRIES: usize = 2;

/// What a call came to: an answer, or the server's refusal.
pub(crate) type Answer<T> = Result<T, jetstream::Error>;

/// A stream.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StreamInfo {
    pub(crate) config: StreamConfig,
    /// When it was made: another stream of its name has another time.
    pub(crate) created: String,
    pub(crate) state: StreamState,
}

/// What we ask of a stream, and look at.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub(crate) struct StreamConfig {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) subjects: Vec<String>,
    pub(crate) storage: String,
    pub(crate) num_replicas: usize,
    pub(crate) retention: String,
    pub(crate) discard: String,
    pub(crate) max_consumers: i64,
    pub(crate) max_msgs: i64,
    pub(crate) max_bytes: i64,
    /// Nanoseconds.
    pub(crate) max_age: u64,
    #[serde(default)]
    pub(crate) max_msgs_per_subject: i64,
    /// Nanoseconds.
    #[serde(default)]
    pub(crate) duplicate_window: u64,
    #[serde(default)]
    pub(crate) allow_direct: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compression: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct StreamState {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
}

impl StreamState {
    /// The oldest sequence that is held or will be.
    pub(crate) fn first(&self) -> u64 {
        if self.messages == 0 { self.last_seq.saturating_add(1) } else { self.first_seq }
    }
}

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
}

impl ConsumerInfo {
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
struct StreamPage {
    total: usize,
    streams: Option<Vec<StreamInfo>>,
}

#[derive(Deserialize)]
struct ConsumerPage {
    total: usize,
    consumers: Option<Vec<ConsumerInfo>>,
}

#[derive(Deserialize)]
struct Names {
    streams: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Done {}

/// A message as the API tells it.
#[derive(Deserialize)]
pub(crate) struct Stored {
    pub(crate) message: StoredMessage,
}

#[derive(Deserialize)]
pub(crate) struct StoredMessage {
    pub(crate) seq: u64,
    /// In base64.
    #[serde(default)]
    pub(crate) data: String,
}

/// A duration as it stands in JSON.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Link {
    async fn call<T: DeserializeOwned>(&self, subject: &str, payload: &Value) -> Result<Answer<T>> {
        let subject = format!("{}.{subject}", self.api());
        let payload = if payload.is_null() { Bytes::new() } else { payload.to_string().into() };
        let answer = self.ask(subject.into(), payload).await?;
        let broken =
            |cause| busgate_core::Error::internal("jetstream's answer can't be read").with_source(cause);
        match serde_json::from_slice(&answer.payload).map_err(broken)? {
            Response::Ok(answer) => Ok(Ok(answer)),
            Response::Err { error } => Ok(Err(error)),
        }
    }

    /// Asks what may be asked again, as it changes nothing or says all. In a cluster a question about what was just made may get no answer at all, and the
    /// next one gets it at once.
    async fn inquire<T: DeserializeOwned>(&self, subject: &str, payload: &Value) -> Result<Answer<T>> {
        for _ in 0..INQUIRIES {
            if let Ok(answer) = timeout(UNHEARD, self.call(subject, payload)).await {
                return answer;
            }
            tracing::debug!(subject, "a question to jetstream is asked again");
        }
        self.call(subject, payload).await
    }

    pub(crate) async fn stream(&self, stream: &str) -> Result<Option<StreamInfo>> {
        found(self.inquire(&format!("STREAM.INFO.{stream}"), &Value::Null).await?)
    }

    pub(crate) async fn create_stream(&self, config: &StreamConfig) -> Result<Answer<StreamInfo>> {
        self.call(&format!("STREAM.CREATE.{}", config.name), &json!(config)).await
    }

    /// Whether it was there.
    pub(crate) async fn delete_stream(&self, stream: &str) -> Result<bool> {
        let answer = self.call::<Done>(&format!("STREAM.DELETE.{stream}"), &Value::Null).await?;
        Ok(found(answer)?.is_some())
    }

    pub(crate) async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let mut all = Vec::new();
        loop {
            let page: StreamPage =
                self.call("STREAM.LIST", &json!({ "offset": all.len() })).await?.map_err(error::api)?;
            let more = page.streams.unwrap_or_default();
            let is_last = more.is_empty();
            all.extend(more);
            if is_last || all.len() >= page.total {
                return Ok(all);
            }
        }
    }

    /// The stream that takes what is published to `subject`, if there is one.
    pub(crate) async fn stream_of(&self, subject: &str) -> Result<Option<String>> {
        let names = self.call::<Names>("STREAM.NAMES", &json!({ "subject": subject })).await?;
        Ok(names.map_err(error::api)?.streams.unwrap_or_default().into_iter().next())
    }

    pub(crate) async fn consumer(&self, stream: &str, consumer: &str) -> Result<Option<ConsumerInfo>> {
        found(self.inquire(&format!("CONSUMER.INFO.{stream}.{consumer}"), &Value::Null).await?)
    }

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

    /// The last message of a subject, as its leader knows it.
    pub(crate) async fn last_of(&self, stream: &str, subject: &str) -> Result<Option<StoredMessage>> {
        let asked = json!({ "last_by_subj": subject });
        let answer = self.call::<Stored>(&format!("STREAM.MSG.GET.{stream}"), &asked).await?;
        Ok(found(answer)?.map(|stored| stored.message))
    }

    /// Whether the leader has a message.
    pub(crate) async fn has_message(&self, stream: &str, sequence: u64) -> Result<bool> {
        let asked = json!({ "seq": sequence });
        let answer = self.call::<Stored>(&format!("STREAM.MSG.GET.{stream}"), &asked).await?;
        Ok(found(answer)?.is_some())
    }

    /// Lets go of one message without waiting for it.
    pub(crate) fn drop_message(&self, stream: &str, sequence: u64) {
        let asked = json!({ "seq": sequence, "no_erase": true }).to_string();
        // What is not dropped goes by its age.
        let _ = self.post_request(format!("{}.STREAM.MSG.DELETE.{stream}", self.api()), asked.into());
    }

    pub(crate) async fn purge(&self, stream: &str, subject: &str) -> Result<()> {
        let asked = json!({ "filter": subject });
        let answer = self.call::<Done>(&format!("STREAM.PURGE.{stream}"), &asked).await?;
        found(answer).map(drop)
    }
}

/// An answer that may say that there is no such thing.
fn found<T>(answer: Answer<T>) -> Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(refused) if refused.code() == 404 => Ok(None),
        Err(refused) => Err(error::api(refused)),
    }
}

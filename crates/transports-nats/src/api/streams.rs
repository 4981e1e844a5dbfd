//! What the API tells of streams, and what can be done with them.

use busgate_core::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::call::{Answer, Done, found};
use crate::{error, link::Link};

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

#[derive(Deserialize)]
struct StreamPage {
    total: usize,
    streams: Option<Vec<StreamInfo>>,
}

#[derive(Deserialize)]
struct Names {
    streams: Option<Vec<String>>,
}

impl Link {
    /// The stream, if there is one.
    pub(crate) async fn stream(&self, stream: &str) -> Result<Option<StreamInfo>> {
        found(self.inquire(&format!("STREAM.INFO.{stream}"), &Value::Null).await?)
    }

    /// Makes a stream; the same once more is no refusal.
    pub(crate) async fn create_stream(&self, config: &StreamConfig) -> Result<Answer<StreamInfo>> {
        self.call(&format!("STREAM.CREATE.{}", config.name), &json!(config)).await
    }

    /// Deletes a stream; whether it was there.
    pub(crate) async fn delete_stream(&self, stream: &str) -> Result<bool> {
        let answer = self.call::<Done>(&format!("STREAM.DELETE.{stream}"), &Value::Null).await?;
        Ok(found(answer)?.is_some())
    }

    /// All of the account.
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

    /// Deletes the messages of a subject.
    pub(crate) async fn purge(&self, stream: &str, subject: &str) -> Result<()> {
        let asked = json!({ "filter": subject });
        let answer = self.call::<Done>(&format!("STREAM.PURGE.{stream}"), &asked).await?;
        found(answer).map(drop)
    }
}

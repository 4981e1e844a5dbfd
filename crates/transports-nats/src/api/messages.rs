//! What the API tells of single messages, by their stream's leader.

use busgate_core::Result;
use serde::Deserialize;
use serde_json::json;

use super::call::found;
use crate::link::Link;

/// A message as the API tells it.
#[derive(Deserialize)]
struct Stored {
    message: StoredMessage,
}

#[derive(Deserialize)]
pub(crate) struct StoredMessage {
    pub(crate) seq: u64,
    /// In base64.
    #[serde(default)]
    pub(crate) data: String,
}

impl Link {
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
}

//! How JetStream's API is called: the question, the answer, and the refusal.

use std::time::Duration;

use async_nats::jetstream::{self, response::Response};
use busgate_core::{Error, Result};
use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::timeout;

use crate::{error, link::Link};

/// How long an answer may take before it is asked again, and how often that is done before it is waited for.
const UNHEARD: Duration = Duration::from_millis(500);
const INQUIRIES: usize = 2;

/// What a call came to: an answer, or the server's refusal.
pub(crate) type Answer<T> = Result<T, jetstream::Error>;

/// An answer that says no more than that.
#[derive(Deserialize)]
pub(super) struct Done {}

impl Link {
    /// Asks once.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        subject: &str,
        payload: &Value,
    ) -> Result<Answer<T>> {
        let subject = format!("{}.{subject}", self.api());
        let payload = if payload.is_null() { Bytes::new() } else { payload.to_string().into() };
        let answer = self.ask(subject.into(), payload).await?;
        let broken = |cause| Error::internal("jetstream's answer can't be read").with_source(cause);
        match serde_json::from_slice(&answer.payload).map_err(broken)? {
            Response::Ok(answer) => Ok(Ok(answer)),
            Response::Err { error } => Ok(Err(error)),
        }
    }

    /// Asks what may be asked again, as it changes nothing or says all. In a cluster a question about what was just made may
    /// get no answer at all, and the next one gets it at once.
    pub(super) async fn inquire<T: DeserializeOwned>(
        &self,
        subject: &str,
        payload: &Value,
    ) -> Result<Answer<T>> {
        for _ in 0..INQUIRIES {
            if let Ok(answer) = timeout(UNHEARD, self.call(subject, payload)).await {
                return answer;
            }
            tracing::debug!(subject, "a question to jetstream is asked again");
        }
        self.call(subject, payload).await
    }
}

/// An answer that may say that there is no such thing.
pub(super) fn found<T>(answer: Answer<T>) -> Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(refused) if refused.code() == 404 => Ok(None),
        Err(refused) => Err(error::api(refused)),
    }
}

/// A duration as it stands in JSON.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

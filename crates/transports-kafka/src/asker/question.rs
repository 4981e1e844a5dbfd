//! One question about the offsets of a topic, asked until it is answered.

use std::{thread, time::Duration};

use busgate_core::Result;
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
    topic_partition_list::Offset,
    types::RDKafkaErrorCode as Code,
};
use tokio::time::Instant;

use crate::{clients::Context, error};

/// How long to wait before a question is asked again; doubled each time up to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How long what was just made may be unknown to a broker.
const NEW: Duration = Duration::from_secs(2);

/// What is asked of each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Question {
    Begin,
    End,
    At(i64),
}

/// Asks until it is answered, or the time is up: what is known of a leader may be of before it moved.
pub(super) fn ask(
    client: &BaseConsumer<Context>,
    timeout: Duration,
    topic: &str,
    partitions: u16,
    question: Question,
) -> Result<Vec<i64>> {
    let asked = Instant::now();
    let deadline = asked + timeout;
    let mut wait = RETRY.0;
    loop {
        let error = match ask_once(client, timeout, topic, partitions, question) {
            Ok(offsets) => return Ok(offsets),
            Err(error) => error,
        };
        let code = error.rdkafka_error_code();
        let is_unknown = code.is_some_and(is_unknown) && asked.elapsed() < NEW;
        if !(is_unknown || code.is_some_and(may_pass)) || Instant::now() + wait >= deadline {
            return Err(error::failed("offsets can't be found", error));
        }
        thread::sleep(wait);
        wait = (wait * 2).min(RETRY.1);
        if let Err(error) = client.fetch_metadata(Some(topic), timeout) {
            tracing::debug!(%error, topic, "the topic can't be looked at");
        }
    }
}

fn ask_once(
    client: &BaseConsumer<Context>,
    timeout: Duration,
    topic: &str,
    partitions: u16,
    question: Question,
) -> KafkaResult<Vec<i64>> {
    let offset = match question {
        Question::Begin => Offset::Beginning,
        Question::End => Offset::End,
        Question::At(millis) => Offset::Offset(millis),
    };
    let mut list = TopicPartitionList::with_capacity(usize::from(partitions));
    for partition in 0..partitions {
        list.add_partition_offset(topic, i32::from(partition), offset)?;
    }
    let found = client.offsets_for_times(list, timeout)?;
    let mut offsets = vec![-1; usize::from(partitions)];
    for element in found.elements() {
        element.error()?;
        let index = usize::try_from(element.partition()).unwrap_or(usize::MAX);
        if let (Some(slot), Some(offset)) = (offsets.get_mut(index), told(element.offset())) {
            *slot = offset;
        }
    }
    if !matches!(question, Question::At(_)) && offsets.contains(&-1) {
        return Err(KafkaError::OffsetFetch(Code::OffsetNotAvailable));
    }
    Ok(offsets)
}

/// Whether it is not there, or was made a moment ago.
fn is_unknown(code: Code) -> bool {
    matches!(code, Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition)
}

/// Whether the same question may be answered in a moment.
fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::OffsetNotAvailable
            | Code::BrokerTransportFailure
            | Code::NetworkException
            | Code::KafkaStorageError
    )
}

/// The offset itself, where it is one.
pub(super) fn told(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

//! Questions to the broker that librdkafka answers by blocking: what topics there are, and where they begin and end.

mod question;
mod rounds;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use busgate_core::{Error, Result, Timestamp};
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    topic_partition_list::Offset,
    types::RDKafkaErrorCode as Code,
};

use self::{
    question::{Question, told},
    rounds::Rounds,
};
use crate::{
    clients::{Clients, Context},
    error,
};

/// Where one partition begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The oldest offset held.
    pub(crate) begin: i64,
    /// The offset that the next record gets.
    pub(crate) end: i64,
}

/// What is asked, and of which topic: one answer serves all who ask it.
type Key = (String, Question);

/// The one client that asks. It fetches nothing, so that no answer waits behind a fetch.
#[derive(Clone)]
pub(crate) struct Asker(Arc<Inner>);

struct Inner {
    client: BaseConsumer<Context>,
    timeout: Duration,
    rounds: Rounds<Key, u16, Result<Vec<i64>>>,
}

impl Asker {
    pub(crate) fn new(clients: &Clients, timeout: Duration) -> Result<Self> {
        let client = clients.make(&clients.reader(100))?;
        Ok(Self(Arc::new(Inner { client, timeout, rounds: Rounds::default() })))
    }

    /// The offset each partition begins with.
    pub(crate) async fn begins(&self, topic: &str, partitions: u16) -> Result<Vec<i64>> {
        self.ask(topic, partitions, Question::Begin).await
    }

    /// The offset that comes next in each partition.
    pub(crate) async fn ends(&self, topic: &str, partitions: u16) -> Result<Vec<i64>> {
        self.ask(topic, partitions, Question::End).await
    }

    /// Where each partition begins and ends.
    pub(crate) async fn bounds(&self, topic: &str, partitions: u16) -> Result<Vec<Bounds>> {
        let (begins, ends) = tokio::join!(self.begins(topic, partitions), self.ends(topic, partitions));
        let bounds = begins?.into_iter().zip(ends?).map(|(begin, end)| Bounds { begin, end: end.max(begin) });
        Ok(bounds.collect())
    }

    /// The first offset at or after a time in each partition; its end where there is none.
    pub(crate) async fn at(&self, topic: &str, partitions: u16, time: Timestamp) -> Result<Vec<i64>> {
        // Zero and less are no times to the broker but words of its own.
        let millis = time.as_millis().max(1) + i64::from(time.as_nanos() % 1_000_000 != 0);
        let (found, ends) =
            tokio::join!(self.ask(topic, partitions, Question::At(millis)), self.ends(topic, partitions));
        Ok(found?.into_iter().zip(ends?).map(|(found, end)| if found < 0 { end } else { found }).collect())
    }

    async fn ask(&self, topic: &str, partitions: u16, question: Question) -> Result<Vec<i64>> {
        let key = (topic.to_owned(), question);
        let (answered, is_first) = self.0.rounds.join(&key, partitions);
        if is_first {
            let inner = Arc::clone(&self.0);
            tokio::task::spawn_blocking(move || inner.run(&key));
        }
        answered.await.unwrap_or_else(|_| Err(error::closed()))
    }

    /// The topics there are, each with its number of partitions.
    pub(crate) async fn topics(&self) -> Result<HashMap<String, u16>> {
        self.blocking(|inner| {
            let metadata = inner.client.fetch_metadata(None, inner.timeout);
            let metadata = metadata.map_err(|error| error::failed("the topics can't be listed", error))?;
            let counted = metadata.topics().iter().filter(|topic| topic.error().is_none());
            Ok(counted.map(|topic| (topic.name().to_owned(), count(topic.partitions().len()))).collect())
        })
        .await
    }

    /// How many partitions a topic has; `None` when it is not there.
    pub(crate) async fn partitions(&self, topic: &str) -> Result<Option<u16>> {
        self.partitions_within(topic, self.0.timeout).await
    }

    /// The same, for whoever can't wait as long: nobody may be there to answer, and the question holds a thread.
    pub(crate) async fn partitions_within(&self, topic: &str, time: Duration) -> Result<Option<u16>> {
        let topic = topic.to_owned();
        self.blocking(move |inner| {
            let metadata = inner.client.fetch_metadata(Some(&topic), time.min(inner.timeout));
            let metadata = metadata.map_err(|error| error::failed("the topic can't be looked at", error))?;
            let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
                return Ok(None);
            };
            match found.error().map(Code::from) {
                None => Ok(Some(found.partitions().len()).filter(|count| *count > 0).map(count)),
                Some(Code::UnknownTopicOrPartition | Code::InvalidTopic) => Ok(None),
                // Its leaders are being found.
                Some(Code::LeaderNotAvailable) => Ok(None),
                Some(code) => Err(error::of_code("the topic can't be looked at", code)),
            }
        })
        .await
    }

    /// Where many topics begin and end, in two questions; what can't be told is left out.
    pub(crate) async fn bounds_of_all(
        &self,
        topics: Vec<(String, u16)>,
    ) -> Result<HashMap<String, Vec<Bounds>>> {
        self.blocking(move |inner| {
            let ask = |offset| {
                let mut list = TopicPartitionList::new();
                for (topic, partitions) in &topics {
                    for partition in 0..*partitions {
                        let added = list.add_partition_offset(topic, i32::from(partition), offset);
                        added.map_err(|error| error::failed("offsets can't be asked for", error))?;
                    }
                }
                let found = inner.client.offsets_for_times(list, inner.timeout);
                found.map_err(|error| error::failed("offsets can't be found", error))
            };
            let (begins, ends) = (ask(Offset::Beginning)?, ask(Offset::End)?);
            let mut all: HashMap<String, Vec<Bounds>> = HashMap::new();
            for (begin, end) in begins.elements().iter().zip(ends.elements()) {
                let (Some(begin_at), Some(end_at)) = (told(begin.offset()), told(end.offset())) else {
                    continue;
                };
                all.entry(begin.topic().to_owned())
                    .or_default()
                    .push(Bounds { begin: begin_at, end: end_at });
            }
            Ok(all)
        })
        .await
    }

    /// Calls what blocks, off the runtime.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        let called = tokio::task::spawn_blocking(move || call(&inner)).await;
        called.unwrap_or_else(|error| Err(Error::unavailable("a question was given up").with_source(error)))
    }
}

impl Inner {
    /// Asks until nobody waits for this question any more.
    fn run(&self, key: &Key) {
        while let Some(waiting) = self.rounds.begin(key) {
            let partitions = waiting.iter().map(|(partitions, _)| *partitions).max().unwrap_or(1);
            let found = question::ask(&self.client, self.timeout, &key.0, partitions, key.1);
            for (wanted, answer) in waiting {
                let found = found.clone().map(|found| found.into_iter().take(usize::from(wanted)).collect());
                // Whoever no longer waits does not need it.
                let _ = answer.send(found);
            }
        }
    }
}

fn count(partitions: usize) -> u16 {
    u16::try_from(partitions).unwrap_or(u16::MAX)
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").finish_non_exhaustive()
    }
}

//! How a crew finds out where its group stands, and where a new one begins.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use busgate_core::{Error, ErrorKind, Group, Moment, Result, Start, Timestamp};
use rdkafka::error::KafkaError;
use tokio::time::{Instant, sleep};

use super::{
    Crew,
    client::{Client, Committed, may_pass, protocol},
};
use crate::{
    error,
    offsets::{self, Author, Commit, MAX_METADATA},
    shelf::Shelf,
    start::Begun,
};

/// How long to wait before a group is looked at again.
const AGAIN: Duration = Duration::from_millis(100);

/// A member of the crew's group. A group that is new begins at `start`, and that is kept before anything else happens.
pub(super) async fn open(crew: &Arc<Crew>, start: Option<Start>) -> Result<Arc<Client>> {
    let protocol = protocol(&crew.shared.config, crew.is_led.load(Ordering::Relaxed));
    let names = (crew.id.as_str(), crew.event.topic.as_str());
    let client = Arc::new(Client::new(&crew.shared, protocol, names, &crew.inbox)?);
    let deadline = Instant::now() + crew.shared.config.timeout;
    loop {
        match begin(crew, &client, start.clone()).await {
            Ok(Begin::Done) => break,
            // Another node begins it at the same time.
            Ok(Begin::Again) if Instant::now() < deadline => {}
            Ok(Begin::Again) => return Err(error::late("the group's beginning")),
            Err(error) if error.kind().is_transient() && Instant::now() < deadline => {
                tracing::debug!(%error, group = crew.id, "a group can't be opened yet");
            }
            Err(error) => return Err(error),
        }
        sleep(AGAIN).await;
    }
    client.join()?;
    Ok(client)
}

/// What came of beginning a group.
enum Begin {
    /// There is one now.
    Done,
    /// Somebody else was faster, and is not done.
    Again,
}

/// Begins the group, unless there is one.
async fn begin(crew: &Arc<Crew>, client: &Arc<Client>, start: Option<Start>) -> Result<Begin> {
    crew.shared.look_for_growth(&crew.event).await;
    let partitions: Vec<_> = (0..i32::from(crew.event.partitions())).collect();
    let (asked, by, shared) = (partitions.clone(), Arc::clone(client), Arc::clone(&crew.shared));
    let known = blocking(move || by.committed(&asked, &shared)).await?;
    if known.iter().any(|committed| is_of_this_life(crew, committed)) {
        return Ok(Begin::Done);
    }
    let Some(start) = start else { return Err(unknown(crew)) };
    let Begun { next, gap } = crew.shared.resolve(&crew.event, &start).await?;
    let now = crew.now();
    let commits: Vec<_> = partitions
        .into_iter()
        .zip(&next)
        .map(|(partition, next)| (partition, first(crew, *next, now)))
        .collect();
    let by = Arc::clone(client);
    match blocking(move || Ok(by.commit(&commits))).await? {
        Ok(()) => {
            crew.state.lock().gaps.extend(gap);
            Ok(Begin::Done)
        }
        Err(KafkaError::ConsumerCommit(code)) if !may_pass(code) => Ok(Begin::Again),
        Err(error) => Err(error::failed("the group's beginning can't be kept", error)),
    }
}

/// That there is no such group, and nobody says where it is to begin.
fn unknown(crew: &Crew) -> Error {
    Error::new(ErrorKind::NotFound, format!("{} of event `{}` is not known", crew.holder, crew.event.name))
}

fn is_of_this_life(crew: &Crew, committed: &Committed) -> bool {
    let Some(offset) = committed.offset else { return false };
    let told = offsets::read(offset, &committed.metadata, crew.now());
    told.is_none_or(|told| told.author.life == crew.event.life)
}

fn first(crew: &Crew, next: i64, now: Moment) -> Commit {
    let offset = u64::try_from(next).unwrap_or(0);
    let author = Author { life: crew.event.life, generation: 0 };
    offsets::write(&Group::new(offset, 0), &Shelf::default(), author, now, MAX_METADATA)
        .unwrap_or(Commit { offset, metadata: String::new() })
}

/// The generation that an owner has at least: where the last one's is not known any more, the time tells it apart.
pub(super) fn least_generation(now: Timestamp) -> u32 {
    // Minutes since 2025, of which 24 bits last for thirty years.
    let minutes = (now.as_millis() - 1_735_689_600_000) / 60_000;
    u32::try_from(minutes).unwrap_or(0)
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let called = tokio::task::spawn_blocking(call).await;
    called.unwrap_or_else(|error| Err(Error::unavailable("a question was given up").with_source(error)))
}

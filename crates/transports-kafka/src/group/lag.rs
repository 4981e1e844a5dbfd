//! How far groups are, on whichever node their members are, and without any.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use busgate_core::{ConsumerLag, ConsumerName, Error, GroupName, Holder, Moment, Result, Standing};
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::{
    Groups,
    client::{Client, Committed, protocol},
    id,
};
use crate::{clients::Context, error, event::Event, offsets, shared::Shared};

/// How far a partition is, as its owner has it or as the last commit tells.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stand {
    /// What was never handed out.
    pub(super) frontier: u64,
    /// Neither leased nor done, of what was.
    pub(super) held: u64,
    pub(super) leased: u64,
    pub(super) delayed: u64,
}

impl Groups {
    /// How far each group and named consumer of the event is.
    ///
    /// What is read here is known exactly; of the rest the last commits tell.
    pub(crate) async fn lag(&self, event: &Arc<Event>) -> Result<Vec<ConsumerLag>> {
        self.shared.look_for_growth(event).await;
        let ends = self.shared.asker.ends(&event.topic, event.partitions()).await?;
        let prefix = format!("{}{}/", self.shared.config.prefix, event.name);
        let named = blocking(&self.shared, move |shared| names(shared, &prefix)).await?;
        let mut holders: HashSet<_> = named.into_iter().collect();
        let here = self.crews_of(&event.name);
        holders.extend(here.iter().map(|crew| crew.holder.clone()));
        let mut lags = Vec::with_capacity(holders.len());
        for holder in holders {
            let crew = here.iter().find(|crew| crew.holder == holder);
            let (mut stands, members) = crew.map(|crew| crew.stands()).unwrap_or_default();
            if stands.len() < ends.len() {
                let name = id(&self.shared.config.prefix, &event.name, &holder);
                let elsewhere = self.committed(event, name).await?;
                for (partition, stand) in elsewhere {
                    stands.entry(partition).or_insert(stand);
                }
            }
            if members > 0 || !stands.is_empty() {
                lags.push(lag(holder, &stands, members as u64, &ends));
            }
        }
        lags.sort_by(|left, right| left.holder.cmp(&right.holder));
        Ok(lags)
    }

    /// What the commits of a group tell.
    async fn committed(&self, event: &Arc<Event>, name: String) -> Result<BTreeMap<i32, Stand>> {
        let (event, is_led) = (Arc::clone(event), self.is_led());
        let now = self.now();
        blocking(&self.shared, move |shared| {
            let partitions: Vec<_> = (0..i32::from(event.partitions())).collect();
            let protocol = protocol(&shared.config, is_led);
            let client = Client::new(shared, protocol, (&name, &event.topic), &Arc::default())?;
            let committed = client.committed(&partitions, shared)?;
            let told = committed.iter().filter_map(|committed| stand(committed, event.life, now));
            Ok(told.collect())
        })
        .await
    }
}

fn stand(committed: &Committed, life: u64, now: Moment) -> Option<(i32, Stand)> {
    let offset = committed.offset?;
    let Some(told) = offsets::read(offset, &committed.metadata, now) else {
        return Some((committed.partition, Stand { frontier: offset, ..Stand::default() }));
    };
    if told.author.life != life {
        return None;
    }
    let (held, delayed) = told.shelf.map_or((0, 0), |tag| (tag.count, tag.delayed));
    let mut stand = Stand { frontier: told.frontier, held, delayed, ..Stand::default() };
    for unfinished in told.unfinished {
        match unfinished.standing {
            Standing::Leased(until) if until > now.at => stand.leased += 1,
            Standing::Waiting(due) if due > now.at => {
                stand.delayed += 1;
                stand.held += 1;
            }
            _ => stand.held += 1,
        }
    }
    Some((committed.partition, stand))
}

fn lag(holder: Holder, stands: &BTreeMap<i32, Stand>, members: u64, ends: &[i64]) -> ConsumerLag {
    let (mut waiting, mut in_flight, mut delayed) = (0, 0, 0);
    for (partition, stand) in stands {
        let end = usize::try_from(*partition).ok().and_then(|index| ends.get(index)).copied();
        let end = end.and_then(|end| u64::try_from(end).ok()).unwrap_or_default();
        waiting += end.saturating_sub(stand.frontier) + stand.held;
        in_flight += stand.leased;
        delayed += stand.delayed;
    }
    ConsumerLag { holder, waiting: Some(waiting), in_flight, delayed, members }
}

/// The holders whose groups' names begin like this; blocks.
fn names(shared: &Shared, prefix: &str) -> Result<Vec<Holder>> {
    let client: BaseConsumer<Context> = shared.clients.make(&shared.clients.reader(100))?;
    let list = client.fetch_group_list(None, shared.config.timeout);
    let list = list.map_err(|error| error::failed("the groups can't be listed", error))?;
    let holder = |name: &str| {
        let (kind, name) = name.strip_prefix(prefix)?.split_once('/')?;
        match kind {
            "group" => GroupName::new(name).ok().map(Holder::Group),
            "consumer" => ConsumerName::new(name).ok().map(Holder::Consumer),
            _ => None,
        }
    };
    Ok(list.groups().iter().filter_map(|group| holder(group.name())).collect())
}

async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    call: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
) -> Result<T> {
    let shared = Arc::clone(shared);
    let called = tokio::task::spawn_blocking(move || call(&shared)).await;
    called.unwrap_or_else(|error| Err(Error::unavailable("a question was given up").with_source(error)))
}

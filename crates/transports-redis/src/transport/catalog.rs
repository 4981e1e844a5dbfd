//! The events there are, and whether the server works.

use std::{collections::BTreeMap, time::Duration};

use busgate_core::{EventInfo, EventName, Result};
use futures_util::{StreamExt, stream};
use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::{
    error,
    id::EntryId,
    keys,
    node::Node,
    reply::{Outcome, Reply},
    script,
    topic::Topic,
};

/// How many events are looked at at the same time.
const AT_ONCE: usize = 32;

/// How long nodes that did not hear of it can see that an event was unregistered.
const GONE: Duration = Duration::from_secs(24 * 3600);

impl Node {
    /// Every event that is registered or mapped.
    pub(super) async fn events(&self) -> Result<Vec<EventInfo>> {
        let catalog = keys::catalog(&self.config().prefix);
        let listed = self.link.command(redis::cmd("HGETALL").arg(&catalog)).await?;
        let mut names: BTreeMap<_, _> = pairs("the catalog", listed)?
            .into_iter()
            .filter_map(|(name, listed)| Some((EventName::new(name).ok()?, Some(listed))))
            .collect();
        for mapped in self.config().map.keys() {
            names.entry(mapped.clone()).or_insert(None);
        }
        let infos = stream::iter(names).map(|(name, listed)| self.info(name, listed)).buffered(AT_ONCE);
        let infos: Vec<_> = infos.collect().await;
        infos.into_iter().filter_map(Result::transpose).collect()
    }

    /// `None` when the catalog has it and the server does not: it is taken off.
    async fn info(&self, name: EventName, listed: Option<String>) -> Result<Option<EventInfo>> {
        let topic = Topic::new(self.config(), &name)?;
        let known = self.registration(&topic).await?;
        if known.is_none()
            && let Some(listed) = listed
        {
            self.delist(&name, &listed).await?;
            if !topic.mapped {
                return Ok(None);
            }
        }
        let (life, config) = known.unwrap_or_default();
        let mut info = EventInfo { name, config, messages: Some(0), bytes: None, oldest: None, newest: None };
        let Some(stream) = self.stream_info(&topic).await? else { return Ok(Some(info)) };
        info.messages = stream.get("length").and_then(Figure::number);
        let place = |name: &str| {
            stream.get(name).and_then(Figure::entry).map(|id| topic.cursor(life, id)).transpose()
        };
        (info.oldest, info.newest) = (place("first-entry")?, place("last-entry")?);
        Ok(Some(info))
    }

    pub(super) async fn stream_info(&self, topic: &Topic) -> Result<Option<BTreeMap<String, Figure>>> {
        let value = self.link.command(redis::cmd("XINFO").arg("STREAM").arg(&topic.keys.stream)).await;
        match value {
            Ok(value) => figures(value).map(Some),
            Err(error) if no_key(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets the event and all that belongs to it.
    pub(super) async fn unregister(&self, topic: &Topic) -> Result<()> {
        let catalog = keys::catalog(&self.config().prefix);
        let listed = self.link.command(redis::cmd("HGET").arg(&catalog).arg(topic.name.as_str())).await?;
        let groups: Vec<_> =
            self.group_infos(topic).await?.iter().filter_map(|group| group.get("name")?.text()).collect();
        let of_groups: Vec<_> = groups.iter().flat_map(|group| topic.keys.of_group(group)).collect();
        let mut names = vec![topic.keys.stream.as_str(), &topic.keys.record];
        names.extend(topic.keys.beside());
        names.extend(of_groups.iter().map(String::as_str));
        let arguments = |command: &mut Cmd| {
            command.arg(&topic.keys.channel).arg(GONE.as_millis());
        };
        let value = self.link.run(script::UNREGISTER.call(&names, arguments).replicated()).await?;
        match Reply::outcome("unregister", value)? {
            Outcome::Done(_) => {}
            Outcome::Other(..) | Outcome::Gone(_) => return Err(error::not_registered(&topic.name)),
        }
        match listed {
            Value::BulkString(listed) => self.delist(&topic.name, &String::from_utf8_lossy(&listed)).await,
            _ => Ok(()),
        }
    }

    async fn delist(&self, name: &EventName, listed: &str) -> Result<()> {
        let catalog = keys::catalog(&self.config().prefix);
        let arguments = |command: &mut Cmd| {
            command.arg(name.as_str()).arg(listed);
        };
        self.link.run(script::DELIST.call(&[&catalog], arguments)).await.map(drop)
    }

    /// What the server tells of each group of the event; nothing when there is no stream.
    pub(super) async fn group_infos(&self, topic: &Topic) -> Result<Vec<BTreeMap<String, Figure>>> {
        let value = self.link.command(redis::cmd("XINFO").arg("GROUPS").arg(&topic.keys.stream)).await;
        match value {
            Ok(value) => Reply::new("groups", value)?.rest().into_iter().map(figures).collect(),
            Err(error) if no_key(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Writes an entry, reads it and takes it away again; answers how long that took.
    pub(super) async fn probe(&self) -> Result<Duration> {
        let started = Instant::now();
        let stream = format!("{}busgate:probe", self.config().prefix);
        let mut add = redis::cmd("XADD");
        add.arg(&stream).arg("MAXLEN").arg("~").arg(100).arg("*").arg("node").arg(format!("{:x}", self.id));
        let Value::BulkString(id) = self.link.command(&add).await? else {
            return Err(error::nonsense("XADD"));
        };
        let found = self.link.command(redis::cmd("XRANGE").arg(&stream).arg(&id).arg(&id)).await?;
        if Reply::new("XRANGE", found)?.len() != 1 {
            return Err(error::unreachable("redis does not read what it was written"));
        }
        self.link.command(redis::cmd("XDEL").arg(&stream).arg(&id)).await?;
        Ok(started.elapsed())
    }
}

/// One thing that `XINFO` tells.
#[derive(Debug)]
pub(super) struct Figure(Value);

impl Figure {
    pub(super) fn number(&self) -> Option<u64> {
        match self.0 {
            Value::Int(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        match &self.0 {
            Value::BulkString(text) => String::from_utf8(text.clone()).ok(),
            _ => None,
        }
    }

    pub(super) fn entry(&self) -> Option<EntryId> {
        match &self.0 {
            Value::Array(parts) => match parts.first()? {
                Value::BulkString(id) => std::str::from_utf8(id).ok()?.parse().ok(),
                _ => None,
            },
            _ => None,
        }
    }
}

fn figures(value: Value) -> Result<BTreeMap<String, Figure>> {
    let parts = match value {
        Value::Map(pairs) => pairs.into_iter().flat_map(|(name, value)| [name, value]).collect(),
        value => Reply::new("XINFO", value)?.rest(),
    };
    let mut parts = parts.into_iter();
    let mut figures = BTreeMap::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        figures.extend(Figure(name).text().map(|name| (name, Figure(value))));
    }
    Ok(figures)
}

fn pairs(what: &'static str, value: Value) -> Result<Vec<(String, String)>> {
    let mut reply = match value {
        Value::Map(pairs) => {
            Reply::new(what, Value::Array(pairs.into_iter().flat_map(|(a, b)| [a, b]).collect()))?
        }
        value => Reply::new(what, value)?,
    };
    let mut pairs = Vec::new();
    while reply.len() > 0 {
        pairs.push((reply.text()?, reply.text()?));
    }
    Ok(pairs)
}

fn no_key(error: &busgate_core::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.to_string().contains("no such key"))
}

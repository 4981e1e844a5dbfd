//! What all parts of a node share.

mod group;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use busgate_core::{EventConfig, EventName, Result};
use parking_lot::Mutex;
use redis::{Cmd, Value};

use crate::{
    config::RedisConfig,
    ear::Ear,
    error, keys,
    link::Link,
    reply::{Outcome, Reply},
    script,
    topic::Topic,
};

/// What all parts of a node share.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) link: Link,
    pub(crate) ear: Ear,
    /// What tells it from other nodes.
    pub(crate) id: u64,
    /// The same, as the scripts are told.
    pub(crate) name: String,
    topics: Mutex<HashMap<EventName, Arc<Topic>>>,
    serial: AtomicU64,
}

impl Node {
    pub(crate) fn new(link: Link) -> Self {
        let id = fastrand::u64(1..);
        let name = format!("{id:x}");
        Self { link, ear: Ear::default(), id, name, topics: Mutex::default(), serial: AtomicU64::new(1) }
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.link.config
    }

    /// A number nobody else on this node has.
    pub(crate) fn serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// The event; it is kept only once it is known to exist.
    ///
    /// # Errors
    /// `unavailable` when the transport is closed, else as [`Topic::new`].
    pub(crate) fn topic(&self, event: &EventName) -> Result<Arc<Topic>> {
        if self.link.is_closed() {
            return Err(error::closed());
        }
        match self.topics.lock().get(event) {
            Some(topic) => Ok(Arc::clone(topic)),
            None => Topic::new(self.config(), event).map(Arc::new),
        }
    }

    /// Keeps an event that exists; answers the one that is kept.
    pub(crate) fn keep(&self, topic: Arc<Topic>) -> Arc<Topic> {
        Arc::clone(self.topics.lock().entry(topic.name.clone()).or_insert(topic))
    }

    /// Every event that is kept.
    pub(crate) fn kept(&self) -> Vec<Arc<Topic>> {
        self.topics.lock().values().map(Arc::clone).collect()
    }

    /// Registers the event; answers its life.
    ///
    /// # Errors
    /// `exists` with another configuration, `invalid` when its key holds something else.
    pub(crate) async fn register(&self, topic: &Topic, config: &EventConfig) -> Result<u64> {
        let catalog = keys::catalog(&self.config().prefix);
        let enlist =
            || redis::cmd("HSET").arg(&catalog).arg(topic.name.as_str()).arg(fastrand::u64(..)).take();
        // Before, so that no event is unknown to the catalog; after, for whoever unregistered it meanwhile.
        self.link.command(&enlist()).await?;
        let life = fastrand::u64(1..);
        let asked = [
            config.dedup_window.map(|window| window.as_millis()),
            config.retention_age.map(|age| age.as_millis()),
            config.retention_bytes.map(u128::from),
            config.retention_messages.map(u128::from),
        ];
        let keys = [topic.keys.stream.as_str(), &topic.keys.record];
        let arguments = |command: &mut Cmd| {
            command.arg(format!("{life:x}")).arg(u8::from(!config.is_default()));
            for figure in asked {
                command.arg(figure.map(|figure| figure.to_string()).unwrap_or_default());
            }
        };
        let value = self.link.run(script::REGISTER.call(&keys, arguments).replicated()).await?;
        self.link.command(&enlist()).await?;
        match Reply::outcome("register", value)? {
            Outcome::Done(mut reply) => reply.life()?.ok_or_else(|| error::nonsense("register")),
            Outcome::Other(status, _) if status == "exists" => Err(busgate_core::Error::new(
                busgate_core::ErrorKind::Exists,
                format!("event `{}` is registered with another configuration", topic.name),
            )),
            Outcome::Other(status, mut reply) if status == "type" => Err(busgate_core::Error::invalid(
                format!("the key of event `{}` holds a {}, not a stream", topic.name, reply.text()?),
            )),
            Outcome::Gone(_) | Outcome::Other(..) => Err(error::nonsense("register")),
        }
    }

    /// What the event was registered with, and its life, if it was registered.
    ///
    /// # Errors
    /// As [`Link::command`].
    pub(crate) async fn registration(&self, topic: &Topic) -> Result<Option<(u64, EventConfig)>> {
        let mut command = redis::cmd("HMGET");
        command.arg(&topic.keys.record).arg(["life", "dedup", "age", "bytes", "messages"].as_slice());
        let value = self.link.command(&command).await?;
        registration(value)
    }
}

/// Reads the fields of a record.
pub(crate) fn registration(value: Value) -> Result<Option<(u64, EventConfig)>> {
    let mut fields = Reply::new("a record", value)?.rest().into_iter();
    let mut text = || match fields.next() {
        Some(Value::BulkString(bytes)) => String::from_utf8(bytes).ok(),
        _ => None,
    };
    let Some(life) = text() else { return Ok(None) };
    let life = u64::from_str_radix(&life, 16).map_err(|_| error::nonsense("a record"))?;
    let mut number = || text().and_then(|text| text.parse::<u64>().ok());
    let config = EventConfig {
        dedup_window: number().map(std::time::Duration::from_millis),
        retention_age: number().map(std::time::Duration::from_millis),
        retention_bytes: number(),
        retention_messages: number(),
    };
    Ok(Some((life, config)))
}

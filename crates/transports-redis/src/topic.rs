//! An event as one node knows it.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
};

use busgate_core::{Cursor, EventConfig, EventName, Gap, Holder, Places, Position, Result, Start};
use parking_lot::Mutex;
use redis::Cmd;
use tokio::sync::watch;

use crate::{
    batch::Batches,
    config::RedisConfig,
    crew::Crew,
    id::EntryId,
    keys::{self, Keys},
    transport::{publish::Publishing, settle::Settling},
};

/// An event as one node knows it. It says nothing of whether the event exists.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: EventName,
    pub(crate) keys: Keys,
    /// Whether the configuration names its stream: then it is there, whether the stream is or not.
    pub(crate) mapped: bool,
    pub(crate) publishing: Batches<Publishing>,
    pub(crate) settling: Batches<Settling>,
    /// The connection on which the server is known to have the script that publishes.
    pub(crate) published_on: AtomicU64,
    /// Rings when there may be something new for those who read on.
    pub(crate) bell: watch::Sender<u64>,
    pub(crate) crews: Mutex<HashMap<Holder, Arc<Crew>>>,
    /// What it was registered with, and its life, as was seen last: for the day the server has forgotten it.
    pub(crate) seen: Mutex<Option<(u64, EventConfig)>>,
}

/// Where a reader begins, as the scripts are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct From {
    pub(crate) kind: &'static str,
    /// The least id of its first message.
    pub(crate) next: EntryId,
    /// The life of the cursor.
    pub(crate) life: u64,
}

impl From {
    /// Adds how it starts, the next id, the one before it, and the life.
    pub(crate) fn write(&self, command: &mut Cmd) {
        command.arg(self.kind).arg(self.next.to_string()).arg(self.next.previous().to_string());
        command.arg(format!("{:x}", self.life));
    }
}

impl Topic {
    /// # Errors
    /// `unsupported` when its stream has a name no key can stand beside.
    pub(crate) fn new(config: &RedisConfig, name: &EventName) -> Result<Self> {
        let mapped = config.map.get(name);
        let stream = mapped.cloned().unwrap_or_else(|| keys::stream(&config.prefix, name));
        Ok(Self {
            name: name.clone(),
            keys: Keys::new(&config.prefix, stream)?,
            mapped: mapped.is_some(),
            publishing: Batches::default(),
            settling: Batches::default(),
            published_on: AtomicU64::new(0),
            bell: watch::Sender::new(0),
            crews: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    pub(crate) const fn mapped_flag(&self) -> &'static str {
        if self.mapped { "1" } else { "0" }
    }

    /// There may be something new, for everyone.
    pub(crate) fn ring(&self) {
        self.bell.send_modify(|rings| *rings = rings.wrapping_add(1));
        self.ring_ahead();
    }

    /// Something is on its way to the stream: whoever asks from now on finds it.
    pub(crate) fn ring_ahead(&self) {
        self.ring_ahead_but(None);
    }

    /// The same, for all crews but this one.
    pub(crate) fn ring_ahead_but(&self, crew: Option<&Arc<Crew>>) {
        for other in self.crews.lock().values() {
            if crew.is_none_or(|crew| !Arc::ptr_eq(crew, other)) {
                other.ring();
            }
        }
    }

    /// There is something new up to this entry; when `behind`, whoever takes turns was told ahead and asks, or has asked,
    /// behind it on the same connection.
    pub(crate) fn ring_for(&self, id: EntryId, behind: bool) {
        self.bell.send_modify(|rings| *rings = rings.wrapping_add(1));
        if behind {
            return;
        }
        for crew in self.crews.lock().values() {
            crew.ring_for(id);
        }
    }

    /// There may be something new for a group on the stream.
    pub(crate) fn ring_group(&self, group: &str) {
        for crew in self.crews.lock().values().filter(|crew| crew.group == group) {
            crew.ring();
        }
    }

    /// The group's crew on this node, if there is one.
    pub(crate) fn crew(&self, group: &str) -> Option<Arc<Crew>> {
        self.crews.lock().values().find(|crew| crew.group == group).map(Arc::clone)
    }

    /// The cursor of the message `id`.
    ///
    /// # Errors
    /// Never in practice: one number makes a short cursor.
    pub(crate) fn cursor(&self, life: u64, id: EntryId) -> Result<Cursor> {
        Places::before(life, &self.name, vec![id.place_after()]).of_message_in(0).to_cursor()
    }

    /// The cursor before the message `id`.
    ///
    /// # Errors
    /// As [`Self::cursor`].
    pub(crate) fn cursor_before(&self, life: u64, id: EntryId) -> Result<Cursor> {
        self.cursor(life, id.previous())
    }

    /// Messages before `at` can't be had any more.
    ///
    /// # Errors
    /// As [`Self::cursor`].
    pub(crate) fn gap(&self, life: u64, missed: Option<u64>, after: Option<EntryId>) -> Result<Gap> {
        Ok(Gap { missed, cursor: after.map(|id| self.cursor(life, id)).transpose()? })
    }

    /// What the scripts are told of a start.
    ///
    /// # Errors
    /// `invalid` for a cursor that is not one of this event.
    pub(crate) fn from(&self, start: &Start) -> Result<From> {
        let from = |kind, next, life| From { kind, next, life };
        match start {
            Start::Beginning => Ok(from("beginning", EntryId::ZERO, 0)),
            Start::Latest => Ok(from("latest", EntryId::ZERO, 0)),
            Start::At(time) => Ok(from("time", EntryId::at(*time), 0)),
            Start::After(cursor) => {
                let places = Places::parse(cursor)?;
                if !places.is_of(&self.name) || places.next.len() > 1 {
                    return Err(Position::foreign());
                }
                Ok(from("after", EntryId::from_place(places.in_partition(0)), places.life))
            }
        }
    }
}

//! Reading, beside the writer: a few connections, each used by one blocking call at a time.

use std::path::PathBuf;

use busgate_core::Result;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    record::{EventId, Place, Sealed},
    schema,
};
use crate::error::{damaged, sqlite};

/// How many idle connections are kept.
const KEPT: usize = 4;

/// The connections that read.
#[derive(Debug)]
pub(crate) struct Readers {
    directory: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// What to read: the messages from `from` up to but not with `until`, as many as fit, but always one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    pub(crate) event: EventId,
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Readers {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, idle: Mutex::new(Vec::new()) }
    }

    /// Reads consecutive messages, starting with `from`; at least one if `from` is before `until`.
    ///
    /// # Errors
    /// `internal` when one is missing or has changed.
    pub(crate) fn page(&self, want: Want) -> Result<Vec<Sealed>> {
        self.with(|connection| page(connection, want))
    }

    /// Reads the one message at `place`.
    pub(crate) fn one(&self, place: Place) -> Result<Sealed> {
        self.with(|connection| one(connection, place))
    }

    /// The first offset in `from..until` whose record meets `reached`, which must never fall back; else `until`.
    pub(crate) fn search(
        &self,
        event: EventId,
        range: std::ops::Range<u64>,
        reached: impl Fn(&Sealed) -> bool,
    ) -> Result<u64> {
        self.with(|connection| {
            let (mut low, mut high) = (range.start, range.end);
            while low < high {
                let middle = low + (high - low) / 2;
                if reached(&one(connection, Place { event, offset: middle })?) {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
            Ok(low)
        })
    }

    /// The bounds of what is held of `event`: the first offset, and one more than the last.
    pub(crate) fn bounds(&self, event: EventId) -> Result<Option<(u64, u64)>> {
        self.with(|connection| {
            let end = |order: &str| {
                connection
                    .prepare_cached(&format!(
                        "SELECT offset FROM message WHERE event = ?1 ORDER BY offset {order} LIMIT 1"
                    ))
                    .and_then(|mut select| select.query_row([event.0], |row| row.get::<_, i64>(0)).optional())
                    .map_err(sqlite)
            };
            let bounds = end("ASC")?.zip(end("DESC")?);
            Ok(bounds.map(|(first, last)| (first.cast_unsigned(), last.cast_unsigned().wrapping_add(1))))
        })
    }

    /// Lets go of the idle connections.
    pub(crate) fn close(&self) {
        self.idle.lock().clear();
    }

    fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.directory)?,
        };
        let result = read(&connection);
        let mut idle = self.idle.lock();
        if idle.len() < KEPT {
            idle.push(connection);
        }
        result
    }
}

fn one(connection: &Connection, place: Place) -> Result<Sealed> {
    let want =
        Want { event: place.event, from: place.offset, until: place.offset + 1, messages: 1, bytes: 0 };
    let mut found = page(connection, want)?;
    found.pop().ok_or_else(|| missing(place))
}

pub(super) fn page(connection: &Connection, want: Want) -> Result<Vec<Sealed>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT offset, record FROM message WHERE event = ?1 AND offset >= ?2 AND offset < ?3
             ORDER BY offset LIMIT ?4",
        )
        .map_err(sqlite)?;
    let limit = i64::try_from(want.messages).unwrap_or(i64::MAX);
    let bounds = params![want.event.0, want.from.cast_signed(), want.until.cast_signed(), limit];
    let mut rows = statement.query(bounds).map_err(sqlite)?;
    let mut found = Vec::new();
    let mut bytes = 0;
    let mut place = Place { event: want.event, offset: want.from };
    while place.offset < want.until && found.len() < want.messages && (found.is_empty() || bytes < want.bytes)
    {
        let row = rows.next().map_err(sqlite)?.ok_or_else(|| missing(place))?;
        let offset: i64 = row.get(0).map_err(sqlite)?;
        if offset.cast_unsigned() != place.offset {
            return Err(missing(place));
        }
        let sealed = Sealed::open(row.get(1).map_err(sqlite)?, place)?;
        bytes += sealed.body.len();
        if bytes > want.bytes && !found.is_empty() {
            break;
        }
        found.push(sealed);
        place.offset += 1;
    }
    Ok(found)
}

fn missing(place: Place) -> busgate_core::Error {
    damaged(format!("message {} of event {} is missing", place.offset, place.event.0))
}

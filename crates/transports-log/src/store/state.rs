//! State rows: what is known of events, groups and consumers, each sealed, all of them vouched for by the commit row.

use busgate_core::{Holder, Result};
use bytes::Bytes;
use rusqlite::Connection;
use xxhash_rust::xxh3::Xxh3;

use super::record::EventId;
use crate::{
    codec::{Decoder, Encoder},
    error::{damaged, sqlite},
};

/// The key of the commit row; no other key is empty.
pub(crate) const COMMIT_KEY: &[u8] = b"";

/// Whose state a row holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum StateKey {
    /// A registered event.
    Event(EventId),
    /// A group or named consumer of an event.
    Holder(EventId, Holder),
    /// An unregistered event whose messages are not all deleted yet.
    Grave(EventId),
}

impl StateKey {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let (tag, id, name) = match self {
            Self::Event(id) => (b'e', id, ""),
            Self::Holder(id, Holder::Group(name)) => (b'g', id, name.as_str()),
            Self::Holder(id, Holder::Consumer(name)) => (b'c', id, name.as_str()),
            Self::Grave(id) => (b'x', id, ""),
        };
        let mut key = vec![tag];
        key.extend_from_slice(&id.0.to_be_bytes());
        key.extend_from_slice(name.as_bytes());
        key
    }

    fn from_bytes(key: &[u8]) -> Option<Self> {
        let (tag, rest) = key.split_first()?;
        let (id, name) = rest.split_first_chunk::<4>()?;
        let id = EventId(u32::from_be_bytes(*id));
        let name = std::str::from_utf8(name).ok()?;
        match tag {
            b'e' => Some(Self::Event(id)),
            b'g' => Some(Self::Holder(id, Holder::Group(name.parse().ok()?))),
            b'c' => Some(Self::Holder(id, Holder::Consumer(name.parse().ok()?))),
            b'x' => Some(Self::Grave(id)),
            _ => None,
        }
    }
}

/// One state row as it was found.
#[derive(Debug)]
pub(crate) struct StateRow {
    pub(crate) key: StateKey,
    pub(crate) value: Bytes,
    pub(crate) hash: u64,
}

/// What the last commit says of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommitRow {
    /// The number of the commit.
    pub(crate) sequence: u64,
    /// The sum of the hashes of all state rows.
    pub(crate) digest: u64,
    /// The last event id that was given.
    pub(crate) last_event: u32,
    /// How often the store was opened: leases of different openings never meet.
    pub(crate) generation: u32,
}

impl CommitRow {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u64(self.sequence).u64(self.digest).u32(self.last_event).u32(self.generation);
        out.finish()
    }

    fn decode(value: Bytes) -> Result<Self> {
        let mut value = Decoder::new(value);
        Ok(Self {
            sequence: value.u64()?,
            digest: value.u64()?,
            last_event: value.u32()?,
            generation: value.u32()?,
        })
    }
}

/// Seals a state row; answers the record and its hash.
pub(crate) fn seal(key: &[u8], value: &[u8]) -> (Vec<u8>, u64) {
    let hash = hash(key, value);
    let mut out = Encoder::default();
    out.u64(hash).rest(value);
    (out.finish(), hash)
}

/// Reads and checks every state row, and that together they are those of the last commit.
pub(crate) fn load(connection: &Connection) -> Result<(CommitRow, Vec<StateRow>)> {
    let mut statement = connection.prepare("SELECT key, record FROM state ORDER BY key").map_err(sqlite)?;
    let mut found = statement.query([]).map_err(sqlite)?;
    let mut commit = None;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(sqlite)? {
        let key: Vec<u8> = row.get(0).map_err(sqlite)?;
        let (value, hash) = open(&key, row.get(1).map_err(sqlite)?)?;
        if key == COMMIT_KEY {
            commit = Some(CommitRow::decode(value)?);
            continue;
        }
        let key = StateKey::from_bytes(&key).ok_or_else(|| damaged("a state row has no owner"))?;
        rows.push(StateRow { key, value, hash });
    }
    let commit = match commit {
        Some(commit) => commit,
        None if rows.is_empty() => CommitRow::default(),
        None => return Err(damaged("the commit row is missing")),
    };
    let digest = rows.iter().fold(0_u64, |sum, row| sum.wrapping_add(row.hash));
    if digest != commit.digest {
        return Err(damaged("the state rows are not those of the last commit"));
    }
    Ok((commit, rows))
}

fn open(key: &[u8], record: Vec<u8>) -> Result<(Bytes, u64)> {
    let mut record = Decoder::new(Bytes::from(record));
    let sealed = record.u64()?;
    let value = record.rest();
    if hash(key, &value) == sealed {
        return Ok((value, sealed));
    }
    Err(damaged("a state row has changed"))
}

fn hash(key: &[u8], value: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&key.len().to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.digest()
}

//! One transaction: messages, state and trims that are on disk together or not at all.

use std::collections::HashMap;

use busgate_core::Result;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::{
    mark::Mark,
    reader::{self, Want},
    record::{EventId, Place, Sealed},
    state::{self, COMMIT_KEY, CommitRow, StateKey},
};
use crate::error::sqlite;

/// A transaction under construction. Dropping it undoes it.
#[derive(Debug)]
pub(crate) struct Batch<'s> {
    transaction: Transaction<'s>,
    mark: &'s mut Mark,
    committed: &'s mut CommitRow,
    hashes: &'s mut HashMap<Vec<u8>, u64>,
    next: CommitRow,
    /// The state rows this transaction writes, or with `None` deletes.
    changed: HashMap<Vec<u8>, Option<u64>>,
}

impl<'s> Batch<'s> {
    pub(super) fn begin(
        connection: &'s mut Connection,
        mark: &'s mut Mark,
        committed: &'s mut CommitRow,
        hashes: &'s mut HashMap<Vec<u8>, u64>,
    ) -> Result<Self> {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
        let next = CommitRow { sequence: committed.sequence + 1, ..*committed };
        Ok(Self { transaction, mark, committed, hashes, next, changed: HashMap::new() })
    }

    /// Adds a sealed message.
    pub(crate) fn append(&mut self, place: Place, record: &[u8]) -> Result<()> {
        self.transaction
            .prepare_cached("INSERT INTO message (event, offset, record) VALUES (?1, ?2, ?3)")
            .and_then(|mut insert| insert.execute(params![place.event.0, place.offset.cast_signed(), record]))
            .map_err(sqlite)?;
        Ok(())
    }

    /// Deletes the messages of `event` before `before`.
    pub(crate) fn trim(&mut self, event: EventId, before: u64) -> Result<()> {
        self.transaction
            .prepare_cached("DELETE FROM message WHERE event = ?1 AND offset < ?2")
            .and_then(|mut delete| delete.execute(params![event.0, before.cast_signed()]))
            .map_err(sqlite)?;
        Ok(())
    }

    /// Deletes at most `limit` messages of an event that is gone; answers whether that was all.
    pub(crate) fn dig(&mut self, event: EventId, limit: u32) -> Result<bool> {
        let deleted = self
            .transaction
            .prepare_cached(
                "DELETE FROM message WHERE event = ?1 AND offset IN
                 (SELECT offset FROM message WHERE event = ?1 ORDER BY offset LIMIT ?2)",
            )
            .and_then(|mut delete| delete.execute(params![event.0, limit]))
            .map_err(sqlite)?;
        Ok(deleted < limit as usize)
    }

    /// Writes a state row.
    pub(crate) fn put(&mut self, key: &StateKey, value: &[u8]) -> Result<()> {
        let key = key.to_bytes();
        let (record, hash) = state::seal(&key, value);
        self.write(&key, &record)?;
        self.note(key, Some(hash));
        Ok(())
    }

    /// Deletes a state row, if it is there.
    pub(crate) fn delete(&mut self, key: &StateKey) -> Result<()> {
        let key = key.to_bytes();
        self.transaction
            .prepare_cached("DELETE FROM state WHERE key = ?1")
            .and_then(|mut delete| delete.execute([&key]))
            .map_err(sqlite)?;
        self.note(key, None);
        Ok(())
    }

    /// Gives an event id that was never given before.
    pub(crate) fn new_event(&mut self) -> EventId {
        self.next.last_event += 1;
        EventId(self.next.last_event)
    }

    /// Begins a generation; answers its number.
    pub(crate) fn new_generation(&mut self) -> u32 {
        self.next.generation = self.next.generation.wrapping_add(1);
        self.next.generation
    }

    /// Reads what this transaction sees, as [`super::Readers::page`].
    pub(crate) fn page(&self, want: Want) -> Result<Vec<Sealed>> {
        reader::page(&self.transaction, want)
    }

    /// Puts everything on disk. When it returns, it is there.
    ///
    /// # Errors
    /// `exhausted` (nothing happened), `unavailable` (it may have), `internal`.
    pub(crate) fn commit(mut self) -> Result<()> {
        let (record, _) = state::seal(COMMIT_KEY, &self.next.encode());
        self.write(COMMIT_KEY, &record)?;
        self.transaction.commit().map_err(sqlite)?;
        self.mark.advance(self.next.sequence);
        *self.committed = self.next;
        for (key, hash) in self.changed {
            match hash {
                Some(hash) => self.hashes.insert(key, hash),
                None => self.hashes.remove(&key),
            };
        }
        Ok(())
    }

    fn write(&mut self, key: &[u8], record: &[u8]) -> Result<()> {
        self.transaction
            .prepare_cached(
                "INSERT INTO state (key, record) VALUES (?1, ?2)
                 ON CONFLICT (key) DO UPDATE SET record = excluded.record",
            )
            .and_then(|mut upsert| upsert.execute(params![key, record]))
            .map_err(sqlite)?;
        Ok(())
    }

    fn note(&mut self, key: Vec<u8>, hash: Option<u64>) {
        let before = match self.changed.get(&key) {
            Some(hash) => *hash,
            None => self.hashes.get(&key).copied(),
        };
        let digest = self.next.digest.wrapping_sub(before.unwrap_or(0)).wrapping_add(hash.unwrap_or(0));
        self.next.digest = digest;
        self.changed.insert(key, hash);
    }
}

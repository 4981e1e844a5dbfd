//! The files: one SQLite database in WAL mode, the mark that vouches for it, and the lock that keeps others out.

mod batch;
mod lock;
mod mark;
mod reader;
mod record;
mod schema;
mod state;

use std::{collections::HashMap, fs::DirBuilder, path::Path};

use busgate_core::Result;
use rusqlite::Connection;

pub(crate) use self::{
    batch::Batch,
    reader::{Readers, Want},
    record::{EventId, HEADER_BYTES, Place, Sealed, seal},
    state::{StateKey, StateRow},
};
use self::{lock::Lock, mark::Mark};
use crate::error::{damaged, io};

/// The one writer of a data directory.
///
/// SQLite keeps no checksums of its pages, and its recovery silently cuts the write-ahead log at the first frame that
/// does not fit. What makes up for both:
/// - each message is sealed with a hash over its place and its bytes, and an event's offsets have no holes between the
///   bounds in its own state row, so nothing can be changed, moved or missing unnoticed;
/// - each state row is sealed likewise, and the commit row holds the sum of all their hashes, so no row can be stale,
///   missing or risen from the dead;
/// - each commit has a number, and the mark beside the database says up to which number commits were acknowledged, so
///   no acknowledged commit can be cut off.
///
/// Held by the tests `flipped_bits_are_never_served` and `a_cut_log_is_noticed`.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
    mark: Mark,
    commit: state::CommitRow,
    /// The hash of every state row as it is on disk.
    hashes: HashMap<Vec<u8>, u64>,
    _lock: Lock,
}

impl Store {
    /// Opens or makes the store in `directory`, and answers the state rows in it.
    ///
    /// # Errors
    /// `exists` when another process has it, `internal` when it is damaged, `unavailable` or `exhausted` when the files
    /// can't be used.
    pub(crate) fn open(directory: &Path, max_bytes: Option<u64>) -> Result<(Self, Vec<StateRow>)> {
        make(directory).map_err(|error| io("can't make the data directory", error))?;
        let lock = Lock::take(directory)?;
        let mark = Mark::open(directory)?;
        let connection = schema::open_writer(directory, mark.sequence(), max_bytes)?;
        let (commit, rows) = state::load(&connection)?;
        if commit.sequence < mark.sequence() {
            return Err(damaged(format!(
                "commit {} was acknowledged, but recovery ends with commit {}",
                mark.sequence(),
                commit.sequence
            )));
        }
        let hashes = rows.iter().map(|row| (row.key.to_bytes(), row.hash)).collect();
        Ok((Self { connection, mark, commit, hashes, _lock: lock }, rows))
    }

    /// Starts a transaction. Dropping it undoes it.
    ///
    /// # Errors
    /// As the store is: `unavailable`, `exhausted`, `internal`.
    pub(crate) fn begin(&mut self) -> Result<Batch<'_>> {
        Batch::begin(&mut self.connection, &mut self.mark, &mut self.commit, &mut self.hashes)
    }

    /// Has the next commit that succeeds write down that this opening is `generation`.
    pub(crate) fn assume_generation(&mut self, generation: u32) {
        self.commit.generation = generation;
    }

    /// The generation of the last opening that was written down.
    pub(crate) fn generation(&self) -> u32 {
        self.commit.generation
    }
}

/// Makes the directory, for its owner's eyes only where the system knows owners.
fn make(directory: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

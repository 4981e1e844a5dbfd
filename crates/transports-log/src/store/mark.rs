//! The mark: a small file that says up to which commit everything was acknowledged.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::Path,
};

use busgate_core::Result;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::io as io_error;

const SLOT_BYTES: u64 = 16;
const SLOTS: u64 = 2;
const SEED: u64 = 0x6d61_726b_6d61_726b;

/// Two slots, written in turn, so that a torn write costs one step and not the mark.
///
/// It is written after each commit's sync and before the answers, without a sync of its own: it survives the death of
/// the process, and after a power loss it is at most too low, which only makes it vouch for less.
#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
    sequence: u64,
}

impl Mark {
    /// Opens or makes the mark of `directory`. A slot that does not fit its hash counts for nothing.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        Self::read(&directory.join("mark")).map_err(|error| io_error("can't open the mark file", error))
    }

    fn read(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let sequence = bytes.chunks(16).filter_map(slot).max().unwrap_or(0);
        if bytes.is_empty() {
            file.write_all(&[0; (SLOT_BYTES * SLOTS) as usize])?;
            file.sync_all()?;
        }
        Ok(Self { file, sequence })
    }

    /// The last commit known to have been acknowledged.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Vouches for every commit up to `sequence`.
    pub(crate) fn advance(&mut self, sequence: u64) {
        let number = sequence.to_le_bytes();
        let mut bytes = [0; SLOT_BYTES as usize];
        let (left, right) = bytes.split_at_mut(8);
        left.copy_from_slice(&number);
        right.copy_from_slice(&xxh3_64_with_seed(&number, SEED).to_le_bytes());
        let place = SeekFrom::Start(sequence % SLOTS * SLOT_BYTES);
        match self.file.seek(place).and_then(|_| self.file.write_all(&bytes)) {
            Ok(()) => self.sequence = sequence,
            Err(error) if error.kind() == ErrorKind::StorageFull => {}
            Err(error) => tracing::warn!(%error, sequence, "the mark file can't be written"),
        }
    }
}

fn slot(bytes: &[u8]) -> Option<u64> {
    let (number, hash) = bytes.split_at_checked(8)?;
    let fits = xxh3_64_with_seed(number, SEED).to_le_bytes() == *hash;
    fits.then(|| number.try_into().map(u64::from_le_bytes).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_slot_counts() {
        let directory = tempfile::tempdir().unwrap();
        let mut mark = Mark::open(directory.path()).unwrap();
        assert_eq!(mark.sequence(), 0);
        for sequence in 1..=7 {
            mark.advance(sequence);
        }
        assert_eq!(Mark::open(directory.path()).unwrap().sequence(), 7);
        let path = directory.path().join("mark");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[16] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Mark::open(directory.path()).unwrap().sequence(), 6);
    }
}

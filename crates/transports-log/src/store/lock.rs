//! One process per data directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
    thread,
    time::Duration,
};

use busgate_core::{Error, ErrorKind, Result};

use crate::error::io;

/// How often and how long a process that is just going away is waited for.
const PATIENCE: (u32, Duration) = (25, Duration::from_millis(20));

/// Holds the directory for as long as it lives; the operating system lets go when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the directory.
    ///
    /// # Errors
    /// `exists` when someone else holds it.
    pub(crate) fn take(directory: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join("lock"))
            .map_err(|error| io("can't open the lock file", error))?;
        let (tries, pause) = PATIENCE;
        for _ in 0..tries {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => thread::sleep(pause),
                Err(TryLockError::Error(error)) => return Err(io("can't lock the data directory", error)),
            }
        }
        Err(Error::new(
            ErrorKind::Exists,
            format!("the data directory {} is in use by another process", directory.display()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner() {
        let directory = tempfile::tempdir().unwrap();
        let held = Lock::take(directory.path()).unwrap();
        let refused = Lock::take(directory.path()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Exists);
        assert!(refused.message().contains("in use by another process"));
        drop(held);
        assert!(Lock::take(directory.path()).is_ok());
    }
}

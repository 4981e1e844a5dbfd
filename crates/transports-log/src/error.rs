//! What SQLite and the file system say, in the kinds of the contract.

use std::{io, time::Duration};

use busgate_core::{Effect, Error, ErrorKind};
use rusqlite::ffi;

/// How long a client should wait for a full disk.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// Data on disk is not what was written. Nothing of it is served.
pub(crate) fn damaged(what: impl AsRef<str>) -> Error {
    Error::internal(format!("the log is damaged: {}", what.as_ref()))
}

/// The transport was closed, or its writer is gone.
pub(crate) fn closed() -> Error {
    Error::unavailable("the log is closed")
}

/// There is no room to write; nothing was written.
pub(crate) fn full() -> Error {
    Error::new(ErrorKind::Exhausted, "the disk is full").with_retry_after(FULL_RETRY)
}

/// What a failed file operation means.
pub(crate) fn io(what: &str, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{what}: {error}")).with_source(error)
}

/// What a failed statement means.
///
/// Only a full disk that SQLite itself noticed is known to have changed nothing: after any other failed write or sync
/// the commit may or may not be on disk.
pub(crate) fn sqlite(error: rusqlite::Error) -> Error {
    let code = error.sqlite_error().map_or(ffi::SQLITE_ERROR, |error| error.extended_code);
    match code & 0xff {
        ffi::SQLITE_FULL => full().with_source(error),
        // The index of the log could not grow; the frames may be there.
        _ if code == ffi::SQLITE_IOERR_SHMSIZE => full().with_effect(Effect::Unknown).with_source(error),
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_FORMAT | ffi::SQLITE_ERROR => {
            damaged(error.to_string()).with_source(error)
        }
        // The directory's lock was written, so this is not a file system without writing.
        ffi::SQLITE_READONLY => {
            Error::internal("the log can't be written: its file is protected, or its header is damaged")
                .with_source(error)
        }
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => {
            Error::unavailable("the log is held by another process").with_source(error)
        }
        _ => Error::unavailable(format!("the log can't be read or written: {error}"))
            .with_effect(Effect::Unknown)
            .with_source(error),
    }
}

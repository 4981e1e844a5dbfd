//! A place in an event, opaque to everyone but the transport that made it.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{Error, Result};

/// The longest cursor, in bytes: room for the places of about two hundred partitions, and for a request's head.
pub const MAX_CURSOR_BYTES: usize = 2048;

/// The place of a message in its event: printable `[A-Za-z0-9_.:~-]`, 1 to [`MAX_CURSOR_BYTES`] bytes.
///
/// It survives restarts of the gateway and means the same on every node. Only the transport may look inside.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Cursor(Arc<str>);

impl Cursor {
    /// Checks `text` and keeps it.
    ///
    /// # Errors
    /// `invalid` when it is empty, too long, or has a character outside the set.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        if text.is_empty() || text.len() > MAX_CURSOR_BYTES {
            return Err(Error::invalid(format!("cursor must have 1 to {MAX_CURSOR_BYTES} bytes")));
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:~-".contains(&byte)) {
            return Err(Error::invalid("cursor must be of [A-Za-z0-9_.:~-]"));
        }
        Ok(Self(text.into()))
    }

    /// The cursor as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

/// Where a message of a live tail stands for a reader who has come as far as some cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// The reader had this message already.
    Had,
    /// The reader did not have it, but may have had later ones of the tail (an event of several partitions).
    New,
    /// The reader did not have it, nor any after it on this tail.
    NewFromHere,
}

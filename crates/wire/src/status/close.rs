//! How a WebSocket ends.

use busgate_core::{Error, ErrorKind};

use super::{close_code, shown};

/// Both sides are done.
pub const CLOSE_DONE: u16 = 1000;

/// The server is going away.
pub const CLOSE_DRAINING: u16 = 1001;

/// The client read too slowly.
pub const CLOSE_SLOW: u16 = 1008;

/// The longest reason of a close frame, in bytes (RFC 6455).
const MAX_REASON_BYTES: usize = 123;

/// A close code and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code.
    pub code: u16,
    /// The reason: at most 123 bytes.
    pub reason: String,
}

impl Close {
    /// The end of a socket where all is done.
    #[must_use]
    pub fn done() -> Self {
        Self::new(CLOSE_DONE, "done")
    }

    /// The end of a socket when the server goes away.
    #[must_use]
    pub fn draining() -> Self {
        Self::new(CLOSE_DRAINING, "draining")
    }

    /// The end of a socket whose client reads too slowly.
    #[must_use]
    pub fn slow() -> Self {
        Self::new(CLOSE_SLOW, "slow consumer")
    }

    /// The end of a socket that an error brings.
    #[must_use]
    pub fn error(error: &Error) -> Self {
        Self::new(close_code(error.kind()), &format!("{}: {}", error.kind(), shown(error)))
    }

    /// The kind of error behind the close: named by the reason, else by the code; `None` when it is no error.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        let by_code = super::kind_of_close(self.code)?;
        let named = self.reason.split(':').next().and_then(ErrorKind::from_name);
        Some(named.filter(|kind| close_code(*kind) == self.code).unwrap_or(by_code))
    }

    fn new(code: u16, reason: &str) -> Self {
        let mut end = reason.len().min(MAX_REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        Self { code, reason: reason.get(..end).unwrap_or_default().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_from_its_close() {
        for kind in ErrorKind::ALL {
            assert_eq!(Close::error(&Error::new(kind, "why")).kind(), Some(kind));
        }
        assert_eq!(Close::done().kind(), None);
    }

    #[test]
    fn a_reason_fits_and_stays_text() {
        let close = Close::error(&Error::invalid("é".repeat(200)));
        assert!(close.reason.len() <= MAX_REASON_BYTES);
        assert!(close.reason.ends_with('é'));
    }
}

//! Why a broker is not as it should be.

use std::fmt::{self, Debug, Display};

/// What a call answers that starts, signals or ends a broker.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with the end of the broker's log where that tells more.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// Adds what was being done when `error` came.
    pub(crate) fn during<E: Display>(what: impl Display) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As a test that unwraps it should show it.
impl Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

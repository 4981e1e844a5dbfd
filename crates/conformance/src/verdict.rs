//! How a law says that it was broken.

use std::{fmt, panic::Location};

use busgate_core::Error;

/// What a law, or a step of one, comes to.
pub type Verdict<T = ()> = Result<T, Broken>;

/// A broken law: what was found, and where in the law.
pub struct Broken {
    what: String,
    at: &'static Location<'static>,
}

impl Broken {
    /// Says what was found.
    #[track_caller]
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), at: Location::caller() }
    }

    /// Puts what was being done in front of what was found.
    #[must_use]
    pub fn during(mut self, doing: &str) -> Self {
        self.what = format!("{doing}: {}", self.what);
        self
    }
}

impl From<Error> for Broken {
    #[track_caller]
    fn from(error: Error) -> Self {
        Self::new(format!("answered {} where it should not: {error}", error.kind()))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{})", self.what, self.at.file(), self.at.line())
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Broken {}

/// Ends the law as broken unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {{
        let holds: bool = $holds;
        if !holds {
            return Err($crate::Broken::new(format!($($what)+)));
        }
    }};
}

/// Ends the law as broken unless both sides are the same.
macro_rules! ensure_eq {
    ($found:expr, $wanted:expr, $($what:tt)+) => {
        // A match keeps the temporaries of both sides until the end.
        match (&$found, &$wanted) {
            (found, wanted) => {
                if *found != *wanted {
                    let what = format!($($what)+);
                    return Err($crate::Broken::new(format!("{what}: found {found:?}, wanted {wanted:?}")));
                }
            }
        }
    };
}

/// Ends the law as broken unless the value matches the pattern.
macro_rules! ensure_matches {
    ($found:expr, $pattern:pat, $($what:tt)+) => {{
        let found = $found;
        if !matches!(found, $pattern) {
            let what = format!($($what)+);
            return Err($crate::Broken::new(format!("{what}: found {found:?}, wanted {}", stringify!($pattern))));
        }
    }};
}

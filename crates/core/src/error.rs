//! The one error of busgate: what went wrong, whether it may have taken effect, and when to try again.

use std::{error, fmt, sync::Arc, time::Duration};

/// What every fallible operation of busgate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as one of the kinds that every door can express.
///
/// It is a deliberately small set: a new kind needs a code on each protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A bad name, an unknown option value, a malformed body.
    Invalid,
    /// Well-formed, but the event's schema says no.
    Unprocessable,
    /// Over a size limit.
    TooLarge,
    /// No credentials, or bad or expired ones.
    Unauthenticated,
    /// The authorizer said no.
    Denied,
    /// The event is not registered, or there is no such thing.
    NotFound,
    /// Registered already with another configuration, or attached elsewhere.
    Exists,
    /// The event was unregistered under a live subscription.
    Closed,
    /// A capability this transport does not have.
    Unsupported,
    /// A rate, quota, connection or space limit was reached.
    Exhausted,
    /// The back end did not answer in time.
    Timeout,
    /// The transport is closed or unreachable, or the gateway is draining.
    Unavailable,
    /// A bug, or damaged data.
    Internal,
}

impl ErrorKind {
    /// Every kind, in the order of the error table.
    pub const ALL: [Self; 13] = [
        Self::Invalid,
        Self::Unprocessable,
        Self::TooLarge,
        Self::Unauthenticated,
        Self::Denied,
        Self::NotFound,
        Self::Exists,
        Self::Closed,
        Self::Unsupported,
        Self::Exhausted,
        Self::Timeout,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The name that travels on the wire: `invalid`, `too_large`, …
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unprocessable => "unprocessable",
            Self::TooLarge => "too_large",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Closed => "closed",
            Self::Unsupported => "unsupported",
            Self::Exhausted => "exhausted",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The kind with this wire name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether the same call may succeed later without a change.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Exhausted | Self::Timeout | Self::Unavailable)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a failed call may have changed anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing happened: repeating the call is safe.
    #[default]
    None,
    /// It may have happened: repeat only under the same message id.
    Unknown,
}

impl Effect {
    /// The name that travels on the wire: `none` or `unknown`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// What a caller may do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call will fail again.
    Never,
    /// The same call may succeed later, and nothing happened so far.
    Safe,
    /// The same call may succeed later; it may also happen twice, unless it carries the same message id.
    MayDuplicate,
}

/// The error of every busgate operation.
///
/// `Display` prints its own level only; [`std::error::Error::source`] leads on.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    effect: Effect,
    message: Arc<str>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
}

impl Error {
    /// The longest message, in bytes.
    pub const MAX_MESSAGE_BYTES: usize = 1024;

    /// An error of `kind` without effect. `message` is shown to the client: lowercase, no full stop, no internals. What it
    /// repeats of a client's own words is made fit to be shown: it becomes one line of [`Self::MAX_MESSAGE_BYTES`] at most.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Arc<str>>) -> Self {
        Self { kind, effect: Effect::None, message: line(message.into()), retry_after: None, source: None }
    }

    /// Something the caller wrote is malformed.
    #[must_use]
    pub fn invalid(message: impl Into<Arc<str>>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// A capability the transport does not claim.
    #[must_use]
    pub fn unsupported(message: impl Into<Arc<str>>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// There is no such event, dead letter, …
    #[must_use]
    pub fn not_found(message: impl Into<Arc<str>>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// The back end cannot be used right now.
    #[must_use]
    pub fn unavailable(message: impl Into<Arc<str>>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// A bug or damaged data; the message goes to the log, never to a client.
    #[must_use]
    pub fn internal(message: impl Into<Arc<str>>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Says whether the failed call may have taken effect.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Hints when a retry is worth it.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Keeps the cause, for logs.
    #[must_use]
    pub fn with_source(mut self, source: impl error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the failed call may have changed anything.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        self.effect
    }

    /// The text for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// When a retry is worth it, if the callee knows.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What the caller may do about it.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match (self.kind.is_transient(), self.effect) {
            (false, _) => Retry::Never,
            (true, Effect::None) => Retry::Safe,
            (true, Effect::Unknown) => Retry::MayDuplicate,
        }
    }
}

/// The text as one line of bounded length.
///
/// Invariant: no message can break a log's line or a protocol's, whatever stands in it, and none is larger than what a
/// client should be sent for its mistake: tested by `a_message_is_one_short_line`.
fn line(text: Arc<str>) -> Arc<str> {
    const CUT: char = '…';
    if text.len() <= Error::MAX_MESSAGE_BYTES && !text.contains(char::is_control) {
        return text;
    }
    let mut line = String::with_capacity(text.len().min(Error::MAX_MESSAGE_BYTES));
    for char in text.chars() {
        let end = line.len();
        if char.is_control() {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
        if line.len() > Error::MAX_MESSAGE_BYTES - CUT.len_utf8() {
            line.truncate(end);
            line.push(CUT);
            break;
        }
    }
    line.into()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_from_its_name() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_name(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn a_message_is_one_short_line() {
        let message = |text: &str| Error::invalid(text).message().to_owned();
        assert_eq!(message("a\r\nb\u{7f}"), "a\\r\\nb\\u{7f}");
        let most = "é".repeat(Error::MAX_MESSAGE_BYTES / 2);
        assert_eq!(message(&most), most);
        for over in [
            format!("{most}a"),
            "\n".repeat(Error::MAX_MESSAGE_BYTES),
            "\n€".repeat(Error::MAX_MESSAGE_BYTES),
        ] {
            let cut = message(&over);
            assert!(cut.len() <= Error::MAX_MESSAGE_BYTES && cut.ends_with('…'), "{cut}");
            assert_eq!(message(&cut), cut);
        }
    }

    #[test]
    fn a_permanent_error_is_never_retried_whatever_its_effect() {
        let error = Error::invalid("bad name").with_effect(Effect::Unknown);
        assert_eq!(error.retry(), Retry::Never);
    }

    #[test]
    fn an_unknown_effect_may_duplicate() {
        let error = Error::unavailable("gone");
        assert_eq!(error.retry(), Retry::Safe);
        assert_eq!(error.with_effect(Effect::Unknown).retry(), Retry::MayDuplicate);
    }
}

//! Why a handler failed, and what becomes of the message.

use std::{error, fmt, time::Duration};

use crate::{MAX_ERROR_BYTES, MAX_NACK_DELAY, Nack, Verb};

/// Any error of an application.
pub type BoxError = Box<dyn error::Error + Send + Sync>;

/// Why a handler failed, and what becomes of the message.
///
/// `?` turns any error into one: the message comes back by the subscription's backoff, and the error's text (with its
/// causes) is kept for the story of the dead letter. Text works too: `Err("out of stock")?`.
///
/// ```
/// use std::time::Duration;
/// use busgate_core::bus::Failure;
///
/// fn price(text: &str) -> Result<u64, Failure> {
///     if text == "tomorrow" {
///         return Err(Failure::retry_after(Duration::from_secs(3600)));
///     }
///     // It will never parse: no use in trying again.
///     let price = text.parse().map_err(Failure::reject)?;
///     Ok(price)
/// }
///
/// assert_eq!(price("7").unwrap(), 7);
/// assert_eq!(price("x").unwrap_err().text(), "invalid digit found in string");
/// ```
pub struct Failure {
    verdict: Verdict,
    text: String,
}

/// What becomes of a message whose handler failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It comes back by the subscription's backoff.
    Retry,
    /// It comes back after this long.
    RetryAfter(Duration),
    /// It goes to the dead letters.
    Reject,
}

impl Failure {
    /// The message comes back by the subscription's backoff. `?` does the same.
    pub fn retry(error: impl Into<BoxError>) -> Self {
        Self { verdict: Verdict::Retry, text: told(&*error.into()) }
    }

    /// The message comes back after `delay` (at most [`MAX_NACK_DELAY`]); [`Failure::because`] says why.
    #[must_use]
    pub fn retry_after(delay: Duration) -> Self {
        let delay = delay.min(MAX_NACK_DELAY);
        Self {
            verdict: Verdict::RetryAfter(delay),
            text: format!("the handler asked for {delay:?} of patience"),
        }
    }

    /// The message goes to the dead letters: trying again is of no use.
    pub fn reject(reason: impl Into<BoxError>) -> Self {
        Self { verdict: Verdict::Reject, text: told(&*reason.into()) }
    }

    /// Says what went wrong.
    #[must_use]
    pub fn because(mut self, error: impl Into<BoxError>) -> Self {
        self.text = told(&*error.into());
        self
    }

    /// What went wrong, with its causes.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What becomes of the message.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// How a lease is settled by it.
    pub(super) fn into_verb(self) -> Verb {
        let Self { verdict, text } = self;
        match verdict {
            Verdict::Retry => Verb::Nack(Nack { delay: None, error: Some(text) }),
            Verdict::RetryAfter(delay) => Verb::Nack(Nack { delay: Some(delay), error: Some(text) }),
            Verdict::Reject => Verb::Reject { reason: text },
        }
    }
}

// As with `anyhow::Error`: a failure is no `std::error::Error` itself, so that every other error can become one.
impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure").field("verdict", &self.verdict).field("text", &self.text).finish()
    }
}

/// The text of an error and its causes, each once, as far as a story keeps it. It is never empty.
pub(super) fn told(error: &(dyn error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text.truncate(text.floor_char_boundary(MAX_ERROR_BYTES));
    if text.is_empty() { String::from("the handler failed without a word") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn the_causes_are_told_once() {
        let cause = std::io::Error::other("disk full");
        let failure = Failure::from(Error::unavailable("not stored").with_source(cause));
        assert_eq!(failure.text(), "not stored: disk full");
        assert_eq!(Failure::reject("no such customer").text(), "no such customer");
    }

    #[test]
    fn what_is_told_is_neither_empty_nor_long() {
        assert_eq!(Failure::retry("").text(), "the handler failed without a word");
        assert_eq!(Failure::reject("é".repeat(MAX_ERROR_BYTES)).text().len(), MAX_ERROR_BYTES);
    }

    #[test]
    fn a_delay_is_held_within_its_bound() {
        let failure = Failure::retry_after(Duration::MAX).because("later");
        assert_eq!(failure.verdict(), Verdict::RetryAfter(MAX_NACK_DELAY));
        assert_eq!(failure.text(), "later");
    }
}

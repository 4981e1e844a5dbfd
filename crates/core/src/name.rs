//! Names: of events, groups and consumers, and patterns over event names.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{Error, Result};

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 200;

/// The prefix of the gateway's own events.
pub const OWN_PREFIX: char = '_';

/// The prefix of dead-letter events: `_dlq.orders.created` holds what left `orders.created`.
pub const DEAD_LETTER_PREFIX: &str = "_dlq.";

/// The prefix of the events in which a node writes down for others what went wrong with an event's messages.
pub(crate) const STORIES_PREFIX: &str = "_stories.";

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and keeps it.
            ///
            /// # Errors
            /// `invalid` when the text breaks the rules of this name; the message says which.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                let text = text.as_ref();
                $check($what, text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }
    };
}

name! {
    /// The name of an event: dot-separated segments of `[A-Za-z0-9_-]+`, 1 to 200 bytes in all.
    EventName, "event name", check_segments
}

name! {
    /// The name of a worker group: 1 to 200 bytes of `[A-Za-z0-9_.:-]`.
    GroupName, "worker group", check_label
}

name! {
    /// The stable name of a broadcast consumer, under which its checkpoint is kept: 1 to 200 bytes of `[A-Za-z0-9_.:-]`.
    ConsumerName, "consumer id", check_label
}

name! {
    /// What a subscription listens to: an event name, where `*` stands for one segment and a final `>` for one or more.
    Pattern, "event pattern", check_pattern
}

impl EventName {
    /// A name of ours that is one.
    pub(crate) fn known(name: &'static str) -> Self {
        debug_assert!(check_segments("event name", name).is_ok(), "{name}");
        Self(name.into())
    }

    /// Whether the name is the gateway's own (`_dlq.…`).
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.0.starts_with(OWN_PREFIX)
    }

    /// Whether it is one that nodes keep for themselves: no client publishes to it, reads it or sees it in a list.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.is_own() && !self.is_dead_letter()
    }

    /// Whether it keeps another event's dead letters.
    #[must_use]
    pub fn is_dead_letter(&self) -> bool {
        self.0.starts_with(DEAD_LETTER_PREFIX)
    }

    /// The event that keeps this event's dead letters; its name may be that much longer than [`MAX_NAME_BYTES`].
    ///
    /// # Errors
    /// `invalid` when this is a dead-letter event itself.
    pub fn dead_letter(&self) -> Result<Self> {
        if self.is_dead_letter() {
            return Err(Error::invalid(format!("event `{self}` has no dead letters of its own")));
        }
        Self::new(format!("{DEAD_LETTER_PREFIX}{self}"))
    }

    /// Whether it keeps what went wrong with another event's messages: nobody is shown it.
    pub(crate) fn is_stories(&self) -> bool {
        self.0.starts_with(STORIES_PREFIX)
    }

    /// The event that keeps what went wrong with this event's messages; its name may be that much longer than
    /// [`MAX_NAME_BYTES`].
    pub(crate) fn stories(&self) -> Result<Self> {
        Self::new(format!("{STORIES_PREFIX}{self}"))
    }
}

impl Default for GroupName {
    /// The group of those who name none: `default`.
    fn default() -> Self {
        Self("default".into())
    }
}

impl Pattern {
    /// The one event it names, if it has no wildcard.
    #[must_use]
    pub fn as_event(&self) -> Option<EventName> {
        (!self.is_wild()).then(|| EventName(Arc::clone(&self.0)))
    }

    /// Whether it has a wildcard.
    #[must_use]
    pub fn is_wild(&self) -> bool {
        self.0.split('.').any(|segment| matches!(segment, "*" | ">"))
    }

    /// Whether the event is one it stands for.
    ///
    /// A wildcard in the first segment leaves the gateway's own events (`_…`) out.
    #[must_use]
    pub fn matches(&self, event: &EventName) -> bool {
        if event.is_own() && !self.0.starts_with(OWN_PREFIX) {
            return false;
        }
        let mut names = event.0.split('.');
        for segment in self.0.split('.') {
            match (segment, names.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (literal, Some(name)) if literal == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl Pattern {
    /// Whether every event that `other` stands for is one this stands for as well.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if other.0.starts_with(OWN_PREFIX) && !self.0.starts_with(OWN_PREFIX) {
            return false;
        }
        let mut others = other.0.split('.');
        for segment in self.0.split('.') {
            match (segment, others.next()) {
                (">", Some(_)) => return true,
                ("*", Some(narrower)) if narrower != ">" => {}
                (literal, Some(narrower)) if literal == narrower => {}
                _ => return false,
            }
        }
        others.next().is_none()
    }
}

impl From<EventName> for Pattern {
    fn from(event: EventName) -> Self {
        Self(event.0)
    }
}

fn check_length(what: &str, text: &str) -> Result<()> {
    if text.is_empty() || text.len() > MAX_NAME_BYTES {
        return Err(Error::invalid(format!(
            "{what} must have 1 to {MAX_NAME_BYTES} bytes, has {}",
            text.len()
        )));
    }
    Ok(())
}

/// The dead letters and the stories of the longest name need a name too.
fn bare(text: &str) -> &str {
    [DEAD_LETTER_PREFIX, STORIES_PREFIX]
        .into_iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(text)
}

fn is_segment(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn check_segments(what: &str, text: &str) -> Result<()> {
    check_length(what, bare(text))?;
    if text.split('.').all(is_segment) {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} must be dot-separated segments of [A-Za-z0-9_-]+")))
}

fn check_pattern(what: &str, text: &str) -> Result<()> {
    check_length(what, bare(text))?;
    let mut segments = text.split('.').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if !(segment == "*" || (segment == ">" && last) || is_segment(segment)) {
            return Err(Error::invalid(format!(
                "{what} must be dot-separated segments of [A-Za-z0-9_-]+ or `*`, or `>` at the end"
            )));
        }
    }
    Ok(())
}

fn check_label(what: &str, text: &str) -> Result<()> {
    check_length(what, text)?;
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte)) {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} must be of [A-Za-z0-9_.:-]+")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_are_segments() {
        for good in ["a", "orders.created", "A-b_9.x", &"n".repeat(200)] {
            assert!(EventName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a*", "é", "a/b", "a\n", &"n".repeat(201)] {
            assert!(EventName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_longest_name_has_dead_letters_and_stories() {
        let longest = EventName::new("n".repeat(MAX_NAME_BYTES)).unwrap();
        let letters = longest.dead_letter().unwrap();
        assert!(Pattern::new(letters.as_str()).is_ok());
        assert!(letters.dead_letter().is_err());
        assert!(longest.stories().unwrap().is_stories());
    }

    #[test]
    fn patterns_take_wildcards_as_whole_segments_only() {
        for good in ["*", ">", "orders.*.created", "orders.>", "a.*.*.>"] {
            assert!(Pattern::new(good).is_ok(), "{good}");
        }
        for bad in ["", ">.a", "a.>.b", "a*", "a.b*", "**"] {
            assert!(Pattern::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_star_is_one_segment_and_a_tail_one_or_more() {
        let matches = |pattern: &str, event: &str| {
            Pattern::new(pattern).unwrap().matches(&EventName::new(event).unwrap())
        };
        assert!(matches("orders.*.created", "orders.eu.created"));
        assert!(!matches("orders.*.created", "orders.created"));
        assert!(matches("orders.>", "orders.eu.created"));
        assert!(!matches("orders.>", "orders"));
        assert!(!matches("orders", "orders.eu"));
    }

    #[test]
    fn wildcards_leave_the_gateways_own_events_out() {
        let all = Pattern::new(">").unwrap();
        assert!(!all.matches(&EventName::new("_dlq.orders").unwrap()));
        assert!(Pattern::new("_dlq.>").unwrap().matches(&EventName::new("_dlq.orders").unwrap()));
    }
}

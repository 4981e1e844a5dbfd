//! The names of events and holders as names of streams, subjects and consumers, and back.
//!
//! A stream's name must not have a dot: an event's dots become `_`, and its own `_` become `=`, which is in no event's
//! name. A consumer's name must not have one either: there they become `=`. What has no name gets a number.

use std::hash::{BuildHasher, RandomState};

use busgate_core::{ConsumerName, Error, EventName, GroupName, Holder, Result};

/// Where an event's messages go.
pub(crate) fn subject(prefix: &str, event: &EventName) -> Result<String> {
    let subject = format!("{prefix}{event}");
    if subject.starts_with("_INBOX.") || subject == "_INBOX" {
        return Err(Error::invalid("event names that begin with `_INBOX` are nats's own"));
    }
    Ok(subject)
}

/// The stream of an event that is registered here.
pub(crate) fn stream(prefix: &str, event: &EventName) -> String {
    [prefix, event.as_str()].into_iter().flat_map(str::chars).map(to_stream).collect()
}

/// A stream of the gateway's own, which is no event's: their names do not begin with a dot.
pub(crate) fn own_stream(prefix: &str, what: &str) -> String {
    let prefix: String = prefix.chars().map(to_stream).collect();
    format!("{prefix}_busgate_{what}")
}

const fn to_stream(char: char) -> char {
    match char {
        '.' => '_',
        '_' => '=',
        other => other,
    }
}

/// The durable consumer of a group or a named consumer.
pub(crate) fn consumer(holder: &Holder) -> String {
    let (kind, name) = match holder {
        Holder::Group(name) => ("g-", name.as_str()),
        Holder::Consumer(name) => ("c-", name.as_str()),
    };
    format!("{kind}{}", name.replace('.', "="))
}

/// Whose consumer it is, if it is one of ours.
pub(crate) fn holder(consumer: &str) -> Option<Holder> {
    let name = |text: &str| text.replace('=', ".");
    if let Some(text) = consumer.strip_prefix("g-") {
        return GroupName::new(name(text)).ok().map(Holder::Group);
    }
    let text = consumer.strip_prefix("c-")?;
    ConsumerName::new(name(text)).ok().map(Holder::Consumer)
}

/// A number of 64 bits for a text that is the same on every node and in every version (FNV-1a).
pub(crate) fn number(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A number that no other process draws.
pub(crate) fn fresh() -> u64 {
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_differ_little_differ() {
        let names = ["a.a", "a_a", "a-a", "Aa", "aa", "a.__a", "a_._a"];
        let streams = names.map(|name| stream("", &EventName::new(name).unwrap()));
        let distinct: std::collections::BTreeSet<_> = streams.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{streams:?}");
        assert_eq!(streams[0], "a_a");
    }

    /// What the server's name of a stream stands for.
    fn event(stream: &str) -> String {
        stream.replace('_', ".").replace('=', "_")
    }

    proptest! {
        #[test]
        fn streams_read_back(name in "[A-Za-z0-9_-]{1,9}(\\.[A-Za-z0-9_-]{1,9}){0,3}", prefix in "([a-z_]{1,4}\\.)?") {
            let wanted = format!("{prefix}{name}");
            prop_assert_eq!(event(&stream(&prefix, &EventName::new(name).unwrap())), wanted);
        }

        #[test]
        fn consumers_read_back(name in "[A-Za-z0-9_.:-]{1,40}") {
            for holder in [
                Holder::Group(GroupName::new(&name).unwrap()),
                Holder::Consumer(ConsumerName::new(&name).unwrap()),
            ] {
                prop_assert_eq!(super::holder(&consumer(&holder)), Some(holder));
            }
        }
    }
}

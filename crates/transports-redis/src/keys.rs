//! The names of all keys of an event: all of them in one slot of a cluster.

use busgate_core::{Error, EventName, Holder, Result};

/// What the keys beside the streams begin with, after the prefix. No event's name has a colon.
const OWN: &str = "busgate:";

/// The keys of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) stream: String,
    /// The event's record.
    pub(crate) record: String,
    /// The ids published lately, and those before.
    pub(crate) ids: [String; 2],
    /// How many bytes there were up to a message.
    pub(crate) marks: String,
    /// Where whoever waits listens.
    pub(crate) channel: String,
    start: String,
    tag: String,
}

impl Keys {
    /// The keys of the event whose stream is `stream`.
    ///
    /// # Errors
    /// `unsupported` when no other key can be in the slot of this stream.
    pub(crate) fn new(prefix: &str, stream: String) -> Result<Self> {
        let tag = tag(&stream)?;
        // A prefix with a tag of its own would decide the slot of every key that begins with it.
        let start = if prefix.contains(['{', '}']) { OWN.to_owned() } else { format!("{prefix}{OWN}") };
        let side = |kind: &str| format!("{start}{kind}:{tag}");
        Ok(Self {
            record: side("event"),
            ids: [side("ids"), side("ids.earlier")],
            marks: side("marks"),
            channel: side("wake"),
            stream,
            tag: tag.clone(),
            start: start.clone(),
        })
    }

    /// The keys of a group beside its stream and record, in the order the scripts know them.
    pub(crate) fn of_group(&self, group: &str) -> [String; 6] {
        ["entries", "leases", "delayed", "ready", "lanes", "runs"]
            .map(|kind| format!("{}{kind}:{}:{group}", self.start, self.tag))
    }

    /// What the scripts of a group need, in their order.
    pub(crate) fn all<'a>(&'a self, of_group: &'a [String; 6]) -> [&'a str; 8] {
        let [entries, leases, delayed, ready, lanes, runs] = of_group;
        [&self.stream, &self.record, entries, leases, delayed, ready, lanes, runs]
    }

    /// Everything but the stream and the record that is not a group's.
    pub(crate) fn beside(&self) -> [&str; 3] {
        let [ids, earlier] = &self.ids;
        [ids, earlier, &self.marks]
    }
}

/// The set of all registered names.
pub(crate) fn catalog(prefix: &str) -> String {
    format!("{prefix}{OWN}events")
}

/// The stream of an event that is mapped to none.
pub(crate) fn stream(prefix: &str, event: &EventName) -> String {
    format!("{prefix}{event}")
}

/// The group on the stream: a worker group's name is its own; no group's name has a slash.
pub(crate) fn group(holder: &Holder) -> String {
    match holder {
        Holder::Group(name) => name.to_string(),
        Holder::Consumer(name) => format!("consumer/{name}"),
    }
}

/// Something that hashes to the slot of `stream` wherever it stands in a key without other braces.
fn tag(stream: &str) -> Result<String> {
    let braced = stream.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    match braced {
        Some((tag, _)) if !tag.is_empty() => Ok(stream.to_owned()),
        _ if stream.contains('}') => Err(Error::unsupported(format!(
            "no other key can be in the slot of the stream `{stream}`: its braces hold no tag"
        ))),
        _ => Ok(format!("{{{stream}}}")),
    }
}

#[cfg(test)]
mod tests {
    use busgate_core::{ConsumerName, GroupName};

    use super::*;

    /// What a cluster hashes of a key.
    fn hashed(key: &str) -> &str {
        let braced = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        braced.map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(key)
    }

    #[test]
    fn all_keys_of_an_event_are_in_one_slot() {
        for (prefix, stream) in [
            ("", "orders"),
            ("p:", "p:orders"),
            ("{t}:", "{t}:orders"),
            ("", "a{b}c"),
            ("{t}:", "own"),
            ("", "a{b"),
        ] {
            let keys = Keys::new(prefix, stream.into()).unwrap();
            let group = keys.of_group("g");
            let all = [&keys.record, &keys.ids[0], &keys.ids[1], &keys.marks];
            for key in all.into_iter().chain(&group) {
                assert_eq!(hashed(key), hashed(stream), "{key}");
                assert_ne!(key, stream);
            }
        }
    }

    #[test]
    fn a_stream_no_key_can_stand_beside_is_refused() {
        for stream in ["a}b", "a{}b", "}{"] {
            assert!(Keys::new("", stream.into()).is_err(), "{stream}");
        }
    }

    #[test]
    fn a_consumer_is_no_group_of_its_name() {
        let name = Holder::Group(GroupName::new("same").unwrap());
        assert_eq!(group(&name), "same");
        assert_ne!(group(&Holder::Consumer(ConsumerName::new("same").unwrap())), "same");
    }
}

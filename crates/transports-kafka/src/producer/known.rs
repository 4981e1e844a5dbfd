//! How many partitions of each topic the producer knows.

use std::{collections::HashMap, mem, sync::Arc, time::Duration};

use parking_lot::RwLock;
use rdkafka::producer::Producer as _;

use super::Line;

/// How long a look may take.
const LOOK: Duration = Duration::from_secs(5);

/// The topics that were written to.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(Arc<RwLock<HashMap<String, Partitions>>>);

/// Of one topic.
#[derive(Debug)]
struct Partitions {
    count: u16,
    /// Whether it is being looked at.
    looking: bool,
}

impl Known {
    /// How many of `count` partitions may be written to, and whether somebody has to look for more.
    pub(super) fn writable(&self, topic: &str, count: u16) -> (u16, bool) {
        if let Some(known) = self.0.read().get(topic)
            && (known.count >= count || known.looking)
        {
            return (known.count.min(count), false);
        }
        let mut topics = self.0.write();
        // A topic that it has not written to it asks for before it does.
        let known = topics.entry(topic.to_owned()).or_insert(Partitions { count, looking: false });
        let is_to_look = known.count < count && !mem::replace(&mut known.looking, true);
        (known.count.min(count), is_to_look)
    }

    /// Has the producer see how many there are; blocks.
    pub(super) fn look(&self, line: &Line, topic: &str) {
        let found = line.client().fetch_metadata(Some(topic), LOOK);
        let found = found.inspect_err(|error| tracing::debug!(%error, topic, "the topic can't be looked at"));
        let count = found.ok().and_then(|found| Some(found.topics().first()?.partitions().len()));
        self.looked(topic, count.and_then(|count| u16::try_from(count).ok()).unwrap_or(0));
    }

    fn looked(&self, topic: &str, count: u16) {
        if let Some(known) = self.0.write().get_mut(topic) {
            *known = Partitions { count: known.count.max(count), looking: false };
        }
    }

    /// Another producer has written to nothing.
    pub(super) fn clear(&self) {
        self.0.write().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_later_is_written_to_once_it_is_known() {
        let known = Known::default();
        assert_eq!(known.writable("a", 2), (2, false));
        assert_eq!(known.writable("a", 5), (2, true));
        assert_eq!(known.writable("a", 5), (2, false), "one looks at a time");
        known.looked("a", 0);
        assert_eq!(known.writable("a", 5), (2, true), "a look may fail");
        known.looked("a", 5);
        assert_eq!(known.writable("a", 5), (5, false));
        assert_eq!(known.writable("a", 3), (3, false), "a topic made anew may have fewer");
        assert_eq!(known.writable("b", 4), (4, false));
    }
}

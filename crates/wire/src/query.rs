//! The options of a subscription, as text: a query string, or the fields of a WebSocket frame.

mod decode;
mod history;

use std::time::Duration;

use busgate_core::{
    AckMode, ConsumerName, Cursor, Error, GroupName, Pattern, Result, SlowPolicy, Start, SubscribeRequest,
    Timestamp,
};

pub use self::{decode::pairs, history::HistoryQuery};
use crate::{encoding::Encoding, time};

/// The options that are known, in the order they are listed to a client that gives another.
const KEYS: [&str; 16] = [
    "delivery_mode",
    "worker_group",
    "start_from",
    "start_time",
    "start_after",
    "last_event_id",
    "latest_only",
    "consumer_id",
    "max_age",
    "ack",
    "ack_wait",
    "max_deliver",
    "max_in_flight",
    "buffer_size",
    "slow_policy",
    "encoding",
];

/// The options that a later version will know: refused, never ignored.
const LATER: [&str; 3] = ["filter", "format", "ticket"];

/// The options of a subscription that a client gave; what it did not give is `None`.
///
/// Durations are `500ms`, `30s`, `2m`, `1h`, `7d`, or plain seconds. Times are RFC 3339, or milliseconds since the Unix
/// epoch. An option with an empty value counts as not given. No option's value has a space, so that a `+` in a query
/// stands for itself (`…T10:00:00+02:00`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeQuery {
    pool: Option<bool>,
    group: Option<GroupName>,
    position: Option<Position>,
    start_time: Option<Timestamp>,
    start_after: Option<Cursor>,
    last_event_id: Option<Cursor>,
    latest_only: Option<bool>,
    consumer: Option<ConsumerName>,
    max_age: Option<Duration>,
    ack: Option<AckMode>,
    ack_wait: Option<Duration>,
    max_deliver: Option<u32>,
    max_in_flight: Option<u32>,
    buffer: Option<u32>,
    slow: Option<SlowPolicy>,
    encoding: Option<Encoding>,
}

/// A start position by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Beginning,
    Latest,
    Time,
}

impl SubscribeQuery {
    /// Reads a raw query string, without its `?`.
    ///
    /// # Errors
    /// `invalid` for an unknown or repeated key, a bad value or bad UTF-8, naming key and value and what is allowed;
    /// `unsupported` for an option of a later version.
    pub fn parse(query: &str) -> Result<Self> {
        let mut options = Self::default();
        let mut seen = Vec::new();
        for (key, value) in pairs(query)? {
            options.set(&key, &value)?;
            if seen.contains(&key) {
                return Err(Error::invalid(format!("option `{key}` is given twice")));
            }
            seen.push(key);
        }
        Ok(options)
    }

    /// Sets one option.
    ///
    /// # Errors
    /// As [`SubscribeQuery::parse`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        if value.is_empty() && KEYS.contains(&key) {
            return Ok(());
        }
        match key {
            "delivery_mode" => {
                self.pool = Some(one_of(key, value, &[("broadcast", false), ("worker_pool", true)])?);
            }
            "worker_group" => self.group = Some(GroupName::new(value)?),
            "start_from" => self.position = Some(one_of(key, value, &POSITIONS)?),
            "start_time" => self.start_time = Some(time::parse_time(key, value)?),
            "start_after" => self.start_after = Some(cursor(key, value)?),
            "last_event_id" => self.last_event_id = Some(cursor(key, value)?),
            "latest_only" => {
                self.latest_only = Some(one_of(key, value, &[("true", true), ("false", false)])?);
            }
            "consumer_id" => self.consumer = Some(ConsumerName::new(value)?),
            "max_age" => self.max_age = Some(time::parse_duration(key, value)?),
            "ack" => self.ack = Some(one_of(key, value, &ACKS)?),
            "ack_wait" => self.ack_wait = Some(time::parse_duration(key, value)?),
            "max_deliver" => self.max_deliver = Some(number(key, value)?),
            "max_in_flight" => self.max_in_flight = Some(number(key, value)?),
            "buffer_size" => self.buffer = Some(number(key, value)?),
            "slow_policy" => self.slow = Some(one_of(key, value, &SLOW_POLICIES)?),
            "encoding" => self.encoding = Some(Encoding::from_name(value)?),
            _ => return Err(unknown(key, &KEYS)),
        }
        Ok(())
    }

    /// Takes the place a client was at, as its `Last-Event-ID` header tells it. The header is newer than the query's.
    ///
    /// # Errors
    /// `invalid` when it is no cursor.
    pub fn resume_after(&mut self, last_event_id: &str) -> Result<()> {
        if !last_event_id.is_empty() {
            self.last_event_id = Some(cursor("Last-Event-ID", last_event_id)?);
        }
        Ok(())
    }

    /// Takes out the place that a client comes back with by itself, if it does.
    pub fn take_last_event_id(&mut self) -> Option<Cursor> {
        self.last_event_id.take()
    }

    /// How payloads are to be written.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding.unwrap_or_default()
    }

    /// The subscription to `target` that these options ask for; `ack` is how the door settles unless they say.
    ///
    /// A place (`last_event_id`, else `start_after`) goes before `start_from`, so that a client can come back with the
    /// query it started with. A worker group keeps its place under its own name, and a `consumer_id` adds nothing.
    ///
    /// # Errors
    /// `invalid` when options contradict each other.
    pub fn into_request(self, target: Pattern, ack: AckMode) -> Result<SubscribeRequest> {
        let start = self.start()?;
        let mut request = match (self.pool.unwrap_or_default(), self.group, self.consumer) {
            (true, group, _) => SubscribeRequest::pool(target, group.unwrap_or_default()),
            (false, Some(_), _) => {
                return Err(Error::invalid("worker_group needs delivery_mode=worker_pool"));
            }
            (false, None, Some(consumer)) => SubscribeRequest::consumer(target, consumer),
            (false, None, None) => SubscribeRequest::broadcast(target),
        };
        if let Some(start) = start {
            request.start = start;
        }
        request.ack = self.ack.unwrap_or(ack);
        request.ack_wait = self.ack_wait;
        request.max_deliver = self.max_deliver;
        request.max_in_flight = self.max_in_flight.map(size);
        request.max_age = self.max_age;
        request.latest_only = self.latest_only.unwrap_or_default();
        request.buffer = self.buffer.map(size);
        request.slow = self.slow;
        Ok(request)
    }

    fn start(&self) -> Result<Option<Start>> {
        if let Some(cursor) = self.last_event_id.as_ref().or(self.start_after.as_ref()) {
            return Ok(Some(Start::After(cursor.clone())));
        }
        start_of(self.position, self.start_time)
    }
}

const POSITIONS: [(&str, Position); 3] =
    [("beginning", Position::Beginning), ("latest", Position::Latest), ("timestamp", Position::Time)];

const ACKS: [(&str, AckMode); 2] = [("auto", AckMode::Auto), ("manual", AckMode::Manual)];

const SLOW_POLICIES: [(&str, SlowPolicy); 4] = [
    ("pause", SlowPolicy::Pause),
    ("drop_oldest", SlowPolicy::DropOldest),
    ("conflate", SlowPolicy::Conflate),
    ("disconnect", SlowPolicy::Disconnect),
];

/// The start that a position and a time name together, if they name one.
fn start_of(position: Option<Position>, time: Option<Timestamp>) -> Result<Option<Start>> {
    match (position, time) {
        (None, None) => Ok(None),
        (Some(Position::Beginning), None) => Ok(Some(Start::Beginning)),
        (Some(Position::Latest), None) => Ok(Some(Start::Latest)),
        (None | Some(Position::Time), Some(time)) => Ok(Some(Start::At(time))),
        (Some(Position::Time), None) => Err(Error::invalid("start_from=timestamp needs start_time")),
        (Some(_), Some(_)) => Err(Error::invalid("start_time needs start_from=timestamp")),
    }
}

fn unknown(key: &str, known: &[&str]) -> Error {
    if LATER.contains(&key) {
        return Error::unsupported(format!("option `{key}` is not supported"));
    }
    Error::invalid(format!("unknown option `{}`: allowed are {}", shortened(key), known.join(", ")))
}

fn one_of<T: Copy>(key: &str, value: &str, allowed: &[(&str, T)]) -> Result<T> {
    if let Some((_, found)) = allowed.iter().find(|(name, _)| *name == value) {
        return Ok(*found);
    }
    let names: Vec<_> = allowed.iter().map(|(name, _)| *name).collect();
    Err(bad_value(key, value, &names.join(", ")))
}

/// A number of messages or attempts: what is zero or absurd would mean something else than it says.
fn number(key: &str, value: &str) -> Result<u32> {
    let number = value.parse().ok().filter(|number| (1..=1_000_000).contains(number));
    number.ok_or_else(|| bad_value(key, value, "1 to 1000000"))
}

fn cursor(key: &str, value: &str) -> Result<Cursor> {
    Cursor::new(value).map_err(|error| Error::invalid(format!("{key}: {}", error.message())))
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The error for a value that an option does not take.
pub(crate) fn bad_value(key: &str, value: &str, allowed: &str) -> Error {
    Error::invalid(format!("{key} must be {allowed}, is `{}`", shortened(value)))
}

/// The beginning of what a client wrote, for a message.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use busgate_core::{ErrorKind, Mode};
    use proptest::prelude::*;

    use super::*;

    fn request(query: &str) -> Result<SubscribeRequest> {
        SubscribeQuery::parse(query)?.into_request(Pattern::new("orders.>")?, AckMode::Manual)
    }

    fn kind(query: &str) -> ErrorKind {
        request(query).unwrap_err().kind()
    }

    #[test]
    fn no_options_are_all_the_defaults() {
        assert_eq!(request("").unwrap(), SubscribeRequest::broadcast(Pattern::new("orders.>").unwrap()));
    }

    #[test]
    fn every_option_arrives() {
        let query = "delivery_mode=worker_pool&worker_group=g&start_from=timestamp&start_time=1500&latest_only=true\
            &max_age=1h&ack=auto&ack_wait=500ms&max_deliver=3&max_in_flight=7&buffer_size=9&slow_policy=drop_oldest\
            &encoding=json";
        let options = SubscribeQuery::parse(query).unwrap();
        assert_eq!(options.encoding(), Encoding::Json);
        let target = Pattern::new("a").unwrap();
        let expected = SubscribeRequest {
            start: Start::At(Timestamp::from_millis(1500)),
            ack: AckMode::Auto,
            ack_wait: Some(Duration::from_millis(500)),
            max_deliver: Some(3),
            max_in_flight: Some(7),
            max_age: Some(Duration::from_secs(3600)),
            latest_only: true,
            buffer: Some(9),
            slow: Some(SlowPolicy::DropOldest),
            ..SubscribeRequest::pool(target.clone(), GroupName::new("g").unwrap())
        };
        assert_eq!(options.into_request(target, AckMode::Manual).unwrap(), expected);
    }

    #[test]
    fn a_named_consumer_is_a_broadcast_with_a_place() {
        let mode = request("consumer_id=c1").unwrap().mode;
        assert_eq!(mode, Mode::Broadcast { consumer: Some(ConsumerName::new("c1").unwrap()) });
    }

    #[test]
    fn a_place_goes_before_a_position_and_the_newest_place_first() {
        let after = |cursor| Start::After(Cursor::new(cursor).unwrap());
        assert_eq!(request("start_from=beginning&start_after=a").unwrap().start, after("a"));
        assert_eq!(request("start_after=a&last_event_id=b").unwrap().start, after("b"));
        let mut options = SubscribeQuery::parse("last_event_id=b").unwrap();
        options.resume_after("c").unwrap();
        let request = options.into_request(Pattern::new("a").unwrap(), AckMode::Auto).unwrap();
        assert_eq!(request.start, after("c"));
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_allowed() {
        let error = request("delivery_mode=fanout").unwrap_err();
        assert_eq!(error.message(), "delivery_mode must be broadcast, worker_pool, is `fanout`");
        let error = request("mode=fanout").unwrap_err();
        assert!(error.message().starts_with("unknown option `mode`: allowed are delivery_mode, "));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "start_from=end",
            "start_from=timestamp",
            "start_from=latest&start_time=1",
            "worker_group=g",
            "worker_group=a/b&delivery_mode=worker_pool",
            "latest_only=yes",
            "max_in_flight=0",
            "max_in_flight=-1",
            "buffer_size=99999999999999",
            "ack=maybe",
            "encoding=xml",
            "start_after=%00",
            "ack=auto&ack=auto",
            "max_age=soon",
        ] {
            assert_eq!(kind(bad), ErrorKind::Invalid, "{bad}");
        }
    }

    #[test]
    fn options_of_a_later_version_are_refused_as_such() {
        for later in ["filter=a", "format=cloudevents", "ticket=t", "filter="] {
            assert_eq!(kind(later), ErrorKind::Unsupported, "{later}");
        }
    }

    #[test]
    fn an_empty_value_counts_as_not_given() {
        let defaults = request("").unwrap();
        for key in KEYS {
            assert_eq!(request(&format!("{key}=")).unwrap(), defaults, "{key}");
        }
    }

    proptest! {
        #[test]
        fn no_option_makes_it_panic(key in proptest::sample::select(&KEYS[..]), value: String) {
            let mut options = SubscribeQuery::default();
            if options.set(key, &value).is_ok() {
                let _ = options.into_request(Pattern::new("a").unwrap(), AckMode::Manual);
            }
        }
    }
}

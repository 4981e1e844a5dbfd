//! Every key there is: its kind, its bounds, its default. The one list behind parsing, `config defaults` and the help.

use std::time::Duration;

/// What a key holds, and what is allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Text that is not empty.
    Text,
    /// An IP address with a port.
    Address,
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Count(u64, u64),
    /// A duration.
    Time(Duration, Duration),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A list of durations.
    Times(usize, Duration),
    /// The table of API keys.
    Credentials,
}

/// A key of the configuration.
#[derive(Debug)]
pub(crate) struct Key {
    /// `section.name`, or the name alone.
    pub(crate) path: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
    /// Its value when nobody writes one, as TOML; empty when it has none.
    pub(crate) default: &'static str,
    /// One line about it.
    pub(crate) about: &'static str,
}

impl Key {
    /// The environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        format!("{}{}", super::source::PREFIX, self.path.replace('.', "_").to_uppercase())
    }

    /// Whether its value must not be shown.
    pub(crate) fn is_secret(&self) -> bool {
        self.path == "ack_secret" || matches!(self.kind, Kind::Credentials)
    }
}

const TENTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const HALF_DAY: Duration = Duration::from_secs(12 * 3600);
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const MIB: u64 = 1024 * 1024;

const fn key(path: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { path, kind, default, about }
}

/// All keys, in the order they are shown.
pub(crate) const KEYS: &[Key] = &[
    key(
        "transport",
        Kind::Text,
        r#""log:./busgate-data""#,
        "where messages live: log:DIR, memory:, redis://HOST, nats://HOST or kafka://HOST, with options after a ?",
    ),
    key(
        "wait",
        Kind::Switch,
        "false",
        "at the start, keep trying to reach the transport instead of ending with exit code 69",
    ),
    key(
        "data_dir",
        Kind::Text,
        "",
        "the directory of the embedded log; takes the place of the one in `transport`",
    ),
    key("http", Kind::Address, r#""127.0.0.1:8080""#, "where REST, SSE and WebSocket are served"),
    key("grpc", Kind::Address, r#""127.0.0.1:9090""#, "where gRPC is served"),
    key("admin", Kind::Address, "", "where /metrics, /healthz and /readyz are served; on `http` unless set"),
    key(
        "dev",
        Kind::Switch,
        "false",
        "for trying things out: keeps messages in memory unless `transport` is set, and logs more",
    ),
    key(
        "threads",
        Kind::Count(1, 1024),
        "",
        "how many threads do the work; one a core unless set. One costs the least where cores are shared with the broker",
    ),
    key(
        "log_format",
        Kind::OneOf(&["auto", "text", "json"]),
        r#""auto""#,
        "text or json; auto is text on a terminal",
    ),
    key(
        "log_level",
        Kind::Text,
        r#""info""#,
        "error, warn, info, debug, trace, also by module: info,busgate=debug",
    ),
    key(
        "ack_secret",
        Kind::Text,
        "",
        "what ack ids are signed with, 32 bytes or more, the same on every node; made and kept unless set",
    ),
    key(
        "allowed_origins",
        Kind::Texts,
        "[]",
        "origins of web pages that may call besides the gateway's own: https://*.example.com",
    ),
    key(
        "heartbeat",
        Kind::Time(SECOND, HOUR),
        r#""30s""#,
        "how often an idle SSE or WebSocket stream shows a sign of life",
    ),
    key(
        "drain_timeout",
        Kind::Time(Duration::ZERO, HOUR),
        r#""10s""#,
        "how long a stop waits for acks of what is in flight",
    ),
    key("limits.max_payload_bytes", Kind::Count(1, 16 * MIB), "1048576", "the largest payload of a message"),
    key("limits.max_metadata_entries", Kind::Count(0, 64), "64", "the most metadata entries of a message"),
    key(
        "limits.max_metadata_bytes",
        Kind::Count(0, 16 * 1024),
        "16384",
        "the most metadata of a message, keys and values together",
    ),
    key("limits.max_key_bytes", Kind::Count(1, 1024), "1024", "the longest ordering key"),
    key(
        "limits.max_batch",
        Kind::Count(1, 100_000),
        "10000",
        "the most entries of one batch of messages or acks",
    ),
    key(
        "limits.max_body_bytes",
        Kind::Count(1024, 1024 * MIB),
        "33554432",
        "the largest body of an HTTP request",
    ),
    key(
        "limits.max_connections",
        Kind::Count(1, 1_000_000),
        "65536",
        "the most connections over all listeners",
    ),
    key(
        "limits.max_connections_per_ip",
        Kind::Count(0, 1_000_000),
        "0",
        "the most connections of one address; 0 is no bound of its own",
    ),
    key("limits.max_subscriptions", Kind::Count(1, 1_000_000), "100000", "the most live subscriptions"),
    key(
        "limits.max_pattern_events",
        Kind::Count(1, 1_000_000),
        "1024",
        "the most events one pattern subscription stands for",
    ),
    key(
        "limits.max_streams_per_connection",
        Kind::Count(1, 1_000_000),
        "65536",
        "the most concurrent HTTP/2 streams of one connection",
    ),
    key(
        "limits.header_timeout",
        Kind::Time(TENTH, HOUR),
        r#""30s""#,
        "how long a request's head may take, and an HTTP/1.1 connection stay idle",
    ),
    key("limits.body_timeout", Kind::Time(TENTH, HOUR), r#""30s""#, "how long a request's body may take"),
    key(
        "limits.write_timeout",
        Kind::Time(TENTH, HOUR),
        r#""60s""#,
        "how long a client may leave what is sent to it unread before its connection ends",
    ),
    key(
        "limits.publish_rate",
        Kind::Count(0, 100_000_000),
        "0",
        "the most messages a second that one principal may publish; 0 is no bound",
    ),
    key(
        "limits.publish_burst",
        Kind::Count(1, 100_000_000),
        "10000",
        "how many messages a principal may publish at once within `publish_rate`",
    ),
    key(
        "delivery.ack_wait",
        Kind::Time(Duration::from_millis(10), HALF_DAY),
        r#""30s""#,
        "how long a lease runs unless the subscription says otherwise",
    ),
    key(
        "delivery.max_deliver",
        Kind::Count(1, 1000),
        "5",
        "how often a message is delivered before it goes to the dead letters",
    ),
    key(
        "delivery.backoff",
        Kind::Times(32, WEEK),
        r#"["1s", "5s", "30s", "2m"]"#,
        "the delays between deliveries, with jitter; the last repeats",
    ),
    key(
        "delivery.auto_register",
        Kind::Switch,
        "false",
        "whether publishing and subscribing make an unknown event known",
    ),
    key(
        "delivery.publish_timeout",
        Kind::Time(TENTH, HOUR),
        r#""10s""#,
        "how long the transport may take for a publish",
    ),
    key(
        "delivery.call_timeout",
        Kind::Time(TENTH, HOUR),
        r#""10s""#,
        "how long it may take to settle, list or read",
    ),
    key(
        "delivery.discovery_interval",
        Kind::Time(TENTH, HOUR),
        r#""5s""#,
        "how often pattern subscriptions look for events that other nodes registered",
    ),
    key(
        "delivery.ring_messages",
        Kind::Count(1, 1_000_000),
        "8192",
        "how many recent messages of an event wait in memory for its live subscribers",
    ),
    key("delivery.ring_bytes", Kind::Count(1024, 16 * 1024 * MIB), "33554432", "how many bytes of them"),
    key(
        "retention.age",
        Kind::Time(SECOND, CENTURY),
        "",
        "how long messages are held; the transport's own bound unless set (log: 7d)",
    ),
    key(
        "retention.bytes",
        Kind::Count(1024, u64::MAX),
        "",
        "how many bytes of messages an event holds; the transport's own bound unless set",
    ),
    key(
        "retention.messages",
        Kind::Count(1, u64::MAX),
        "",
        "how many messages an event holds; the transport's own bound unless set",
    ),
    key(
        "keys",
        Kind::Credentials,
        "[]",
        "API keys with what each may do; without any, loopback only and everything is allowed",
    ),
];

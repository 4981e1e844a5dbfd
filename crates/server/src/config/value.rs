//! One value against its key: read it, or say what is allowed.

use std::{net::SocketAddr, time::Duration};

use busgate_core::url::{display_duration, parse_duration};
use toml::Value;

use super::{
    credential::{self, ApiKey},
    key::Kind,
};

/// A value that its key allows.
#[derive(Clone, Debug)]
pub(super) enum Checked {
    Text(String),
    Address(SocketAddr),
    Switch(bool),
    Count(u64),
    Time(Duration),
    Texts(Vec<String>),
    Times(Vec<Duration>),
    Credentials(Vec<ApiKey>),
}

impl Kind {
    /// Reads what a variable or flag says: TOML for lists, the text itself for everything else.
    pub(super) fn value_of(self, text: &str) -> Value {
        let parsed = match self {
            Self::Switch => text.parse().ok().map(Value::Boolean),
            Self::Count(..) => text.parse().ok().map(Value::Integer),
            Self::Credentials => array(text),
            Self::Texts | Self::Times(..) => array(text).or_else(|| {
                let parts = text.split(',').map(|part| Value::String(part.trim().into()));
                Some(Value::Array(parts.collect()))
            }),
            Self::Text | Self::Address | Self::Time(..) | Self::OneOf(_) => None,
        };
        parsed.unwrap_or_else(|| Value::String(text.into()))
    }

    /// The value, or what would be allowed instead.
    pub(super) fn check(self, value: &Value) -> Result<Checked, String> {
        let checked = match self {
            Self::Text => text(value).filter(|text| !text.is_empty()).map(Checked::Text),
            Self::Address => text(value).and_then(|text| text.parse().ok()).map(Checked::Address),
            Self::Switch => value.as_bool().map(Checked::Switch),
            Self::Count(least, most) => count(value, least, most).map(Checked::Count),
            Self::Time(least, most) => time(value, least, most).map(Checked::Time),
            Self::OneOf(words) => {
                text(value).filter(|text| words.contains(&text.as_str())).map(Checked::Text)
            }
            Self::Texts => list(value, text).map(Checked::Texts),
            Self::Times(length, most) => list(value, |value| time(value, Duration::ZERO, most))
                .filter(|times| times.len() <= length)
                .map(Checked::Times),
            Self::Credentials => return credential::check(value).map(Checked::Credentials),
        };
        checked.ok_or_else(|| self.allowed())
    }

    /// What is allowed, for people.
    pub(crate) fn allowed(self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Address => "an IP address and a port, like 127.0.0.1:8080 or [::1]:8080".into(),
            Self::Switch => "true or false".into(),
            Self::Count(least, u64::MAX) => format!("a whole number, {least} or more"),
            Self::Count(least, most) => format!("a whole number from {least} to {most}"),
            Self::Time(least, most) => format!(
                "a duration from {} to {}, like 250ms, 30s, 5m, 1h or 7d",
                display_duration(least),
                display_duration(most)
            ),
            Self::OneOf(words) => words.join(", "),
            Self::Texts => "a list of texts".into(),
            Self::Times(length, most) => {
                format!("a list of at most {length} durations of at most {}", display_duration(most))
            }
            Self::Credentials => credential::ALLOWED.into(),
        }
    }
}

fn array(text: &str) -> Option<Value> {
    text.parse::<Value>().ok().filter(Value::is_array)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(ToOwned::to_owned)
}

fn count(value: &Value, least: u64, most: u64) -> Option<u64> {
    let count = u64::try_from(value.as_integer()?).ok()?;
    (least..=most).contains(&count).then_some(count)
}

fn time(value: &Value, least: Duration, most: Duration) -> Option<Duration> {
    let time = parse_duration(value.as_str()?)?;
    (least..=most).contains(&time).then_some(time)
}

fn list<T>(value: &Value, item: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(item).collect()
}

/// The value by its type, for the code that knows its key.
pub(super) trait FromChecked: Sized {
    fn from_checked(checked: Checked) -> Option<Self>;
}

macro_rules! from_checked {
    ($($variant:ident => $type:ty),+) => {
        $(impl FromChecked for $type {
            fn from_checked(checked: Checked) -> Option<Self> {
                if let Checked::$variant(value) = checked { Some(value) } else { None }
            }
        })+
    };
}

from_checked! {
    Text => String, Address => SocketAddr, Switch => bool, Count => u64, Time => Duration,
    Texts => Vec<String>, Times => Vec<Duration>, Credentials => Vec<ApiKey>
}

impl FromChecked for usize {
    fn from_checked(checked: Checked) -> Option<Self> {
        u64::from_checked(checked).map(|count| Self::try_from(count).unwrap_or(Self::MAX))
    }
}

impl FromChecked for u32 {
    fn from_checked(checked: Checked) -> Option<Self> {
        u64::from_checked(checked).map(|count| Self::try_from(count).unwrap_or(Self::MAX))
    }
}

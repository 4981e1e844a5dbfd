//! What is wrong with a configuration: which key, which value, what is allowed.

use std::{error, fmt};

use toml::Value;

use super::{
    key::{KEYS, Key},
    source::Origin,
};

/// How many characters of what somebody wrote are shown.
const LONGEST: usize = 500;

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    /// `value` is not what `path` allows.
    pub(crate) fn new(path: &str, value: &str, origin: &Origin, allowed: &str) -> Self {
        let (path, value) = (shortened(path), shortened(value));
        Self(format!("{path} = {value} ({origin}) is not allowed: {}", shortened(allowed)))
    }

    pub(super) fn value(key: &Key, value: &Value, origin: &Origin, allowed: impl AsRef<str>) -> Self {
        let shown = if key.is_secret() { "(not shown)".to_owned() } else { value.to_string() };
        Self::new(key.path, &shown, origin, allowed.as_ref())
    }

    /// There is no key `path`. What was meant may be a secret, so that text is not shown.
    pub(super) fn unknown(path: &str, value: &Value, file: &str) -> Self {
        let path = &*shortened(path);
        let near = KEYS.iter().map(|key| key.path).min_by_key(|known| distance(known, path));
        let near = near.filter(|known| distance(known, path) <= known.len().max(path.len()) / 4);
        let hint = near.map(|known| format!(", did you mean `{known}`")).unwrap_or_default();
        let is_told = value.is_bool() || value.is_integer() || value.is_float();
        let value = if is_told { value.to_string() } else { "…".into() };
        Self(format!(
            "{path} = {value} ({file}): there is no such key{hint}; `busgate config defaults` lists all"
        ))
    }

    /// The text of the file is no TOML. The line itself is not shown: a secret may stand on it.
    pub(super) fn syntax(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Self(format!("{file}: not TOML: line {line}: {}", shortened(error.message())))
    }

    pub(crate) fn file(name: &str, error: &std::io::Error) -> Self {
        Self(format!("config = {name:?} (--config) can't be read: {error}; a TOML file in UTF-8 is expected"))
    }

    pub(super) fn bug(path: &str) -> Self {
        Self(format!("{path} has no value of its kind"))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for ConfigError {}

/// The beginning of what somebody wrote, on one line.
fn shortened(text: &str) -> String {
    let mut chars = text.chars();
    let mut short: String =
        chars.by_ref().take(LONGEST).map(|char| if char.is_control() { ' ' } else { char }).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

/// How many characters must change to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(b.chars()) {
            let cost = diagonal + usize::from(left != right);
            diagonal = *cell;
            *cell = cost.min(before + 1).min(*cell + 1);
            before = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_the_number_of_changes() {
        for (a, b, changes) in
            [("", "", 0), ("htp", "http", 1), ("grpc", "gprc", 2), ("abc", "", 3), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a, b), changes, "{a} {b}");
        }
    }
}

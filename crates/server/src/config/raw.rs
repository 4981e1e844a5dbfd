//! The sources put on top of each other, and each value checked against its key.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{
    ConfigError,
    key::{KEYS, Key},
    source::{Environment, Origin, Sources},
    value::{Checked, FromChecked},
};

/// Every key's value, checked, and where it was written.
#[derive(Debug)]
pub(super) struct Raw(BTreeMap<&'static str, (Checked, Origin)>);

impl Raw {
    /// Puts the sources together; every mistake is reported, not just the first.
    pub(super) fn read(sources: &Sources) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let file = sources.file.as_ref().map(|(name, text)| (name, flat(name, text, &mut errors)));
        let mut values = BTreeMap::new();
        for key in KEYS {
            let written = flag(key, sources)
                .or_else(|| variable(key, &sources.environment))
                .or_else(|| {
                    let (name, table) = file.as_ref()?;
                    Some((table.get(key.path)?.clone(), Origin::File((*name).clone())))
                })
                .or_else(|| Some((built_in(key)?, Origin::Default)));
            let Some((value, origin)) = written else { continue };
            match key.kind.check(&value) {
                Ok(checked) => _ = values.insert(key.path, (checked, origin)),
                Err(allowed) => errors.push(ConfigError::value(key, &value, &origin, allowed)),
            }
        }
        if errors.is_empty() { Ok(Self(values)) } else { Err(errors) }
    }

    /// The value of a key that may be absent.
    pub(super) fn find<T: FromChecked>(&self, path: &str) -> Option<T> {
        self.0.get(path).and_then(|(checked, _)| T::from_checked(checked.clone()))
    }

    /// The value of a key that has a default.
    pub(super) fn get<T: FromChecked>(&self, path: &'static str) -> Result<T, Vec<ConfigError>> {
        self.find(path).ok_or_else(|| vec![ConfigError::bug(path)])
    }

    /// Where a key's value was written.
    pub(super) fn origin(&self, path: &str) -> Origin {
        self.0.get(path).map_or(Origin::Default, |(_, origin)| origin.clone())
    }
}

fn flag(key: &Key, sources: &Sources) -> Option<(Value, Origin)> {
    let (_, text) = sources.flags.iter().rev().find(|(path, _)| *path == key.path)?;
    let origin = Origin::Flag(format!("--{}", key.path.replace('_', "-")));
    Some((key.kind.value_of(text), origin))
}

fn variable(key: &Key, environment: &Environment) -> Option<(Value, Origin)> {
    let name = key.variable();
    let value = key.kind.value_of(environment.get(&name)?);
    Some((value, Origin::Environment(name)))
}

/// The built-in value of a key.
fn built_in(key: &Key) -> Option<Value> {
    key.default.parse().ok()
}

/// The file's values by key; what is no key is an error.
fn flat(name: &str, text: &str, errors: &mut Vec<ConfigError>) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    match text.parse::<Table>() {
        Ok(table) => flatten("", table, &mut values),
        Err(error) => errors.push(ConfigError::syntax(name, text, &error)),
    }
    for (path, value) in &values {
        if !KEYS.iter().any(|key| key.path == path) {
            errors.push(ConfigError::unknown(path, value, name));
        }
    }
    values
}

fn flatten(prefix: &str, table: Table, into: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let path = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) if is_section(&path) => flatten(&path, inner, into),
            value => _ = into.insert(path, value),
        }
    }
}

fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

//! API keys as they are written: a name, a key or its hash, and rules.

use std::{collections::BTreeSet, fmt};

use busgate_core::{Operation, Pattern, Rule};
use sha2::{Digest, Sha256};
use toml::{Table, Value};

/// The shortest key that is taken.
const MIN_KEY_BYTES: usize = 16;

pub(super) const ALLOWED: &str = "a list of tables with `name`, either `key` (16 characters or more) or `sha256` \
     (64 hex digits, the hash of a key), and `rules`, a list of { operations = [\"publish\", …], events = [\"orders.>\", …] }";

/// A static key, who it stands for, and what that principal may do.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The principal.
    pub name: String,
    /// The SHA-256 of the key; the key itself is not kept.
    pub sha256: [u8; 32],
    /// What the principal may do; anything else is denied.
    pub rules: Vec<Rule>,
}

impl ApiKey {
    /// The key `key` for `name`.
    #[must_use]
    pub fn new(name: impl Into<String>, key: &str, rules: Vec<Rule>) -> Self {
        Self { name: name.into(), sha256: Sha256::digest(key).into(), rules }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("name", &self.name).field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// Reads all keys, or says what is wrong with the first bad one without showing a secret.
pub(super) fn check(value: &Value) -> Result<Vec<ApiKey>, String> {
    let tables = value.as_array().ok_or(ALLOWED)?;
    let mut names = BTreeSet::new();
    let mut keys = Vec::with_capacity(tables.len());
    for (index, table) in tables.iter().enumerate() {
        let key = table
            .as_table()
            .ok_or_else(|| ALLOWED.to_owned())
            .and_then(api_key)
            .map_err(|wrong| format!("entry {}: {wrong}", index + 1))?;
        if !names.insert(key.name.clone()) {
            return Err(format!("entry {}: each name once, `{}` stands twice", index + 1, key.name));
        }
        if let Some(same) = keys.iter().find(|known: &&ApiKey| known.sha256 == key.sha256) {
            return Err(format!("entry {}: `{}` and `{}` have the same key", index + 1, same.name, key.name));
        }
        keys.push(key);
    }
    Ok(keys)
}

fn api_key(table: &Table) -> Result<ApiKey, String> {
    only(table, &["name", "key", "sha256", "rules"])?;
    let name = table.get("name").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() || name.len() > 200 || name.chars().any(char::is_control) || name == "anonymous" {
        return Err("`name` must be text of 1 to 200 bytes, and not `anonymous`".into());
    }
    let sha256 = match (table.get("key"), table.get("sha256")) {
        (Some(key), None) => digest_of(key)?,
        (None, Some(digits)) => digest_in(digits).ok_or("`sha256` must be 64 hex digits")?,
        _ => return Err("one of `key` and `sha256` must be there, and not both".into()),
    };
    let rules = table.get("rules").and_then(Value::as_array).ok_or("`rules` must be a list")?;
    let rules: Result<Vec<Vec<Rule>>, String> = rules.iter().map(rule).collect();
    Ok(ApiKey { name: name.to_owned(), sha256, rules: rules?.concat() })
}

fn rule(value: &Value) -> Result<Vec<Rule>, String> {
    let table = value.as_table().ok_or("a rule must be a table of `operations` and `events`")?;
    only(table, &["operations", "events"])?;
    let mut operations = Vec::new();
    for name in texts(table, "operations")? {
        match Operation::ALL.into_iter().find(|operation| operation.as_str() == name) {
            Some(operation) => operations.push(operation),
            None if name == "*" => operations.extend(Operation::ALL),
            None => {
                let known = Operation::ALL.map(Operation::as_str).join(", ");
                return Err(format!("`operations`: `{name}` is not one of {known}, *"));
            }
        }
    }
    let events = texts(table, "events")?.into_iter().map(|pattern| {
        let events = Pattern::new(pattern).map_err(|error| format!("`events`: `{pattern}`: {error}"))?;
        Ok(Rule { operations: operations.clone(), events })
    });
    events.collect()
}

fn texts<'a>(table: &'a Table, key: &str) -> Result<Vec<&'a str>, String> {
    let list = table.get(key).and_then(Value::as_array);
    let texts: Option<Vec<&str>> = list.and_then(|list| list.iter().map(Value::as_str).collect());
    texts
        .filter(|texts| !texts.is_empty())
        .ok_or_else(|| format!("`{key}` must be a list of texts, one or more"))
}

fn only(table: &Table, allowed: &[&str]) -> Result<(), String> {
    match table.keys().find(|key| !allowed.contains(&key.as_str())) {
        Some(unknown) => Err(format!("`{unknown}` is not one of {}", allowed.join(", "))),
        None => Ok(()),
    }
}

fn digest_of(key: &Value) -> Result<[u8; 32], String> {
    let key = key
        .as_str()
        .filter(|key| key.len() >= MIN_KEY_BYTES && key.bytes().all(|byte| byte.is_ascii_graphic()));
    let key = key.ok_or_else(|| format!("`key` must be {MIN_KEY_BYTES} or more visible ASCII characters"))?;
    Ok(Sha256::digest(key).into())
}

fn digest_in(value: &Value) -> Option<[u8; 32]> {
    let text = value.as_str()?.as_bytes();
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(toml: &str) -> Result<Vec<ApiKey>, String> {
        check(&toml.parse::<Table>().unwrap()["keys"])
    }

    #[test]
    fn a_key_and_its_hash_are_the_same_key() {
        let digest = Sha256::digest("a-key-of-enough-length");
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let plain = keys("keys = [{ name = 'a', key = 'a-key-of-enough-length', rules = [] }]").unwrap();
        let hashed = keys(&format!("keys = [{{ name = 'a', sha256 = '{hex}', rules = [] }}]")).unwrap();
        assert_eq!(plain, hashed);
    }

    #[test]
    fn every_mistake_is_named() {
        let good = "key = 'a-key-of-enough-length'";
        for (toml, named) in [
            ("keys = 1".to_owned(), "`name`"),
            ("keys = [{ name = 'a', key = 'short', rules = [] }]".to_owned(), "`key`"),
            ("keys = [{ name = 'a', sha256 = 'zz', rules = [] }]".to_owned(), "`sha256`"),
            (format!("keys = [{{ name = 'a', {good} }}]"), "`rules`"),
            (format!("keys = [{{ name = 'a', {good}, rules = [], role = 'x' }}]"), "`role`"),
            (format!("keys = [{{ {good}, rules = [] }}]"), "`name`"),
            (
                format!(
                    "keys = [{{ name = 'a', {good}, rules = [{{ operations = ['fly'], events = ['>'] }}] }}]"
                ),
                "`fly`",
            ),
            (
                format!(
                    "keys = [{{ name = 'a', {good}, rules = [{{ operations = ['*'], events = ['a..b'] }}] }}]"
                ),
                "`a..b`",
            ),
            (
                format!(
                    "keys = [{{ name = 'a', {good}, rules = [] }}, {{ name = 'a', {good}, rules = [] }}]"
                ),
                "twice",
            ),
            (
                format!(
                    "keys = [{{ name = 'a', {good}, rules = [] }}, {{ name = 'b', {good}, rules = [] }}]"
                ),
                "`a` and `b` have the same key",
            ),
        ] {
            let wrong = keys(&toml).unwrap_err();
            assert!(wrong.contains(named), "{toml}: {wrong}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let shown = format!("{:?}", ApiKey::new("a", "a-key-of-enough-length", vec![]));
        assert!(!shown.contains("a-key-of-enough-length") && !shown.contains("sha256"));
    }
}

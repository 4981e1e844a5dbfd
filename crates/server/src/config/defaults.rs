//! The configuration file nobody has to write: every key with its default and its bounds.

use std::fmt::Write;

use super::key::{KEYS, Key, Kind};

/// Every key with its default, what is allowed and its environment variable, as a file to start from.
#[must_use]
pub fn defaults() -> String {
    let mut file = String::from(
        "# every key of busgate's configuration with its default; flags win over the environment, that over a file\n",
    );
    let mut section = "";
    for key in KEYS {
        let (prefix, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if prefix != section && !prefix.is_empty() {
            section = prefix;
            _ = write!(file, "\n[{section}]\n");
        }
        write_key(&mut file, key, name);
    }
    file
}

fn write_key(file: &mut String, key: &Key, name: &str) {
    _ = writeln!(file, "\n# {}", key.about);
    _ = writeln!(file, "# {} · {}", key.kind.allowed(), key.variable());
    match key.kind {
        Kind::Credentials => file.push_str(CREDENTIALS),
        _ if key.default.is_empty() => _ = writeln!(file, "# {name} ="),
        _ => _ = writeln!(file, "{name} = {}", key.default),
    }
}

const CREDENTIALS: &str = r#"# [[keys]]
# name = "shop"
# key = "…"
# rules = [{ operations = ["publish", "subscribe", "ack"], events = ["orders.>"] }]
"#;

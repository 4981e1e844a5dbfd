//! What may be shown of a transport's URL: where it is, never a credential.

/// The schemes whose URLs hold no credentials.
const OPEN: [&str; 2] = ["memory", "log"];

/// The URL without user, password and options. What can't be told apart from a credential is left out.
pub(crate) fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once(':') else { return "…".into() };
    if OPEN.contains(&scheme) {
        return url.to_owned();
    }
    let known = scheme.len() <= 20 && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'+');
    if !known {
        return "…".into();
    }
    let place = rest.strip_prefix("//").and_then(|rest| match rest.rsplit_once('@') {
        // An @ among the options: what comes before it may be a password, and what comes after it as well.
        Some((before, _)) if before.contains('?') => None,
        Some((_, after)) => Some(after),
        None => Some(rest),
    });
    let place = place.map_or("…", |place| place.split('?').next().unwrap_or_default());
    format!("{scheme}://{place}")
}

/// Whether the credentials in a URL end before its options begin: with an @ among the options a part of a password may
/// have been taken for the place, or for an option.
pub(crate) fn is_told_apart(url: &str) -> bool {
    url.split_once('?').is_none_or(|(_, options)| !options.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_shown() {
        for (url, shown) in [
            ("memory:?max_messages=7", "memory:?max_messages=7"),
            ("log:/var/lib/busgate", "log:/var/lib/busgate"),
            ("redis://localhost:6379/3", "redis://localhost:6379/3"),
            ("kafka://a:9092,b:9092?acks=all", "kafka://a:9092,b:9092"),
            ("redis+sentinel://a,b/main", "redis+sentinel://a,b/main"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }

    #[test]
    fn a_credential_is_not() {
        for url in [
            "redis://:hunter2@localhost",
            "redis://user:hun/ter2@localhost",
            "redis://user:hun?ter2@localhost",
            "redis://user:hun@ter2@localhost",
            "nats://hunter2@localhost",
            "kafka://localhost?password=hunter2",
            "kafka://localhost?user=a@b&password=hunter2",
            "kafka:hunter2@localhost",
            "hunter2",
            "hunter2://localhost",
            "hunter2:x",
        ] {
            let shown = without_secrets(url);
            assert!(!shown.contains("ter2") && !shown.contains("hun"), "{url} {shown}");
        }
    }
}

//! Configuration files, variables and flags: every mistake is told, and no secret with it.

use busgate::{Config, Environment, Sources};

use crate::input::Input;

const SECRET: &str = "correct-horse-battery-staple-4711";

/// The first byte says where the secrets stand and what comes beside the file.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let variable = (format!("BUSGATE_{}", input.text()), input.text().into_owned());
    let rest = String::from_utf8_lossy(input.rest());
    let file = match kind % 5 {
        0 => rest.into_owned(),
        1 => format!(
            "ack_secret = \"{SECRET}\"\n[[keys]]\nname = \"app\"\nkey = \"{SECRET}\"\nrules = []\n{rest}"
        ),
        2 => format!("ack_secret = \"{SECRET}{rest}"),
        3 => format!("ack_secrt = \"{SECRET}\"\n{rest}"),
        _ => format!("{rest}\n[[keys]]\nkey = \"{SECRET}\"{}", variable.1),
    };
    let sources = Sources {
        file: Some(("busgate.toml".to_owned(), file)),
        environment: Environment::new([variable]),
        flags: Vec::new(),
    };
    match Config::read(&sources) {
        Ok(config) => {
            assert!(!format!("{config:?}").contains(SECRET));
            makes_sense(&config);
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                let told = error.to_string();
                assert!(!told.contains(SECRET), "{told}");
                assert!((1..=2048).contains(&told.len()), "{} bytes: {told:.300}", told.len());
            }
        }
    }
}

/// What is accepted can be run.
fn makes_sense(config: &Config) {
    let addresses = [Some(config.http), Some(config.grpc), config.admin];
    let open = addresses.into_iter().flatten().any(|address| !address.ip().is_loopback());
    assert!(!open || !config.keys.is_empty(), "everyone may do everything, from anywhere");
    assert!(config.ack_secret.as_ref().is_none_or(|secret| secret.expose().len() >= 32));
    assert!(config.limits.max_payload_bytes <= busgate_core::HARD_MAX_PAYLOAD_BYTES);
    let bounds = &config.bounds;
    assert!(bounds.max_connections > 0 && bounds.max_body_bytes > 0 && bounds.publish_rate != Some(0));
    let retry = &config.delivery.retry;
    assert!(retry.max_deliver > 0 && !retry.ack_wait.is_zero() && retry.backoff.len() <= 32);
}

//! What the binary says of a bad configuration, and with which code it ends.

use std::{
    path::Path,
    process::{Command, Output},
};

use busgate::{Config, Environment, Sources};

fn busgate(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_busgate"));
    command.args(arguments).current_dir(folder).env_clear().envs(variables.iter().copied()).output().unwrap()
}

/// What it said when it refused with 64.
#[track_caller]
fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = busgate(folder.path(), arguments, variables);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{said}");
    said
}

#[track_caller]
fn refused_file(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("busgate.toml"), text).unwrap();
    let output = busgate(folder.path(), &["config", "check", "busgate.toml"], &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{said}");
    let served = busgate(folder.path(), &["serve", "--config", "busgate.toml"], &[]);
    assert_eq!(
        (served.status.code(), String::from_utf8_lossy(&served.stderr)),
        (Some(64), said.as_str().into())
    );
    said
}

#[test]
fn every_mistake_names_its_key_its_value_and_what_is_allowed() {
    for (text, parts) in [
        ("http = \"8080\"", &["http = \"8080\"", "busgate.toml", "an IP address and a port"][..]),
        ("heartbeat = 30", &["heartbeat = 30", "a duration from 1s to 1h"]),
        ("heartbeat = \"0s\"", &["heartbeat = \"0s\"", "a duration from 1s to 1h"]),
        ("[limits]\nmax_payload_bytes = 99999999", &["limits.max_payload_bytes = 99999999", "1 to 16777216"]),
        (
            "[limits]\nmax_paylod_bytes = 1",
            &["limits.max_paylod_bytes = 1", "no such key", "limits.max_payload_bytes"],
        ),
        ("[limit]\nx = 1", &["limit = ", "no such key"]),
        ("foo = 1", &["foo = 1", "no such key; `busgate config defaults`"]),
        ("dev = \"yes\"", &["dev = \"yes\"", "true or false"]),
        ("log_format = \"xml\"", &["log_format = \"xml\"", "auto, text, json"]),
        ("log_level = \"busgate=loud\"", &["log_level = \"busgate=loud\"", "debug"]),
        (
            "transport = \"amqp://u:hunter2@localhost\"",
            &["transport = \"amqp://localhost\"", "memory:, log:DIR, redis://HOST"],
        ),
        ("transport = \"memory:?x=1\"", &["transport = \"memory:?x=1\"", "max_messages"]),
        ("transport = \"memory:\"\ndata_dir = \"d\"", &["data_dir = \"d\"", "log:"]),
        ("ack_secret = \"short-secret\"", &["ack_secret = (not shown)", "32 bytes or more"]),
        ("allowed_origins = [\"*\"]", &["allowed_origins = \"*\"", "https://*.example.com"]),
        ("keys = [{ name = \"a\", key = \"hunter2\", rules = [] }]", &["keys = (not shown)", "`key`", "16"]),
        (
            "delivery.backoff = [\"1s\", \"9999d\"]",
            &["delivery.backoff = ", "at most 32 durations of at most 7d"],
        ),
        ("http = \"0.0.0.0:8080\"", &["http = \"0.0.0.0:8080\"", "without API keys", "[[keys]]"]),
        ("http = ", &["busgate.toml: not TOML"]),
        ("dev = true\nack_secret = \"hunter2", &["busgate.toml: not TOML: line 2"]),
        ("ack_secrt = \"hunter2\"", &["ack_secrt = …", "no such key, did you mean `ack_secret`"]),
    ] {
        let said = refused_file(text);
        for part in parts {
            assert!(said.contains(part), "{part} is not in: {said}");
        }
        assert!(!said.contains("hunter2") && !said.contains("short-secret"), "{said}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let said = refused_file("http = 1\ngrpc = 2\ncolour = 3");
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn flags_and_variables_are_checked_alike() {
    let said = refused(&["serve", "--http", "nowhere"], &[]);
    assert!(said.contains("http = \"nowhere\" (--http)"), "{said}");
    let said = refused(&["serve"], &[("BUSGATE_LIMITS_MAX_BATCH", "0")]);
    assert!(said.contains("limits.max_batch = 0 (BUSGATE_LIMITS_MAX_BATCH)"), "{said}");
    let said = refused(&["serve", "--transport", "kafka://a:9092?nonsense=1"], &[]);
    assert!(said.contains("nonsense") && said.contains("group_protocol"), "{said}");
    let said = refused(&["serve", "--config", "missing.toml"], &[]);
    assert!(said.contains("missing.toml") && said.contains("--config"), "{said}");
    refused(&["serve", "--colour"], &[]);
    refused(&["sing"], &[]);
}

#[test]
fn without_keys_only_loopback_is_listened_on() {
    for flag in ["--http", "--grpc", "--admin"] {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
            let said = refused(&["serve", flag, address], &[]);
            assert!(said.contains(address) && said.contains(flag) && said.contains("[[keys]]"), "{said}");
        }
    }
}

#[test]
fn generators_are_refused_until_they_are_there() {
    let said = refused(&["serve", "--demo"], &[]);
    assert!(said.contains("--demo"), "{said}");
}

#[test]
fn flags_win_over_the_environment_and_that_over_a_file() {
    let file = "http = \"127.0.0.1:1\"\ngrpc = \"127.0.0.1:1\"\nheartbeat = \"1s\"";
    let variables = [("BUSGATE_HTTP", "127.0.0.1:2"), ("BUSGATE_GRPC", "127.0.0.1:2"), ("OTHER", "x")];
    let config = Config::read(&Sources {
        file: Some(("f".into(), file.into())),
        environment: Environment::new(variables.map(|(name, value)| (name.to_owned(), value.to_owned()))),
        flags: vec![("http", "127.0.0.1:3".into())],
    })
    .unwrap();
    assert_eq!((config.http.port(), config.grpc.port(), config.heartbeat.as_secs()), (3, 2, 1));
}

#[test]
fn lists_and_keys_can_be_written_in_the_environment() {
    let keys =
        r#"[{ name = "a", key = "0123456789abcdef", rules = [{ operations = ["*"], events = [">"] }] }]"#;
    let variables = [
        ("BUSGATE_KEYS", keys),
        ("BUSGATE_ALLOWED_ORIGINS", "a.example, b.example"),
        ("BUSGATE_HTTP", "0.0.0.0:80"),
    ];
    let config = Config::read(&Sources {
        environment: Environment::new(variables.map(|(name, value)| (name.to_owned(), value.to_owned()))),
        ..Sources::none()
    })
    .unwrap();
    assert_eq!((config.keys.len(), config.keys[0].name.as_str()), (1, "a"));
    assert_eq!(config.allowed_origins, ["a.example", "b.example"]);
}

#[test]
fn the_defaults_are_a_configuration_and_change_nothing() {
    let written =
        Config::read(&Sources { file: Some(("d".into(), busgate::config::defaults())), ..Sources::none() });
    let built_in = Config::read(&Sources::none());
    assert_eq!(format!("{:?}", written.unwrap()), format!("{:?}", built_in.unwrap()));
}

#[test]
fn every_key_has_a_variable_that_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let output = busgate(folder.path(), &["config", "defaults"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for variable in
        ["BUSGATE_TRANSPORT", "BUSGATE_ACK_SECRET", "BUSGATE_LIMITS_MAX_PAYLOAD_BYTES", "BUSGATE_KEYS"]
    {
        assert!(text.contains(variable), "{variable}");
    }
}

#[test]
fn a_good_file_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f.toml"), busgate::config::defaults()).unwrap();
    let output = busgate(folder.path(), &["config", "check", "f.toml"], &[]);
    assert_eq!((output.status.code(), output.stdout), (Some(0), b"f.toml: fine\n".to_vec()));
}

//! Schemathesis reads `/openapi.json` and holds the server to it: with what the description allows, with what it does
//! not, in chains of calls.

use std::process::Command;

use super::gateway::{Gateway, judge, long, told, tool};

/// Streams show a sign of life, which ends a call of the judge.
const HEARTBEAT: (&str, &str) = ("BUSGATE_HEARTBEAT", "1s");

/// How many calls of a kind are tried.
const USUAL: &str = "25";
const LONG: &str = "1000";

/// How the judge says who it is.
const KEY: &str = "[auth.openapi.bearer]\nbearer = \"owner-0123456789abcdef\"\n";

fn judged(gateway: &Gateway, key: &str) {
    let config = gateway.scratch().join("schemathesis.toml");
    std::fs::write(&config, [include_str!("schemathesis.toml"), key].concat()).expect("a configuration");
    let mut command = Command::new(tool("python/bin/schemathesis"));
    command.arg("--no-color").arg("--config-file").arg(config).arg("run");
    command.arg(format!("http://{}/openapi.json", gateway.http));
    command.args(["--max-examples", if long().is_some() { LONG } else { USUAL }]);
    if let Some(seconds) = long() {
        command.arg("--max-time").arg(seconds.to_string());
    }
    let output = judge(command.current_dir(gateway.scratch()).env("PYTHONDONTWRITEBYTECODE", "1"));
    let told = told(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("Tested: 14"), "not every call was judged:\n{told}");
}

#[test]
fn the_description_is_kept() {
    let mut gateway = Gateway::start(&[HEARTBEAT]);
    judged(&gateway, "");
    assert!(gateway.runs());
}

#[test]
fn the_description_is_kept_where_keys_are_asked_for() {
    let mut gateway = Gateway::configured("keys.toml", &[HEARTBEAT]);
    judged(&gateway, KEY);
    assert!(gateway.runs());
}

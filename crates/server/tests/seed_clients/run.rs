//! Running one test of the client in Go.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use axum::{Router, routing::post};
use busgate::Server;
use busgate_core::Transport;
use busgate_transports_memory::{MemoryConfig, MemoryTransport};

/// The test whose gateway is not the binary.
pub(crate) const LOST: &str = "TestALostBackEndEndsAStreamWithUnavailable";

/// Runs a test, which must pass.
pub(crate) fn judged(test: &str, environment: &[(&str, String)]) {
    let output = client()
        .args(["-test.v", "-test.timeout=150s", "-test.run", &format!("^{test}$")])
        .env("BUSGATE_PROGRAM", env!("CARGO_BIN_EXE_busgate"))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("the client runs");
    let (told, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let passed = told.lines().any(|line| line.starts_with(&format!("--- PASS: {test} ")));
    assert!(output.status.success() && passed, "{test}: {}\n{told}\n{log}", output.status);
}

/// Every test there is, sorted.
pub(crate) fn tests() -> Vec<String> {
    let output = client().args(["-test.list", "."]).output().expect("the client runs");
    let mut tests: Vec<String> =
        String::from_utf8_lossy(&output.stdout).lines().map(ToOwned::to_owned).collect();
    tests.sort_unstable();
    tests
}

/// Runs the test that loses what is behind the gateway, by `POST /lose`.
pub(crate) async fn judged_on_a_back_end_to_lose() {
    let transport: Arc<dyn Transport> = MemoryTransport::new(MemoryConfig::default());
    let lost = Arc::clone(&transport);
    let lose = move || async move { lost.close().await.expect("it closes") };
    let server = Server::builder()
        .transport(transport)
        .http(([127, 0, 0, 1], 0).into())
        .grpc(([127, 0, 0, 1], 0).into())
        .routes(Router::new().route("/lose", post(lose)))
        .start()
        .await
        .expect("it starts");
    let addresses = server.addresses();
    let [grpc, http] = [addresses.grpc, addresses.http].map(|at| at.expect("a listener").to_string());
    let run = move || judged(LOST, &[("BUSGATE_GRPC", grpc), ("BUSGATE_HTTP", http)]);
    tokio::task::spawn_blocking(run).await.expect("it passes");
}

fn client() -> Command {
    let folder: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools/seed_client");
    let program = folder.join("seed-client");
    assert!(program.exists(), "{} is missing: run `cargo xtask tools`", program.display());
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    command
}

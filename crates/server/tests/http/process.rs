//! The binary: it starts, says so, and goes away in good order.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, ChildStderr, Command, Stdio},
};

use crate::client::Call;

struct Process {
    child: Child,
    stderr: BufReader<ChildStderr>,
    log: String,
    http: SocketAddr,
}

impl Process {
    fn start(folder: &std::path::Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_busgate"))
            .args(["serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--log-format", "json"])
            .args(more)
            .current_dir(folder)
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        let ready = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended: {log}");
            log.push_str(&line);
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "ready" {
                break line;
            }
        };
        let http = ready["http"].as_str().unwrap().parse().unwrap();
        Self { child, stderr, log, http }
    }

    fn signal(&self, name: &str) {
        let told = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    /// The exit code and everything it logged.
    fn end(mut self) -> (Option<i32>, String) {
        self.stderr.read_to_string(&mut self.log).unwrap();
        (self.child.wait().unwrap().code(), self.log)
    }
}

#[tokio::test]
async fn it_serves_its_durable_log_by_default_and_drains_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]);
    Call::new(process.http, "POST", "/v1/events/a").send().await.expect(200);
    Call::new(process.http, "POST", "/v1/events/a/messages").body("kept").send().await.expect(200);
    assert_eq!(Call::new(process.http, "GET", "/readyz").send().await.status, 200);
    process.signal("-TERM");
    let (code, log) = process.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("no API keys are configured") && log.contains("draining") && log.contains("done"));
    assert!(folder.path().join("busgate-data/ack_secret").exists());
    let again = Process::start(folder.path(), &[]);
    let held = Call::new(again.http, "GET", "/v1/events/a/messages").send().await.expect(200);
    assert_eq!(held["messages"][0]["payload"], "a2VwdA==");
    again.signal("-INT");
    assert_eq!(again.end().0, Some(0));
}

#[tokio::test]
async fn while_it_drains_it_is_not_ready_and_a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--transport", "memory:"]);
    Call::new(process.http, "POST", "/v1/events/a").send().await.expect(200);
    Call::new(process.http, "POST", "/v1/events/a/messages").body("held").send().await.expect(200);
    let path = "/v1/events/a/stream?ack=manual&start_from=beginning&delivery_mode=worker_pool";
    let mut holder = Call::new(process.http, "GET", path).stream().await;
    holder.next_of("message").await;
    process.signal("-TERM");
    holder.next_of("draining").await;
    Call::new(process.http, "GET", "/readyz").send().await.expect_problem(503, "unavailable");
    assert_eq!(Call::new(process.http, "GET", "/healthz").send().await.status, 200);
    let refused = Call::new(process.http, "POST", "/v1/events/a/messages").body("x").send().await;
    refused.expect_problem(503, "unavailable");
    assert_ne!(refused.header("retry-after"), "");
    process.signal("-TERM");
    let (code, log) = process.end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("told twice"));
}

#[tokio::test]
async fn a_drain_ends_as_soon_as_what_is_in_flight_is_acked() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--transport", "memory:"]);
    Call::new(process.http, "POST", "/v1/events/a").send().await.expect(200);
    Call::new(process.http, "POST", "/v1/events/a/messages").body("held").send().await.expect(200);
    let path = "/v1/events/a/stream?ack=manual&start_from=beginning&delivery_mode=worker_pool";
    let mut holder = Call::new(process.http, "GET", path).stream().await;
    let ack_id = holder.next_of("message").await.data["ack_id"].as_str().unwrap().to_owned();
    process.signal("-TERM");
    holder.next_of("draining").await;
    let body = format!(r#"{{"entries":[{{"ack_id":"{ack_id}"}}]}}"#);
    let settled =
        Call::new(process.http, "POST", "/v1/ack").header("content-type", "application/json").body(body);
    assert_eq!(settled.send().await.expect(200)["results"][0]["status"], "acked");
    assert_eq!(holder.next().await, None);
    assert_eq!(process.end().0, Some(0));
}

#[tokio::test]
async fn a_data_directory_in_use_is_named_and_exits_69() {
    let folder = tempfile::tempdir().unwrap();
    let first = Process::start(folder.path(), &[]);
    let second = Command::new(env!("CARGO_BIN_EXE_busgate"))
        .args(["serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(69));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("busgate-data"), "{said}");
    first.signal("-TERM");
    first.end();
}

//! `busgate serve` as a process, one of several on a broker.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use busgate_client::{RemoteTransport, Transport};
use serde_json::{Value, json};

use crate::client::{Answer, Call, EventStream};

/// How long a node may take to be ready, or to be gone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// What all nodes of one broker share beside it.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A running gateway; dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Node {
    process: Child,
    url: String,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
}

impl Node {
    /// Starts one on the broker at `url`, which may not be there yet, and waits until it is ready.
    pub(crate) fn serve(url: &str) -> Self {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::serve_at(url, [anywhere, anywhere])
    }

    fn serve_at(url: &str, addresses: [SocketAddr; 2]) -> Self {
        let mut process = command(url, addresses).arg("--wait").spawn().expect("the gateway starts");
        let stderr = process.stderr.take().expect("its log");
        let (send, addresses) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("{line}");
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                if line["message"] == "ready" {
                    let address = |name: &str| line[name].as_str().and_then(|address| address.parse().ok());
                    send.send((address("http"), address("grpc"))).ok();
                }
            }
        });
        let Ok((Some(http), Some(grpc))) = addresses.recv_timeout(PATIENCE) else {
            process.kill().ok();
            panic!("the gateway did not say that it is ready");
        };
        Self { process, url: url.to_owned(), http, grpc }
    }

    /// Kills it (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Ends it in good order (SIGTERM).
    pub(crate) fn drain(&mut self) {
        let told = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(told.success());
        for _ in 0..PATIENCE.as_millis() / 20 {
            if let Some(status) = self.process.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0), "a drain");
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the gateway does not go");
    }

    /// Starts it again, at the same addresses.
    pub(crate) fn start_again(&mut self) {
        *self = Self::serve_at(&self.url, [self.http, self.grpc]);
    }

    /// A call over REST.
    pub(crate) fn call(&self, method: &str, path: &str) -> Call {
        Call::new(self.http, method, path)
    }

    pub(crate) async fn register(&self, event: &str) {
        let register = async || self.call("POST", &format!("/v1/events/{event}")).send().await;
        let mut answer = register().await;
        // A broker that has just started may not be quite there.
        for _ in 0..4 {
            if answer.status < 500 {
                break;
            }
            answer = register().await;
        }
        answer.expect(200);
    }

    pub(crate) async fn try_publish(&self, event: &str, text: &str) -> Answer {
        self.call("POST", &format!("/v1/events/{event}/messages")).body(text.to_owned()).send().await
    }

    pub(crate) async fn publish(&self, event: &str, text: &str) {
        self.try_publish(event, text).await.expect(200);
    }

    /// A worker that acks by hand.
    pub(crate) async fn worker(&self, event: &str, ack_wait: &str) -> EventStream {
        self.worker_of(event, ack_wait, 8).await
    }

    /// A worker that acks by hand and may hold `window` messages.
    pub(crate) async fn worker_of(&self, event: &str, ack_wait: &str, window: usize) -> EventStream {
        let path = format!(
            "/v1/events/{event}/stream?ack=manual&delivery_mode=worker_pool&worker_group=workers\
             &start_from=beginning&max_in_flight={window}&encoding=text&ack_wait={ack_wait}"
        );
        // A group that has just lost a node may have to wait until the broker has noticed.
        for _ in 0..4 {
            if let Ok(stream) = self.call("GET", &path).try_stream().await {
                return stream;
            }
        }
        self.call("GET", &path).stream().await
    }

    /// What became of a delivery, by its status; asked again for as long as the answer is to do so.
    pub(crate) async fn settle(&self, ack_id: &str, more: Value) -> String {
        for _ in 0..20 {
            let status = self.settle_once(ack_id, &more).await;
            if status != "unavailable" {
                return status;
            }
        }
        "unavailable".to_owned()
    }

    async fn settle_once(&self, ack_id: &str, more: &Value) -> String {
        let mut entry = json!({ "ack_id": ack_id });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let body = json!({ "entries": [entry] }).to_string();
        let call = self.call("POST", "/v1/ack").header("content-type", "application/json").body(body);
        let answer = call.send().await.expect(200);
        answer["results"][0]["status"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn ack(&self, ack_id: &str) -> String {
        self.settle(ack_id, json!({})).await
    }

    /// A client over gRPC that comes back by itself, and goes to the others when this node is gone.
    pub(crate) async fn remote(&self, others: &[&Self]) -> Arc<dyn Transport> {
        let builder = RemoteTransport::builder(self.grpc_url())
            .retry(30, Duration::from_millis(20), Duration::from_millis(500))
            .call_timeout(Duration::from_secs(10))
            .deadline(PATIENCE - Duration::from_secs(10))
            .subscribe_reconnect(true, Duration::from_millis(20))
            .subscribe_max_errors(0)
            .no_circuit_breaker();
        let builder = others.iter().fold(builder, |builder, other| builder.endpoint(other.grpc_url()));
        builder.connect().await.unwrap()
    }

    fn grpc_url(&self) -> String {
        format!("http://{}", self.grpc)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SIGKILL, on Unix.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// `busgate serve` on the broker at `url`, as it can be started.
pub(crate) fn command(url: &str, [http, grpc]: [SocketAddr; 2]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_busgate"));
    command
        .args(["serve", "--transport", url, "--log-format", "json"])
        .args(["--http", &http.to_string(), "--grpc", &grpc.to_string()])
        .env_clear()
        .env("BUSGATE_ACK_SECRET", SECRET)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    command
}

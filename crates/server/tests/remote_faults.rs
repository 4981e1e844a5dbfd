//! The real binary, killed with SIGKILL again and again under the load of clients in Rust.

#[cfg(test)]
#[allow(dead_code, reason = "shared with the fault suite of the client")]
#[path = "../../client/tests/faults/ledger.rs"]
mod ledger;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the fault suite of the client")]
#[path = "../../client/tests/faults/load.rs"]
mod load;

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        path::Path,
        process::{Child, Command, Stdio},
        thread,
        time::Duration,
    };

    use busgate_client::{EventConfig, EventName, RemoteTransport, Transport};

    use crate::load::Load;

    /// How often it is killed.
    const KILLS: usize = 5;

    /// How many publishes are answered between two kills.
    const PROGRESS: usize = 60;

    /// How long the binary may take to be ready.
    const READY: Duration = Duration::from_secs(30);

    /// `busgate serve` as a process; dropped, it is killed.
    #[derive(Debug)]
    struct Gateway {
        process: Child,
        grpc: String,
    }

    impl Gateway {
        /// Starts it on `grpc`, over the log in `folder`, and waits until it says that it is ready.
        fn serve(folder: &Path, grpc: &str) -> Self {
            let mut process = Command::new(env!("CARGO_BIN_EXE_busgate"))
                .args(["serve", "--http", "127.0.0.1:0", "--grpc", grpc, "--log-format", "json"])
                .current_dir(folder)
                .stdin(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the gateway starts");
            let stderr = process.stderr.take().expect("its log");
            let (send, address) = std::sync::mpsc::channel();
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    eprintln!("gateway: {line}");
                    if let Some(found) = address_in(&line) {
                        send.send(found).ok();
                    }
                }
            });
            let Ok(grpc) = address.recv_timeout(READY) else {
                process.kill().ok();
                panic!("the gateway did not say that it is ready");
            };
            Self { process, grpc }
        }
    }

    impl Drop for Gateway {
        fn drop(&mut self) {
            // SIGKILL, on Unix.
            self.process.kill().ok();
            self.process.wait().ok();
        }
    }

    fn address_in(line: &str) -> Option<String> {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let field = line.get("grpc").or_else(|| line.get("fields")?.get("grpc"))?;
        field.as_str().map(ToOwned::to_owned)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn killed_under_clients_nothing_answered_is_lost_or_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::serve(folder.path(), "127.0.0.1:0");
        let grpc = gateway.grpc.clone();
        let mut running = Some(gateway);
        let bus = RemoteTransport::builder(format!("http://{grpc}"))
            .retry(20, Duration::from_millis(20), Duration::from_millis(500))
            .subscribe_reconnect(true, Duration::from_millis(20))
            .subscribe_max_errors(0)
            .no_circuit_breaker()
            .connect()
            .await
            .unwrap();
        let orders = EventName::new("orders").unwrap();
        bus.register(&orders, &EventConfig::default()).await.unwrap();
        let load = Load::new(bus, orders, "run", Duration::from_secs(40));
        let harm = async {
            for _ in 0..KILLS {
                load.advance(PROGRESS).await;
                drop(running.take());
                running = Some(tokio::task::block_in_place(|| Gateway::serve(folder.path(), &grpc)));
            }
            load.advance(PROGRESS).await;
        };
        let sum = Box::pin(load.under(harm)).await.unwrap();
        assert!(sum.messages > KILLS * PROGRESS, "{sum:?}");
    }
}

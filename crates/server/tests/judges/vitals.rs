//! What a gateway holds: memory, files, connections, subscriptions' sessions.

use std::{fs, time::Duration};

use tokio::time::{Instant, sleep};

use super::{gateway::Gateway, raw};

/// What is held at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    /// Megabytes of memory.
    pub(crate) memory: u64,
    pub(crate) files: usize,
    pub(crate) connections: u64,
    pub(crate) sessions: u64,
}

impl Vitals {
    /// How it is now. The connection that asks is counted.
    pub(crate) async fn of(gateway: &Gateway) -> Self {
        let status =
            fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("a running process");
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = kilobytes.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        let metrics =
            raw::ask(gateway.http, "GET /metrics HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n").await;
        let gauge = |name: &str| {
            let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            value.unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
        };
        Self {
            memory: kilobytes.expect("a size") / 1024,
            files: fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("its files").count(),
            connections: gauge("busgate_connections "),
            sessions: gauge("busgate_sessions "),
        }
    }

    /// Waits until the gateway holds no more than before, but for some megabytes; what it holds then.
    pub(crate) async fn return_to(self, gateway: &Gateway, spare: u64) -> Self {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let now = Self::of(gateway).await;
            let back = now.files <= self.files + FEW
                && now.connections <= self.connections + FEW as u64
                && now.sessions <= self.sessions
                && now.memory <= self.memory + spare;
            if back {
                eprintln!("before {self:?}, after {now:?}");
                return now;
            }
            assert!(Instant::now() < deadline, "before {self:?}, and still {now:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Those of the client that works meanwhile.
const FEW: usize = 4;

//! Redis and Valkey.

use std::{path::Path, time::Duration};

use crate::{
    Broker, Error, Result,
    broker::{Fill, Plan},
    place::{free_port, local, program},
};

mod cluster;
mod sentinel;

pub use self::{cluster::RedisCluster, sentinel::RedisSentinel};

const READY: &str = "Ready to accept connections";
const WITHIN: Duration = Duration::from_secs(20);

/// A Redis to be, without persistence unless told.
#[derive(Debug, Clone)]
pub struct Redis {
    program: &'static str,
    lines: Vec<String>,
    tls: bool,
}

impl Redis {
    /// Redis 7.0.
    #[must_use]
    pub fn v7_0() -> Self {
        Self::of("brokers/redis-7.0/redis-server")
    }

    /// Redis 8.2. It knows no TLS.
    #[must_use]
    pub fn v8_2() -> Self {
        Self::of("brokers/redis-8.2/redis-server")
    }

    /// Valkey 9. It knows no TLS.
    #[must_use]
    pub fn valkey_9() -> Self {
        Self::of("brokers/valkey-9/valkey-server")
    }

    fn of(program: &'static str) -> Self {
        Self { program, lines: vec![r#"save """#.into()], tls: false }
    }

    /// Adds a line as `redis.conf` has it: `requirepass secret`, `user alice on >secret ~* &* +@all`, …
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Writes everything to an append-only file, and syncs it before it answers.
    #[must_use]
    pub fn durable(self) -> Self {
        self.line("appendonly yes").line("appendfsync always")
    }

    /// Speaks TLS alone, by these files; a client has to show a certificate of the authority when `mutual`.
    #[must_use]
    pub fn tls(mut self, certificate: &Path, key: &Path, authority: &Path, mutual: bool) -> Self {
        self.tls = true;
        self.line(format!("tls-cert-file {}", certificate.display()))
            .line(format!("tls-key-file {}", key.display()))
            .line(format!("tls-ca-cert-file {}", authority.display()))
            .line(format!("tls-auth-clients {}", if mutual { "yes" } else { "no" }))
    }

    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// Where the program is missing or does not serve.
    pub fn start(&self) -> Result<Broker> {
        Broker::start_by(|folder| self.plan(folder, free_port()?))
    }

    fn plan(&self, folder: &Path, port: u16) -> Result<Plan> {
        let listen = if self.tls { format!("port 0\ntls-port {port}") } else { format!("port {port}") };
        let lines = self.lines.join("\n");
        let conf = format!("bind 127.0.0.1\n{listen}\ndir data\n{lines}\n");
        Ok(Plan {
            name: "redis",
            scheme: if self.tls { "rediss" } else { "redis" },
            ..planned(folder, self.program, port, &conf)?
        })
    }
}

/// A server of the family, by its configuration.
fn planned(folder: &Path, place: &str, port: u16, conf: &str) -> Result<Plan> {
    let path = folder.join("redis.conf");
    std::fs::write(&path, conf).map_err(Error::during("write redis.conf"))?;
    Ok(Plan {
        name: "redis",
        scheme: "redis",
        address: local(port),
        program: program(place)?,
        arguments: vec![path.into()],
        ready: READY,
        within: WITHIN,
        fill: Fill::Nothing,
    })
}

/// What a server answers to a command.
fn ask(port: u16, command: &[&str]) -> Result<String> {
    let output = std::process::Command::new(program("brokers/redis-7.0/redis-cli")?)
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(command)
        .output()
        .map_err(Error::during("redis-cli"))?;
    let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // redis-cli succeeds with the errors of a server too.
    if output.status.success() && !answer.starts_with("ERR") { Ok(answer) } else { Err(Error::new(answer)) }
}

/// The addresses of all these as one part of a URL.
fn authority(brokers: &[Broker]) -> String {
    let addresses: Vec<String> = brokers.iter().map(|broker| broker.address().to_string()).collect();
    addresses.join(",")
}

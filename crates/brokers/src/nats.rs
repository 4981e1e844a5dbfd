//! NATS with JetStream.

use std::{path::Path, time::Duration};

use crate::{
    Broker, Error, Result,
    broker::{Fill, Plan},
    place::{free_port, local, program},
};

mod cluster;

pub use self::cluster::NatsCluster;

const WITHIN: Duration = Duration::from_secs(30);

/// A NATS server to be.
#[derive(Debug, Clone)]
pub struct Nats {
    program: &'static str,
    scheme: &'static str,
    jetstream: String,
    lines: String,
}

impl Nats {
    /// NATS 2.15.
    #[must_use]
    pub fn v2_15() -> Self {
        Self::of("python/bin/nats-server")
    }

    /// NATS 2.9.
    #[must_use]
    pub fn v2_9() -> Self {
        Self::of("brokers/nats-2.9/nats-server")
    }

    fn of(program: &'static str) -> Self {
        Self { program, scheme: "nats", jetstream: String::new(), lines: String::new() }
    }

    /// Syncs every message before it answers. NATS 2.9 can't.
    #[must_use]
    pub fn durable(self) -> Self {
        self.jetstream("sync_interval: always")
    }

    /// Adds a line to the `jetstream` part of its configuration.
    #[must_use]
    pub fn jetstream(mut self, line: &str) -> Self {
        self.jetstream.push_str(line);
        self.jetstream.push('\n');
        self
    }

    /// Adds to its configuration: `authorization { … }`, `operator: …`, `max_payload: …`, …
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push_str(line);
        self.lines.push('\n');
        self
    }

    /// Speaks TLS, by these files; a client has to show a certificate of the authority when `mutual`.
    #[must_use]
    pub fn tls(mut self, certificate: &Path, key: &Path, authority: &Path, mutual: bool) -> Self {
        self.scheme = "tls";
        self.line(&format!(
            "tls {{\n cert_file: {certificate:?}\n key_file: {key:?}\n ca_file: {authority:?}\n verify: {mutual}\n}}"
        ))
    }

    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// Where the program is missing or does not serve.
    pub fn start(&self) -> Result<Broker> {
        Broker::start_by(|folder| self.plan(folder, free_port()?))
    }

    fn plan(&self, folder: &Path, port: u16) -> Result<Plan> {
        let Self { jetstream, lines, .. } = self;
        let path = folder.join("nats.conf");
        // A payload of the largest size promised and its headers, which count as well, are more than the default takes.
        let payload = if lines.contains("max_payload") { "" } else { "max_payload: 8MB\n" };
        let conf = format!(
            "listen: \"127.0.0.1:{port}\"\n{payload}jetstream {{\nstore_dir: \"data\"\n{jetstream}}}\n{lines}"
        );
        std::fs::write(&path, conf).map_err(Error::during("write nats.conf"))?;
        Ok(Plan {
            name: "nats",
            scheme: self.scheme,
            address: local(port),
            program: program(self.program)?,
            arguments: vec!["--config".into(), path.into()],
            ready: "Server is ready",
            within: WITHIN,
            fill: Fill::Nothing,
        })
    }
}

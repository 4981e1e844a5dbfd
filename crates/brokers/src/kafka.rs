//! Apache Kafka: one node that is broker and controller, from the jars that `cargo xtask tools` installs.

use std::{ffi::OsString, net::SocketAddr, path::Path, time::Duration};

use crate::{
    Broker, Error, Result,
    broker::{Fill, Plan},
    place::{free_port, local, program},
};

mod java;
mod properties;

pub use self::java::prepare;

const HOME: &str = "kafka";
const WITHIN: Duration = Duration::from_secs(90);

/// A Kafka to be.
#[derive(Debug, Clone, Default)]
pub struct Kafka {
    listeners: Vec<Listener>,
    properties: String,
    scram: Vec<OsString>,
}

/// One more place where a Kafka listens.
#[derive(Debug, Clone)]
pub struct Listener {
    /// `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`; it is the listener's name too, save for `PLAINTEXT`, whose
    /// name is `OTHER`.
    pub protocol: &'static str,
    /// Its port, which is to be free.
    pub port: u16,
    /// Where clients are told to find it: of a [`Link`](crate::Link) before it, if there is one.
    pub advertised: SocketAddr,
}

impl Kafka {
    /// One that listens without TLS and passwords.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has it listen at one more place.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Adds a line to `server.properties`; the last line of a key wins.
    #[must_use]
    pub fn property(mut self, key: &str, value: &str) -> Self {
        self.properties.push_str(&format!("{key}={value}\n"));
        self
    }

    /// Has it know a user by SCRAM: `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    #[must_use]
    pub fn scram(mut self, mechanism: &str, user: &str, password: &str) -> Self {
        let credential = format!("{mechanism}=[name={user},password={password}]");
        self.scram.extend(["--add-scram".into(), credential.into()]);
        self
    }

    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// Where the jars or Java are missing, or it does not serve.
    pub fn start(&self) -> Result<Broker> {
        let home = program(HOME)?;
        Broker::start_by(|folder| self.plan(&home, folder, java::Start::Fast))
    }

    fn plan(&self, home: &Path, folder: &Path, start: java::Start) -> Result<Plan> {
        let port = free_port()?;
        let path = folder.join("server.properties");
        let text = properties::text(port, &folder.join("data"), &self.listeners) + &self.properties;
        std::fs::write(&path, text).map_err(Error::during("write server.properties"))?;
        let template = home.join("template");
        let fill = if self.scram.is_empty() && template.exists() {
            Fill::Copy(template)
        } else {
            Fill::Run(java::format(home, &path, &self.scram)?)
        };
        Ok(Plan {
            name: "kafka",
            scheme: "kafka",
            address: local(port),
            program: java::PROGRAM.into(),
            arguments: java::serve(home, &path, start)?,
            ready: "Kafka Server started",
            within: WITHIN,
            fill,
        })
    }
}

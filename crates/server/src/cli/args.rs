//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The gate to every event bus: gRPC, REST, WebSocket and SSE over any transport.
#[derive(Debug, Parser)]
#[command(name = "busgate", version, disable_help_subcommand = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve the gateway.
    Serve(Serve),
    /// Check a configuration, or list every key with its default.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Tell the version.
    Version,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say what is wrong with a configuration file; exit 64 when something is.
    Check {
        /// A TOML file.
        file: PathBuf,
    },
    /// Write every key with its default, its bounds and its environment variable.
    Defaults,
}

/// Flags win over BUSGATE_… environment variables, and those over the file. `busgate config defaults` lists all keys.
#[derive(Args, Debug)]
pub(super) struct Serve {
    /// The configuration file, in TOML (BUSGATE_CONFIG).
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Where messages live: memory: or log:DIR [default: log:./busgate-data].
    #[arg(long, value_name = "URL")]
    transport: Option<String>,
    /// Where REST, SSE and WebSocket are served [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Where gRPC is served [default: 127.0.0.1:9090].
    #[arg(long, value_name = "ADDR")]
    grpc: Option<String>,
    /// Where metrics and probes are served, instead of with REST.
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// The directory of the embedded log.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// For trying things out: keeps messages in memory unless --transport says otherwise, and logs more.
    #[arg(long)]
    dev: bool,
    /// Run demo generators (not supported yet).
    #[arg(long)]
    pub(super) demo: bool,
    /// text or json [default: text on a terminal, else json].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// error, warn, info, debug, trace [default: info].
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Serve {
    /// What the flags set, by key.
    pub(super) fn flags(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("transport", &self.transport),
            ("http", &self.http),
            ("grpc", &self.grpc),
            ("admin", &self.admin),
            ("data_dir", &self.data_dir),
            ("log_format", &self.log_format),
            ("log_level", &self.log_level),
        ];
        let mut flags: Vec<_> =
            texts.into_iter().filter_map(|(key, text)| Some((key, text.clone()?))).collect();
        if self.dev {
            flags.push(("dev", "true".into()));
        }
        flags
    }
}

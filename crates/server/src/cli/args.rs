//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Publish a message.
    Pub(Publish),
    /// Subscribe, and write each message as a line.
    Sub(Subscribe),
    /// List, register or unregister events.
    Events(Events),
    /// Settle deliveries by their ack ids.
    Ack(Ack),
    /// Ask how a gateway is; exit 1 when it is not well.
    Health(Target),
    /// Tell what each transport can do, as a table.
    Capabilities,
    /// Publish as fast as it goes, and tell how fast that was.
    Bench(Bench),
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
    /// Where messages live: log:DIR, memory:, redis://…, nats://… or kafka://… [default: log:./busgate-data].
    #[arg(long, value_name = "URL")]
    transport: Option<String>,
    /// Keep trying when the transport can't be reached at the start, instead of ending with exit code 69.
    #[arg(long)]
    wait: bool,
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
    /// How many threads do the work [default: one a core].
    #[arg(long, value_name = "COUNT")]
    threads: Option<String>,
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
            ("threads", &self.threads),
            ("log_format", &self.log_format),
            ("log_level", &self.log_level),
        ];
        let mut flags: Vec<_> =
            texts.into_iter().filter_map(|(key, text)| Some((key, text.clone()?))).collect();
        let switches = [("dev", self.dev), ("wait", self.wait)];
        flags.extend(switches.into_iter().filter(|(_, on)| *on).map(|(key, _)| (key, "true".into())));
        flags
    }
}

/// Which gateway, and as whom.
#[derive(Args, Debug)]
pub(super) struct Target {
    /// The gRPC address of a gateway (BUSGATE_SERVER) [default: http://127.0.0.1:9090].
    #[arg(long, value_name = "URL", global = true)]
    pub(super) server: Option<String>,
    /// An API key (BUSGATE_API_KEY).
    #[arg(long, value_name = "KEY", global = true)]
    pub(super) api_key: Option<String>,
}

/// A message to publish.
#[derive(Args, Debug)]
pub(super) struct Publish {
    #[command(flatten)]
    pub(super) target: Target,
    /// The event.
    pub(super) event: String,
    /// The payload; stdin when it is `-`, or nothing names one.
    #[arg(conflicts_with_all = ["data", "file"])]
    pub(super) payload: Option<String>,
    /// The payload, as it is.
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    pub(super) data: Option<String>,
    /// The file whose bytes are the payload.
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// The message's id.
    #[arg(long)]
    pub(super) id: Option<String>,
    /// What orders and partitions it.
    #[arg(long)]
    pub(super) key: Option<String>,
    /// The media type of the payload.
    #[arg(long, value_name = "TYPE")]
    pub(super) content_type: Option<String>,
    /// Metadata; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) meta: Vec<String>,
    /// Register the event first, if it is not known.
    #[arg(long)]
    pub(super) register: bool,
}

/// A subscription.
#[derive(Args, Debug)]
pub(super) struct Subscribe {
    #[command(flatten)]
    pub(super) target: Target,
    /// The event, or a pattern like `orders.>`.
    pub(super) event: String,
    /// beginning, latest, a time (2026-01-02T15:04:05Z), or the cursor to start after.
    #[arg(long, value_name = "WHERE")]
    pub(super) from: Option<String>,
    /// Share the work with the others of this group.
    #[arg(long)]
    pub(super) group: Option<String>,
    /// Keep the place under this name.
    #[arg(long)]
    pub(super) consumer: Option<String>,
    /// End after so many messages.
    #[arg(long)]
    pub(super) count: Option<u32>,
    /// Ack each message once it is written, or leave that to `busgate ack`.
    #[arg(long, value_enum, default_value_t = Acking::Auto)]
    pub(super) ack: Acking,
    /// Write each message as a line of JSON.
    #[arg(long, conflicts_with = "raw")]
    pub(super) json: bool,
    /// Write only the payloads, as they are.
    #[arg(long)]
    pub(super) raw: bool,
    /// Any other option of a subscription, as in a query: max_age=1h.
    #[arg(long = "option", value_name = "NAME=VALUE")]
    pub(super) options: Vec<String>,
}

/// Who acks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Acking {
    /// The command.
    Auto,
    /// The user.
    Manual,
}

/// Events.
#[derive(Args, Debug)]
pub(super) struct Events {
    #[command(flatten)]
    pub(super) target: Target,
    #[command(subcommand)]
    pub(super) action: Option<EventsAction>,
}

/// What to do with events; lists them unless said.
#[derive(Debug, Subcommand)]
pub(super) enum EventsAction {
    /// List those you may see.
    List,
    /// Make an event known.
    Register {
        /// The event.
        event: String,
    },
    /// Forget an event, and end its subscriptions.
    Unregister {
        /// The event.
        event: String,
    },
}

/// Deliveries to settle: acked unless said otherwise.
#[derive(Args, Debug)]
pub(super) struct Ack {
    #[command(flatten)]
    pub(super) target: Target,
    /// What the messages carried.
    #[arg(required = true)]
    pub(super) ack_ids: Vec<String>,
    /// Nack, because of this.
    #[arg(long, value_name = "TEXT")]
    pub(super) error: Option<String>,
    /// Nack, to come back after this long: 500ms, 30s.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["reject", "extend"])]
    pub(super) retry_after: Option<String>,
    /// To the dead letters.
    #[arg(long, conflicts_with = "extend")]
    pub(super) reject: bool,
    /// Let the lease run this long from now.
    #[arg(long, value_name = "TIME", conflicts_with = "error")]
    pub(super) extend: Option<String>,
}

/// A load to put on a gateway.
#[derive(Args, Debug)]
pub(super) struct Bench {
    #[command(flatten)]
    pub(super) target: Target,
    /// The event to publish to; it is registered if it is not known.
    #[arg(default_value = "bench")]
    pub(super) event: String,
    /// How many messages.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) messages: u64,
    /// How many bytes each.
    #[arg(long, default_value_t = 128)]
    pub(super) size: usize,
    /// How many wait for their answer at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) in_flight: u16,
}

//! A gateway as the client commands see it: through the client that every Rust program can use.

use std::{fmt, future::Future, process::ExitCode, sync::Arc};

use busgate_client::{ApiKey, Builder, RemoteTransport};
use busgate_core::{Error, ErrorKind, Result};

use super::{FAILED, UNREACHABLE, args::Target, complain};
use crate::config::Environment;

/// Where a gateway is unless somebody says.
const DEFAULT_SERVER: &str = "http://127.0.0.1:9090";

/// Connects to the gateway that the flags name, else the environment.
pub(super) async fn connect(target: &Target, environment: &Environment) -> Result<Arc<RemoteTransport>> {
    connect_with(target, environment, |builder| builder).await
}

/// Connects with more options.
pub(super) async fn connect_with(
    target: &Target,
    environment: &Environment,
    options: impl FnOnce(Builder) -> Builder,
) -> Result<Arc<RemoteTransport>> {
    let server =
        target.server.as_deref().or_else(|| environment.get("BUSGATE_SERVER")).unwrap_or(DEFAULT_SERVER);
    let mut builder =
        RemoteTransport::builder(server).user_agent(concat!("busgate/", env!("CARGO_PKG_VERSION")));
    if let Some(key) = target.api_key.as_deref().or_else(|| environment.get("BUSGATE_API_KEY")) {
        // Whoever names a plain address with a key means it.
        builder = builder.credentials(ApiKey::new(key)?).plaintext_credentials();
    }
    options(builder).connect().await.map_err(|error| match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Timeout => unreachable_at(server, error),
        _ => error,
    })
}

/// There was no gateway to answer at all.
#[derive(Debug)]
struct Unreachable(Error);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unreachable {}

fn unreachable_at(server: &str, error: Error) -> Error {
    let why = match error.message() {
        told if told.starts_with("can't reach") => told.to_owned(),
        told => format!("can't reach a gateway at {server}: {told}"),
    };
    Error::unavailable(why).with_source(Unreachable(error))
}

/// Runs a client command to its end.
pub(super) fn run(command: impl Future<Output = Result<ExitCode>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => Err(Error::internal("no runtime").with_source(error)),
    };
    ended.unwrap_or_else(|error| {
        complain(&format!("{}: {error}", error.kind()));
        ExitCode::from(if is_unreachable(&error) { UNREACHABLE } else { FAILED })
    })
}

fn is_unreachable(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<Unreachable>())
}

/// A local file or stream that failed.
pub(super) fn local(what: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Invalid, format!("{what}: {error}")).with_source(error)
}

/// The two parts of `NAME=VALUE`.
pub(super) fn pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str)> {
    text.split_once('=').ok_or_else(|| Error::invalid(format!("{flag} {text} must be NAME=VALUE")))
}

//! Load generators: one thread each, on a core of their own.

pub(crate) mod broker;
pub(crate) mod pool;
mod post;
mod subscribe;

use std::{net::SocketAddr, process::Command, time::Duration};

use clap::{Args, ValueEnum};

pub(crate) use self::{
    broker::{Acks, NATIVE},
    pool::Sizes,
};
use crate::{
    Failure,
    process::{LOAD_CORE, Server, pinned},
};

/// How long a load generator waits for something to happen before it looks again. Were it to sleep, the server would
/// pay for waking it, which costs more than a send, on every message when the server is slower than the generator and on
/// none when it is faster. Clients on other machines are not woken by the server's processor.
const NEVER_SLEEPS: Duration = Duration::ZERO;

#[derive(Debug, Args)]
pub(crate) struct Options {
    kind: Kind,
    #[arg(long)]
    address: SocketAddr,
    /// How many connections publish, or subscribe.
    #[arg(long)]
    connections: usize,
    /// Seconds.
    #[arg(long)]
    seconds: f64,
    /// Payload bytes.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Messages a second; without it as many as a window of 8 lets through.
    #[arg(long)]
    rate: Option<f64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// POST on every connection, one request at a time.
    Post,
    /// Subscribe by SSE, publish on one more connection.
    Sse,
    /// Subscribe by WebSocket with automatic acks, publish on one more connection.
    Websocket,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    match options.kind {
        Kind::Post => post::run(options),
        Kind::Sse => subscribe::run(options, subscribe::SSE),
        Kind::Websocket => subscribe::run(options, subscribe::WEBSOCKET),
    }
}

/// A load generator of its own process: `kind` is what it does, `rate` as in [`Options`].
pub(crate) fn command(
    kind: &str,
    server: &Server,
    connections: usize,
    seconds: f64,
    rate: Option<f64>,
) -> Result<Command, Failure> {
    let mut load = pinned(LOAD_CORE, &std::env::current_exe()?);
    load.args(["load", kind, "--address", &server.address.to_string()]);
    load.args(["--connections", &connections.to_string(), "--seconds", &seconds.to_string()]);
    load.args(rate.map(|rate| format!("--rate={rate}")));
    Ok(load)
}

/// The load on a worker pool, as a process of its own: see [`pool::Options`] for the target.
pub(crate) fn pool_command(target: &str, typed: bool, sizes: &Sizes) -> Result<Command, Failure> {
    let mut load = pinned(LOAD_CORE, &std::env::current_exe()?);
    load.args(["pool-load", target]).args(sizes.arguments());
    load.args(typed.then_some("--typed"));
    Ok(load)
}

/// The load on a broker, as a process of its own: see [`broker::Options`] for the target and the event.
pub(crate) fn broker_command(
    target: &str,
    event: &str,
    acks: Acks,
    sizes: &Sizes,
) -> Result<Command, Failure> {
    let mut load = Command::new(std::env::current_exe()?);
    load.args(["broker-load", target, event, "--acks", acks.name()]).args(sizes.arguments());
    Ok(load)
}

/// The length of the first whole HTTP/1.1 message with a content-length (or none) in `bytes`.
pub(crate) fn http_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(bytes.get(..head)?).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = head + length.unwrap_or_default();
    (bytes.len() >= whole).then_some(whole)
}

/// A request that publishes `payload` to the event of the benchmarks.
fn publish_request(payload: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /v1/events/bench/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
        payload.len()
    )
    .into_bytes();
    request.extend_from_slice(payload);
    request
}

//! A gateway of its own: the embedded log, every door, default ports.
//!
//! `cargo run --example standalone`, then
//! `curl -X POST localhost:8080/v1/events/orders.created` and
//! `curl localhost:8080/v1/events/orders.created/messages -d hello`.

use busgate::{Config, Environment, Server, Sources, telemetry};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sources = Sources { environment: Environment::process(), ..Sources::none() };
    let config = Config::read(&sources).map_err(|errors| format!("{errors:?}"))?;
    telemetry::init(&config.log);

    let server = Server::builder().config(config).start().await?;
    eprintln!("serving {:?}, until ctrl-c", server.addresses());

    tokio::signal::ctrl_c().await?;
    server.shutdown().await?;
    Ok(())
}

//! A web page that follows an event with EventSource, and works through another with WebSocket and acks.
//!
//! `cargo run --example dashboard`, then open http://localhost:8080/. `BUSGATE_HTTP` moves it elsewhere.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, response::Html, routing::get};
use busgate::{Config, Environment, Server, Sources};
use busgate_core::{Caller, Draft, Error, EventConfig, EventName, Gateway};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sources = Sources { environment: Environment::process(), ..Sources::none() };
    let config = Config::read(&sources).map_err(|errors| format!("{errors:?}"))?;
    let http: SocketAddr = config.http;
    let page = Router::new().route("/", get(|| async { Html(include_str!("index.html")) }));

    let server = Server::builder()
        .transport(MemoryTransport::new(MemoryConfig::default()))
        .http(http)
        .routes(page)
        .start()
        .await?;
    if let Some(address) = server.addresses().http {
        eprintln!("open http://{address}/");
    }

    tokio::select! {
        failed = measure(server.gateway()) => failed?,
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    server.shutdown().await?;
    Ok(())
}

/// Publishes what the gateway does, once a second.
async fn measure(gateway: &Gateway) -> Result<(), Error> {
    let (caller, figures, jobs) = (Caller::anonymous(), EventName::new("figures")?, EventName::new("jobs")?);
    for event in [&figures, &jobs] {
        gateway.register(&caller, event, &EventConfig::default()).await?;
    }
    loop {
        let stats = gateway.stats();
        let payload = json!({ "published": stats.published, "delivered": stats.delivered, "acked": stats.acked,
            "sessions": stats.sessions, "in_flight": stats.in_flight });
        let draft = Draft {
            payload: payload.to_string().into(),
            content_type: Some("application/json".into()),
            ..Draft::default()
        };
        gateway.publish_one(&caller, &figures, draft).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

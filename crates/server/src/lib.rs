//! busgate: gRPC, REST, WebSocket and SSE in front of any event bus.
//!
//! [`Server`] is the gateway with its doors open. The binary `busgate` runs one from a [`Config`]; another program
//! embeds one, over a transport and with an authorizer of its own:
//!
//! ```no_run
//! # async fn run(transport: std::sync::Arc<dyn busgate_core::Transport>) -> Result<(), Box<dyn std::error::Error>> {
//! let server = busgate::Server::builder().transport(transport).http(([127, 0, 0, 1], 8080).into()).start().await?;
//! // …
//! server.shutdown().await?;
//! # Ok(())
//! # }
//! ```

mod ack_secret;
mod app;
mod auth;
pub mod cli;
pub mod config;
mod doors;
mod drain;
/// What the fuzz targets look into; no part of the interface.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::doors::websocket::fuzzing::Conversation;
}
mod limits;
mod listen;
mod metrics;
mod registry;
mod server;
pub mod telemetry;

pub use self::{
    config::{ApiKey, Config, ConfigError, Environment, Sources},
    registry::TransportUrl,
    server::{Addresses, Server, ServerBuilder, StartError},
};

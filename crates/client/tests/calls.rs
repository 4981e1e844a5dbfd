//! Calls through the client to gateways in this process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(test)]
#[path = "calls/breaker.rs"]
mod breaker;
#[cfg(test)]
#[path = "calls/connection.rs"]
mod connection;
#[cfg(test)]
#[path = "calls/credentials.rs"]
mod credentials;
#[cfg(test)]
#[path = "calls/endpoints.rs"]
mod endpoints;
#[cfg(test)]
#[path = "calls/publish.rs"]
mod publish;
#[cfg(test)]
#[path = "calls/settle.rs"]
mod settle;
#[cfg(test)]
#[path = "calls/stage.rs"]
mod stage;
#[cfg(test)]
#[path = "calls/tls.rs"]
mod tls;

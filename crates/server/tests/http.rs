//! The HTTP doors through a real socket: REST, SSE, what stands before them, and the process around them.

#[path = "http/access.rs"]
mod access;
#[path = "http/ack.rs"]
mod ack;
#[path = "http/bounds.rs"]
mod bounds;
#[path = "http/client.rs"]
mod client;
#[path = "http/configuration.rs"]
mod configuration;
#[path = "http/events.rs"]
mod events;
#[path = "http/gate.rs"]
mod gate;
#[path = "http/messages.rs"]
mod messages;
#[path = "http/operation.rs"]
mod operation;
#[path = "http/problems.rs"]
mod problems;
#[path = "http/process.rs"]
mod process;
#[path = "http/sse.rs"]
mod sse;

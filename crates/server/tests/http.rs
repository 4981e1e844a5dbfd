//! The HTTP doors through a real socket: REST, SSE, what stands before them, and the process around them.

#[cfg(test)]
#[path = "http/access.rs"]
mod access;
#[cfg(test)]
#[path = "http/ack.rs"]
mod ack;
#[cfg(test)]
#[path = "http/bounds.rs"]
mod bounds;
#[cfg(test)]
#[path = "http/client.rs"]
mod client;
#[cfg(test)]
#[path = "http/configuration.rs"]
mod configuration;
#[cfg(test)]
#[path = "http/events.rs"]
mod events;
#[cfg(test)]
#[path = "http/gate.rs"]
mod gate;
#[cfg(test)]
#[path = "http/messages.rs"]
mod messages;
#[cfg(test)]
#[path = "http/operation.rs"]
mod operation;
#[cfg(test)]
#[path = "http/problems.rs"]
mod problems;
#[cfg(test)]
#[path = "http/process.rs"]
mod process;
#[cfg(test)]
#[path = "http/sse.rs"]
mod sse;

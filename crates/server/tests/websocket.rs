//! The WebSocket door through a real listener: every line of the contract's WebSocket section, and what goes wrong.

#[cfg(test)]
#[path = "websocket/client.rs"]
mod client;
#[cfg(test)]
#[path = "websocket/flow.rs"]
mod flow;
#[cfg(test)]
#[path = "websocket/gate.rs"]
mod gate;
#[cfg(test)]
#[path = "websocket/many.rs"]
mod many;
#[cfg(test)]
#[path = "websocket/one.rs"]
mod one;
#[cfg(test)]
#[path = "websocket/proto.rs"]
mod proto;
#[cfg(test)]
#[path = "websocket/protocol.rs"]
mod protocol;
#[cfg(test)]
#[path = "websocket/refusal.rs"]
mod refusal;

//! The ways in: each decodes its protocol, calls the gateway, and encodes what comes back.

pub(crate) mod body;
pub(crate) mod extract;
pub(crate) mod front;
pub(crate) mod grpc;
pub(crate) mod problem;
pub(crate) mod request_id;
pub(crate) mod rest;
pub(crate) mod sse;
pub(crate) mod websocket;

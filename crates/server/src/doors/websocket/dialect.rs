//! The two subprotocols: the same frames as JSON text or as protobuf binary.

use busgate_core::{Error, Outbound};
use busgate_wire::{
    convert,
    encoding::Encoding,
    frame::{BadFrame, ClientFrame, SUBPROTOCOL_JSON, SUBPROTOCOL_PROTO, ServerFrame},
    json,
};
use bytes::Bytes;

use super::{deflate, frame::Opcode, outbox::Outbox};

/// How frames are written on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Json,
    Proto,
}

impl Dialect {
    /// The dialect of a subprotocol.
    pub(super) fn of(subprotocol: &str) -> Option<Self> {
        match subprotocol {
            SUBPROTOCOL_JSON => Some(Self::Json),
            SUBPROTOCOL_PROTO => Some(Self::Proto),
            _ => None,
        }
    }

    /// Its subprotocol.
    pub(super) const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => SUBPROTOCOL_JSON,
            Self::Proto => SUBPROTOCOL_PROTO,
        }
    }

    /// The kind of WebSocket message it writes.
    pub(super) const fn opcode(self) -> Opcode {
        match self {
            Self::Json => Opcode::Text,
            Self::Proto => Opcode::Binary,
        }
    }

    /// Reads a text message.
    pub(super) fn read_text(self, text: &Bytes) -> Result<ClientFrame, BadFrame> {
        match self {
            Self::Json => json::read_client_frame(text),
            Self::Proto => Err(bad("this socket speaks protobuf in binary messages")),
        }
    }

    /// Reads a binary message.
    pub(super) fn read_binary(self, bytes: &Bytes) -> Result<ClientFrame, BadFrame> {
        match self {
            Self::Json => Err(bad("this socket speaks JSON in text messages")),
            Self::Proto => convert::read_client_frame(bytes),
        }
    }

    /// Writes a message; `sub` names its subscription on a socket that has many.
    pub(super) fn write_message(
        self,
        outbound: &Outbound,
        encoding: Encoding,
        sub: Option<&str>,
        into: &mut Outbox,
    ) {
        match self {
            Self::Json if into.deflates() && outbound.envelope.message.weight() >= deflate::LEAST_BYTES => {
                let (open, stored) = (deflate::open, deflate::stored);
                let parts = json::deflated_socket_message(outbound, encoding, sub, open, stored);
                into.push_deflated(Opcode::Text, parts.into_array());
            }
            Self::Json => {
                let parts = json::socket_message(outbound, encoding, sub);
                into.push(Opcode::Text, parts.into_array());
            }
            Self::Proto => {
                let message = convert::socket_message(outbound, sub);
                if into.deflates() && message.len() >= deflate::LEAST_BYTES {
                    into.push_deflated(Opcode::Binary, [deflate::whole(&message)]);
                } else {
                    into.push(Opcode::Binary, [message]);
                }
            }
        }
    }

    /// Writes a frame other than a message.
    pub(super) fn write(self, frame: &ServerFrame) -> Bytes {
        match self {
            Self::Json => json::write_server_frame(frame),
            Self::Proto => convert::write_server_frame(frame),
        }
    }
}

fn bad(why: &'static str) -> BadFrame {
    BadFrame { reference: None, error: Error::invalid(why) }
}

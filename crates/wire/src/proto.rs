//! The generated proto code, its service traits and clients, and the descriptors for reflection.
//!
//! Invariant: only this module and [`crate::convert`] name proto fields; everyone else passes whole messages on.

mod message;

/// The serialized `FileDescriptorSet` of every proto file here, imports included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Package `event`.
pub mod event {
    /// Package `event.v1`: the gRPC service and its messages.
    #[allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::all, reason = "generated")]
    #[allow(clippy::or_fun_call, clippy::use_self, clippy::too_many_lines, reason = "generated")]
    #[allow(clippy::semicolon_if_nothing_returned, clippy::needless_pass_by_value, reason = "generated")]
    pub mod v1 {
        pub use crate::proto::message::{Message, MessageFields, OwnFields, SharedFields};

        include!(concat!(env!("OUT_DIR"), "/event.v1.rs"));
    }
}

/// Package `busgate`.
pub mod busgate {
    /// Package `busgate.ws`.
    pub mod ws {
        /// Package `busgate.ws.v1`: the frames of the WebSocket subprotocol `busgate.v1.proto`.
        #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/busgate.ws.v1.rs"));
        }
    }
}

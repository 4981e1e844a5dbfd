//! Proto messages to and from the gateway's own types.
//!
//! Invariant: this is the one place beside the generated code that names proto fields. For each RPC there is the
//! server's half (read the request, write the answer) and the client's half (write the request, read the answer); a
//! round trip through both is a test.

mod consume;
mod describe;
mod event;
mod health;
mod history;
mod message;
mod publish;
mod settle;
mod socket;
mod start;
mod subscribe;
mod time;

pub use self::{
    consume::{
        ConsumeFrame, Frame, consume, consume_acked, consume_draining, consume_frame, consume_gap,
        consume_message, read_consumed,
    },
    describe::{Described, describe_request, described, read_described},
    event::{
        detail, detail_request, detailed, events, events_request, read_detail, read_events, register,
        register_request, unregister, unregister_request,
    },
    health::{health, health_request, read_health},
    history::{
        history, history_answer, history_request, lookup, lookup_answer, lookup_request, read_history,
        read_lookup,
    },
    message::{Received, message, read_message},
    publish::{
        batch, batch_answer, batch_request, publish, publish_request, published, read_batch_answer,
        read_published, read_streamed, stream_publish, stream_request, streamed,
    },
    settle::{ack, ack_request, acked, read_acked},
    socket::{read_client_frame, socket_message, write_server_frame},
    subscribe::{subscribe, subscribe_request},
};

/// Text that is absent when empty, as proto3 has it.
fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// A cursor that is absent when empty.
fn place(text: &str) -> busgate_core::Result<Option<busgate_core::Cursor>> {
    match text {
        "" => Ok(None),
        text => busgate_core::Cursor::new(text).map(Some),
    }
}

/// A cursor as text, empty when absent.
fn place_text(cursor: Option<&busgate_core::Cursor>) -> String {
    cursor.map(ToString::to_string).unwrap_or_default()
}

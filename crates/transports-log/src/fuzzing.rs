//! What is written on disk, read and written again: for whoever tries what bytes can do to it.

use busgate_core::Result;
use bytes::Bytes;

use crate::{
    codec::{self, Decoder, Encoder},
    writer::Meta,
};

/// Reads the body of a message, and writes it again.
///
/// # Errors
/// `internal` when it is none.
pub fn rewrite_message(body: Bytes) -> Result<Vec<u8>> {
    codec::decode_message(body).map(|message| codec::encode_message(Vec::new(), &message))
}

/// Reads an event's configuration, and writes it again.
///
/// # Errors
/// `internal` when it is none.
pub fn rewrite_config(body: Bytes) -> Result<Vec<u8>> {
    let mut body = Decoder::new(body);
    let config = codec::decode_config(&mut body)?;
    let mut out = Encoder::default();
    codec::encode_config(&mut out, &config);
    Ok(out.finish())
}

/// Reads the state row of an event.
///
/// # Errors
/// `internal` when it is none.
pub fn read_event(row: Bytes) -> Result<()> {
    Meta::decode(row).map(|_| ())
}

//! Every byte that leaves a busgate process, written once: proto, JSON frames, server-sent events, query options and
//! the error table.
//!
//! It does no I/O and knows no server framework; a door decodes with it, calls the gateway, and encodes with it.

pub mod codec;
pub mod convert;
pub mod encoding;
pub mod frame;
pub mod json;
mod parts;
pub mod proto;
pub mod query;
mod settle;
pub mod sse;
pub mod status;
mod time;

pub use self::{parts::Parts, time::rfc3339};

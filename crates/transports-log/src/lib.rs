//! The embedded, durable log: what a gateway runs on that has no broker.
//!
//! `Ok` on publish means that the message is on disk. One thread writes: it gathers whatever waits (messages,
//! settlements, dead letters, retention) into one SQLite transaction, syncs once, and answers everyone. The README says
//! why SQLite, with the figures, and what is added to it so that no flipped bit is ever served.

mod catalog;
mod codec;
mod config;
mod error;
mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod lease;
mod reader;
mod recovery;
mod store;
mod transport;
mod writer;

pub use self::{
    config::{DEFAULT_RETENTION_AGE, DEFAULT_RETENTION_BYTES, LogConfig},
    transport::LogTransport,
};

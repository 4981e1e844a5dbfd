//! Layers that many programs want around their handlers or their publishing.
//!
//! ```
//! use std::time::Duration;
//! use busgate_core::{Bus, Result, bus::middleware::{Deduplicate, Retry, Timeout, Trace}};
//! # use busgate_core::Transport;
//! # use std::sync::Arc;
//!
//! # async fn of(transport: Arc<dyn Transport>) -> Result<()> {
//! let bus = Bus::builder(transport).publishing(Trace).publishing(Retry::new(3)).handling(Trace).build();
//! let mail = bus
//!     .event::<String>("mail.requested")?
//!     .subscribe()
//!     .group("mailer")
//!     .layer(Deduplicate::within(Duration::from_secs(3600)))
//!     .layer(Retry::new(3))
//!     .layer(Timeout::after(Duration::from_secs(10))) // each attempt
//!     .handle(|_mail, _context| async { Ok(()) })
//!     .await?;
//! # mail.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! The layer added first sees a message first. A layer of your own is a [`Layer`](super::Layer) and a
//! [`Service`](super::Service).

mod deduplicate;
mod retry;
mod timeout;
mod trace;
mod traceparent;

pub use self::{
    deduplicate::{Deduplicate, Deduplicated},
    retry::{Retried, Retry},
    timeout::{Elapsed, Timed, Timeout},
    trace::{Trace, Traced},
    traceparent::Traceparent,
};

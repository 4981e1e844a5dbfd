//! A busgate gateway as a [`Transport`]: the drop-in bus back end for Rust programs.
//!
//! ```no_run
//! use busgate_client::{ApiKey, EventConfig, EventName, Message, MessageId, RemoteTransport, Transport};
//!
//! # async fn run() -> busgate_client::Result<()> {
//! let gateway = RemoteTransport::builder("https://bus.example.com")
//!     .credentials(ApiKey::new("shop-key-0123456789")?)
//!     .connect()
//!     .await?;
//! let orders = EventName::new("orders.created")?;
//! gateway.register(&orders, &EventConfig::default()).await?;
//! let message = Message::new(MessageId::generate(), "{}");
//! for answer in gateway.publish(&orders, vec![message]).await {
//!     println!("{:?}", answer?.cursor);
//! }
//! # Ok(())
//! # }
//! ```

mod backoff;
mod breaker;
pub mod codec;
mod connection;
mod connector;
mod credentials;
mod endpoints;
mod follow;
mod options;
mod publish;
mod retry;
mod settle;
mod state;
mod stream;
mod subscription;
mod tls;
mod token;
mod transport;

pub use busgate_core::*;
pub use busgate_wire::convert::Received;

pub use self::{
    connector::{Connector, Io, TcpConnector},
    credentials::{ApiKey, Credential, CredentialsProvider},
    follow::{Followed, Following},
    options::{
        Builder, ClosePolicy, DEFAULT_CALL_TIMEOUT, DEFAULT_CLOSE_WAIT, DEFAULT_CONNECT_TIMEOUT,
        DEFAULT_DEADLINE, DEFAULT_FAILURE_THRESHOLD, DEFAULT_KEEPALIVE_INTERVAL, DEFAULT_KEEPALIVE_TIMEOUT,
        DEFAULT_MAX_ATTEMPTS, DEFAULT_RECONNECT_DELAY, DEFAULT_RECOVERY_TIMEOUT, DEFAULT_RETRY_BASE,
        DEFAULT_RETRY_CAP, DEFAULT_SUBSCRIBE_BUFFER, DEFAULT_SUBSCRIBE_MAX_ERRORS,
    },
    state::ConnState,
    tls::Tls,
    transport::RemoteTransport,
};

/// The examples of the README are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! Who may do what: deny unless allowed.

mod rules;

use std::fmt;

use async_trait::async_trait;

pub use self::rules::{Rule, Rules};
use crate::{Caller, Error, ErrorKind, Pattern, Result};

/// What a caller wants to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Publish messages.
    Publish,
    /// Subscribe, and read history.
    Subscribe,
    /// Settle deliveries: ack, nack, reject, extend.
    Ack,
    /// Register the event.
    Register,
    /// Unregister the event.
    Unregister,
    /// See the event in lists and its description.
    List,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 6] =
        [Self::Publish, Self::Subscribe, Self::Ack, Self::Register, Self::Unregister, Self::List];

    /// Its name in configuration: `publish`, `subscribe`, …
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Ack => "ack",
            Self::Register => "register",
            Self::Unregister => "unregister",
            Self::List => "list",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Decides what a caller may do. Asked before anything else happens.
#[async_trait]
pub trait Authorizer: fmt::Debug + Send + Sync + 'static {
    /// Whether `caller` may do `operation` on every event that `target` stands for.
    ///
    /// # Errors
    /// `denied` when it may not; anything transient when that can't be told right now.
    async fn authorize(&self, caller: &Caller, operation: Operation, target: &Pattern) -> Result<()>;
}

/// Refuses everything: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct DenyAll;

/// Allows everything: for a gateway that only its own machine can reach.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

#[async_trait]
impl Authorizer for DenyAll {
    async fn authorize(&self, caller: &Caller, operation: Operation, target: &Pattern) -> Result<()> {
        Err(denied(caller, operation, target))
    }
}

#[async_trait]
impl Authorizer for AllowAll {
    async fn authorize(&self, _: &Caller, _: Operation, _: &Pattern) -> Result<()> {
        Ok(())
    }
}

fn denied(caller: &Caller, operation: Operation, target: &Pattern) -> Error {
    Error::new(ErrorKind::Denied, format!("{} may not {operation} `{target}`", caller.name()))
}

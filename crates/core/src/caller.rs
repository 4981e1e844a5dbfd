//! Who makes a call.

use std::{fmt, sync::Arc};

/// An authenticated principal, or nobody in particular.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    principal: Arc<str>,
    anonymous: bool,
}

impl Caller {
    /// The caller of a gateway without credentials: everyone is the same.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { principal: Arc::from("anonymous"), anonymous: true }
    }

    /// The principal with this name.
    #[must_use]
    pub fn principal(name: impl Into<Arc<str>>) -> Self {
        Self { principal: name.into(), anonymous: false }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.principal
    }

    /// Whether nobody in particular calls.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        self.anonymous
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({})", self.principal)
    }
}

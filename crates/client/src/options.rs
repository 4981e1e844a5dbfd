//! What a connection can be told, with the defaults and the bounds.

mod builder;
mod target;

use std::{sync::Arc, time::Duration};

use busgate_core::{Error, Result};

pub use self::builder::Builder;
pub(crate) use self::target::Target;
use crate::{
    backoff::Backoff,
    connector::{Connector, TcpConnector},
    credentials::CredentialsProvider,
    state::{Callback, ConnState},
    tls::Tls,
};

/// How often a call is tried, unless the builder says otherwise.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;
/// The first wait between two tries.
pub const DEFAULT_RETRY_BASE: Duration = Duration::from_millis(100);
/// The longest wait between two tries.
pub const DEFAULT_RETRY_CAP: Duration = Duration::from_secs(5);
/// How long one try of a call may take.
pub const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call may take with all its tries.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
/// How long dialling one endpoint may take.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many failures in a row open the circuit breaker.
pub const DEFAULT_FAILURE_THRESHOLD: u32 = 5;
/// How long the circuit breaker stays open.
pub const DEFAULT_RECOVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// The first wait before a subscription comes back.
pub const DEFAULT_RECONNECT_DELAY: Duration = Duration::from_secs(1);
/// How many failures in a row end a subscription.
pub const DEFAULT_SUBSCRIBE_MAX_ERRORS: u32 = 10;
/// How many messages of a subscription may wait in the client.
pub const DEFAULT_SUBSCRIBE_BUFFER: usize = 100;
/// How often an idle connection is pinged.
pub const DEFAULT_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long a ping may stay unanswered.
pub const DEFAULT_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long closing waits for deliveries in hand.
pub const DEFAULT_CLOSE_WAIT: Duration = Duration::from_secs(10);

/// The longest any duration here may be.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What becomes of deliveries in hand when the transport is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosePolicy {
    /// They may be settled for this long; what is left then goes back, uncounted.
    Wait(Duration),
    /// They go back at once, uncounted.
    Nack,
}

/// When the circuit breaker opens and when it tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CircuitBreaker {
    pub(crate) failure_threshold: u32,
    pub(crate) recovery_timeout: Duration,
}

/// How often a call is tried, and with what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retries {
    pub(crate) max_attempts: u32,
    pub(crate) backoff: Backoff,
}

/// How subscriptions behave.
#[derive(Clone, Debug)]
pub(crate) struct Subscribing {
    /// Whether a subscription comes back after its stream broke.
    pub(crate) reconnect: bool,
    /// The first wait before it does; it grows with each failure in a row, up to the retry cap or itself.
    pub(crate) delay: Duration,
    /// How many failures in a row end it; 0 for no end.
    pub(crate) max_errors: u32,
    /// How many messages may wait in the client.
    pub(crate) buffer: usize,
    /// Told of every failure of a stream.
    pub(crate) on_error: Option<Callback<Error>>,
}

/// How connections are made and kept.
#[derive(Clone, Debug)]
pub(crate) struct Dialling {
    pub(crate) tls: Option<Tls>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) timeout: Duration,
    pub(crate) keepalive_interval: Duration,
    pub(crate) keepalive_timeout: Duration,
}

/// Everything a connection is told.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) endpoints: Vec<Target>,
    pub(crate) dialling: Dialling,
    pub(crate) credentials: Option<Arc<dyn CredentialsProvider>>,
    /// Credentials may travel unencrypted beyond this machine.
    pub(crate) plaintext_credentials: bool,
    pub(crate) user_agent: String,
    pub(crate) retries: Retries,
    pub(crate) call_timeout: Duration,
    pub(crate) deadline: Duration,
    pub(crate) breaker: Option<CircuitBreaker>,
    pub(crate) subscribing: Subscribing,
    pub(crate) on_state: Option<Callback<ConnState>>,
    pub(crate) close: ClosePolicy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            dialling: Dialling {
                tls: None,
                connector: Arc::new(TcpConnector),
                timeout: DEFAULT_CONNECT_TIMEOUT,
                keepalive_interval: DEFAULT_KEEPALIVE_INTERVAL,
                keepalive_timeout: DEFAULT_KEEPALIVE_TIMEOUT,
            },
            credentials: None,
            plaintext_credentials: false,
            user_agent: concat!("busgate-client/", env!("CARGO_PKG_VERSION")).into(),
            retries: Retries {
                max_attempts: DEFAULT_MAX_ATTEMPTS,
                backoff: Backoff { base: DEFAULT_RETRY_BASE, cap: DEFAULT_RETRY_CAP },
            },
            call_timeout: DEFAULT_CALL_TIMEOUT,
            deadline: DEFAULT_DEADLINE,
            breaker: Some(CircuitBreaker {
                failure_threshold: DEFAULT_FAILURE_THRESHOLD,
                recovery_timeout: DEFAULT_RECOVERY_TIMEOUT,
            }),
            subscribing: Subscribing {
                reconnect: true,
                delay: DEFAULT_RECONNECT_DELAY,
                max_errors: DEFAULT_SUBSCRIBE_MAX_ERRORS,
                buffer: DEFAULT_SUBSCRIBE_BUFFER,
                on_error: None,
            },
            on_state: None,
            close: ClosePolicy::Wait(DEFAULT_CLOSE_WAIT),
        }
    }
}

impl Options {
    /// Checks every figure against its bounds, and whether the parts go together.
    ///
    /// # Errors
    /// `invalid`, naming the option and what is allowed.
    pub(crate) fn validate(&self) -> Result<()> {
        self.validate_endpoints()?;
        self.validate_times()?;
        if self.retries.max_attempts == 0 {
            return Err(Error::invalid("retry must have 1 attempt or more"));
        }
        if self.retries.backoff.base > self.retries.backoff.cap {
            return Err(Error::invalid("retry must not have a base over its cap"));
        }
        if self.breaker.is_some_and(|breaker| breaker.failure_threshold == 0) {
            return Err(Error::invalid("circuit_breaker must have a threshold of 1 or more"));
        }
        if self.subscribing.buffer == 0 || self.subscribing.buffer > 100_000 {
            return Err(Error::invalid("subscribe_buffer must be 1 to 100000"));
        }
        if !self.user_agent.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(Error::invalid("user_agent must be visible ASCII characters"));
        }
        Ok(())
    }

    fn validate_endpoints(&self) -> Result<()> {
        if self.endpoints.is_empty() {
            return Err(Error::invalid("there must be an endpoint"));
        }
        if self.dialling.tls.is_some() && self.endpoints.iter().any(|target| !target.is_tls()) {
            return Err(Error::invalid("tls goes with https:// endpoints alone"));
        }
        let exposed = self.endpoints.iter().find(|target| !target.is_tls() && !target.is_loopback());
        match exposed {
            Some(target) if self.credentials.is_some() && !self.plaintext_credentials => {
                Err(Error::invalid(format!(
                    "credentials would travel unencrypted to {target}: use https:// or allow plaintext_credentials"
                )))
            }
            _ => Ok(()),
        }
    }

    fn validate_times(&self) -> Result<()> {
        let breaker = self.breaker.map_or(DEFAULT_RECOVERY_TIMEOUT, |breaker| breaker.recovery_timeout);
        let wait = match self.close {
            ClosePolicy::Wait(wait) => wait,
            ClosePolicy::Nack => Duration::ZERO,
        };
        let millisecond = Duration::from_millis(1);
        for (name, value, least) in [
            ("retry base", self.retries.backoff.base, millisecond),
            ("retry cap", self.retries.backoff.cap, millisecond),
            ("call_timeout", self.call_timeout, millisecond),
            ("deadline", self.deadline, millisecond),
            ("connect_timeout", self.dialling.timeout, millisecond),
            ("circuit_breaker recovery", breaker, millisecond),
            ("subscribe_reconnect delay", self.subscribing.delay, Duration::ZERO),
            ("keepalive interval", self.dialling.keepalive_interval, Duration::from_secs(1)),
            ("keepalive timeout", self.dialling.keepalive_timeout, millisecond),
            ("close wait", wait, Duration::ZERO),
        ] {
            if value < least || value > LONGEST {
                return Err(Error::invalid(format!("{name} must be {least:?} to {LONGEST:?}, is {value:?}")));
            }
        }
        Ok(())
    }
}

//! The builder of a [`RemoteTransport`].

use std::{sync::Arc, time::Duration};

use busgate_core::{Error, Result};

use super::{CircuitBreaker, ClosePolicy, Options, Target};
use crate::{
    connector::Connector,
    credentials::CredentialsProvider,
    state::{Callback, ConnState},
    tls::Tls,
    transport::RemoteTransport,
};

/// Options of a [`RemoteTransport`]. Bad ones are refused by [`Builder::connect`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens before connect"]
pub struct Builder {
    urls: Vec<String>,
    options: Options,
}

impl Builder {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self { urls: vec![url.into()], options: Options::default() }
    }

    /// Adds a gateway to go to when the ones before it do not answer; the client comes back to the first when it works.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// TLS settings for `https://` endpoints. Default: [`Tls::webpki`].
    pub fn tls(mut self, tls: Tls) -> Self {
        self.options.dialling.tls = Some(tls);
        self
    }

    /// Who gives the credentials, like an [`ApiKey`](crate::ApiKey). Default: none.
    pub fn credentials(mut self, provider: impl CredentialsProvider) -> Self {
        self.options.credentials = Some(Arc::new(provider));
        self
    }

    /// Lets credentials travel unencrypted to another machine. Default: refused.
    pub const fn plaintext_credentials(mut self) -> Self {
        self.options.plaintext_credentials = true;
        self
    }

    /// How often a call is tried (1 or more; 1 turns retries off), and the first and the longest wait between two tries.
    /// Default: 3 times, 100 ms, 5 s. Waits double and are jittered; a hint of the gateway's goes before them.
    pub const fn retry(mut self, max_attempts: u32, base: Duration, cap: Duration) -> Self {
        self.options.retries.max_attempts = max_attempts;
        self.options.retries.backoff.base = base;
        self.options.retries.backoff.cap = cap;
        self
    }

    /// How long one try of a call may take. Default: 10 s.
    pub const fn call_timeout(mut self, timeout: Duration) -> Self {
        self.options.call_timeout = timeout;
        self
    }

    /// How long a call may take with all its tries. Default: 30 s.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = deadline;
        self
    }

    /// How long dialling one endpoint may take, TLS included. Default: 5 s.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.dialling.timeout = timeout;
        self
    }

    /// After how many failures in a row (1 or more) calls are refused here, and for how long; then one call tries.
    /// A rejection is no failure. Default: 5, 30 s.
    pub const fn circuit_breaker(mut self, failure_threshold: u32, recovery_timeout: Duration) -> Self {
        self.options.breaker = Some(CircuitBreaker { failure_threshold, recovery_timeout });
        self
    }

    /// Turns the circuit breaker off.
    pub const fn no_circuit_breaker(mut self) -> Self {
        self.options.breaker = None;
        self
    }

    /// Whether a subscription comes back after its stream broke, and the first wait before it does. Default: yes, 1 s.
    pub const fn subscribe_reconnect(mut self, reconnect: bool, delay: Duration) -> Self {
        self.options.subscribing.reconnect = reconnect;
        self.options.subscribing.delay = delay;
        self
    }

    /// How many failures in a row end a subscription, with the last one; 0 for no end. A message starts the count
    /// again. Default: 10.
    pub const fn subscribe_max_errors(mut self, errors: u32) -> Self {
        self.options.subscribing.max_errors = errors;
        self
    }

    /// How many messages of a subscription may wait in the client (1 to 100000). Default: 100.
    pub const fn subscribe_buffer(mut self, messages: usize) -> Self {
        self.options.subscribing.buffer = messages;
        self
    }

    /// How often an idle connection is pinged (1 s or more), and how long an answer may take. Default: 30 s, 10 s.
    pub const fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.options.dialling.keepalive_interval = interval;
        self.options.dialling.keepalive_timeout = timeout;
        self
    }

    /// Told of every change of the connection's state, in order. It must not block.
    pub fn on_state(mut self, callback: impl Fn(ConnState) + Send + Sync + 'static) -> Self {
        self.options.on_state = Some(Callback::new(move |state: &ConnState| callback(*state)));
        self
    }

    /// Told of every failure of a subscription's stream, also of those it comes back from. It must not block.
    pub fn on_stream_error(mut self, callback: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.options.subscribing.on_error = Some(Callback::new(callback));
        self
    }

    /// Opens byte streams in another way than TCP to the URL's host. Default: [`TcpConnector`](crate::TcpConnector).
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.options.dialling.connector = Arc::new(connector);
        self
    }

    /// What becomes of deliveries in hand when the transport is closed. Default: they may be settled for 10 s.
    pub const fn close_policy(mut self, policy: ClosePolicy) -> Self {
        self.options.close = policy;
        self
    }

    /// The name in `user-agent`. Default: `busgate-client/` and the version.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.options.user_agent = name.into();
        self
    }

    /// Connects, and asks the gateway what it can do.
    ///
    /// # Errors
    /// `invalid` for a bad option; `unauthenticated`; `unavailable` or `timeout` when no gateway answers;
    /// `unsupported` when what answers is no gateway of this version.
    pub async fn connect(self) -> Result<Arc<RemoteTransport>> {
        RemoteTransport::open(self.finish()?).await
    }

    /// The options, checked.
    fn finish(self) -> Result<Options> {
        let endpoints = self.urls.iter().map(|url| Target::read(url)).collect::<Result<_>>()?;
        let options = Options { endpoints, ..self.options };
        options.validate()?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::ApiKey;

    const SECOND: Duration = Duration::from_secs(1);

    fn builder() -> Builder {
        Builder::new("http://127.0.0.1:9090")
    }

    fn refusal(builder: Builder) -> String {
        builder.finish().unwrap_err().message().to_owned()
    }

    #[test]
    fn the_defaults_are_good() {
        builder().finish().unwrap();
    }

    #[test]
    fn figures_out_of_bounds_are_named() {
        let zero = Duration::ZERO;
        for (name, bad) in [
            ("retry", builder().retry(0, SECOND, SECOND)),
            ("retry", builder().retry(1, SECOND * 2, SECOND)),
            ("retry base", builder().retry(1, zero, SECOND)),
            ("call_timeout", builder().call_timeout(zero)),
            ("deadline", builder().deadline(zero)),
            ("connect_timeout", builder().connect_timeout(zero)),
            ("circuit_breaker", builder().circuit_breaker(0, SECOND)),
            ("circuit_breaker", builder().circuit_breaker(1, zero)),
            ("subscribe_reconnect", builder().subscribe_reconnect(true, Duration::MAX)),
            ("subscribe_buffer", builder().subscribe_buffer(0)),
            ("keepalive interval", builder().keepalive(SECOND / 2, SECOND)),
            ("keepalive timeout", builder().keepalive(SECOND, zero)),
            ("close wait", builder().close_policy(ClosePolicy::Wait(Duration::MAX))),
            ("user_agent", builder().user_agent("a\nb")),
            ("endpoint", builder().endpoint("ftp://bus")),
            ("tls", builder().tls(Tls::webpki())),
        ] {
            let message = refusal(bad);
            assert!(message.contains(name), "{name}: {message}");
        }
    }

    #[test]
    fn credentials_do_not_leave_the_machine_unencrypted_unless_told() {
        let key = ApiKey::new("hunter2").unwrap();
        let remote = || Builder::new("http://bus.example.com").credentials(key.clone());
        let message = refusal(remote());
        assert!(message.contains("bus.example.com") && !message.contains("hunter2"), "{message}");
        remote().plaintext_credentials().finish().unwrap();
        builder().credentials(key.clone()).finish().unwrap();
        Builder::new("https://bus.example.com").credentials(key).finish().unwrap();
    }
}

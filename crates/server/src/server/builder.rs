//! Putting a server together: from a configuration, or piece by piece.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use busgate_core::{
    AckSecret, AllowAll, Authorizer, Clock, Error, Gateway, GatewayConfig, Retry, Rule, SystemClock, Tasks,
    Transport,
};

use tokio::sync::Mutex;

use super::{Server, StartError};
use crate::{
    ack_secret,
    app::{App, DoorOptions},
    auth::{Authentication, origin::Origins, rules},
    config::{ApiKey, Config, Environment, Sources},
    doors::{front::Front, grpc},
    limits::{Connections, PublishRate},
    listen::{Listener, Service},
    metrics::Metrics,
};

/// How long after a first attempt to reach the transport the second comes; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause between two attempts to reach the transport.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a transport is called in the metrics that was not opened from a URL.
const OWN_KIND: &str = "own";

/// A server to be. What is not set is as in the configuration's defaults; a listener that is not set is not there.
#[derive(Debug, Default)]
pub struct ServerBuilder {
    config: Option<Config>,
    transport: Option<Arc<dyn Transport>>,
    shared: bool,
    authorizer: Option<Arc<dyn Authorizer>>,
    keys: Vec<ApiKey>,
    http: Option<SocketAddr>,
    grpc: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    routes: Router,
}

impl ServerBuilder {
    /// Takes everything from a configuration: transport, keys, listeners, bounds. What is set after it wins.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.keys.clone_from(&config.keys);
        self.http = Some(config.http);
        self.grpc = Some(config.grpc);
        self.admin = config.admin;
        self.config = Some(config);
        self
    }

    /// Where messages live.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Other gateways are on the transport that was set, with the same ack secret; of a configured one it is known.
    #[must_use]
    pub const fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Who may do what, instead of the rules of the keys.
    #[must_use]
    pub fn authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorizer = Some(authorizer);
        self
    }

    /// Lets the holder of `key` do what `rules` say, under this name.
    #[must_use]
    pub fn key(mut self, name: impl Into<String>, key: &str, rules: Vec<Rule>) -> Self {
        self.keys.push(ApiKey::new(name, key, rules));
        self
    }

    /// Serves REST, SSE and WebSocket there; port 0 is any that is free.
    #[must_use]
    pub fn http(mut self, address: SocketAddr) -> Self {
        self.http = Some(address);
        self
    }

    /// Serves gRPC there.
    #[must_use]
    pub fn grpc(mut self, address: SocketAddr) -> Self {
        self.grpc = Some(address);
        self
    }

    /// Serves metrics and probes there instead of with REST.
    #[must_use]
    pub fn admin(mut self, address: SocketAddr) -> Self {
        self.admin = Some(address);
        self
    }

    /// Serves the program's own routes beside the HTTP doors: pages of the same origin, for instance. They stand behind
    /// the same bounds and origin check, but nobody is asked for a key.
    ///
    /// # Panics
    /// At the start, when a route is one of the gateway's own.
    #[must_use]
    pub fn routes(mut self, routes: Router) -> Self {
        self.routes = self.routes.merge(routes);
        self
    }

    /// Opens the transport and the doors.
    ///
    /// # Errors
    /// When the transport can't be opened (unless the configuration says to `wait`) or an address not listened on; and when everybody could reach a server that
    /// asks nobody who he is.
    pub async fn start(self) -> Result<Server, StartError> {
        self.refuse_to_be_open()?;
        let config = match self.config {
            Some(config) => config,
            None => built_in()?,
        };
        let clock = SystemClock::shared();
        let (transport, kind, shared, directory) = match self.transport {
            Some(transport) => (transport, OWN_KIND, self.shared, None),
            None => {
                let opened = open(&config, &clock).await.map_err(StartError::Transport)?;
                let asked = &config.transport;
                (opened, asked.kind(), asked.is_shared(), asked.directory())
            }
        };
        let secret =
            ack_secret::load(config.ack_secret.as_ref(), directory).map_err(StartError::Transport)?;
        let authorizer = self.authorizer.unwrap_or_else(|| authorizer(&self.keys));
        let metrics = Metrics::new(transport, kind);
        let bounds = gateway_config(&config, shared, secret);
        let gateway = Gateway::new(metrics.transport(), authorizer, clock, bounds);
        let app = app(gateway, metrics, &config, &self.keys, self.admin.is_some());
        let listeners = [
            bind(self.http, || Service::Http(Arc::new(Front::public(&app, self.routes)))).await?,
            bind(self.grpc, || Service::Grpc(grpc::routes(&app))).await?,
            bind(self.admin, || Service::Http(Arc::new(Front::admin(&app)))).await?,
        ];
        Ok(Server::start(app, listeners, config.drain_timeout))
    }

    /// Without keys, and with no authorizer that was chosen on purpose, only this machine may come in.
    fn refuse_to_be_open(&self) -> Result<(), StartError> {
        if !self.keys.is_empty() || self.authorizer.is_some() {
            return Ok(());
        }
        let all = [self.http, self.grpc, self.admin];
        match all.into_iter().flatten().find(|address| !address.ip().is_loopback()) {
            Some(address) => Err(StartError::Refused(format!(
                "without API keys or an authorizer only loopback may be listened on, not {address}"
            ))),
            None => Ok(()),
        }
    }
}

/// Opens the configured transport; tries again and again when that is asked for and may help.
async fn open(config: &Config, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Transport>, Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match config.transport.open(Arc::clone(clock), &config.defaults).await {
            Err(error) if config.wait && error.retry() != Retry::Never => error,
            opened => return opened,
        };
        tracing::warn!(%error, transport = %config.transport, ?pause, "the transport can't be reached yet");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn built_in() -> Result<Config, StartError> {
    let sources = Sources { environment: Environment::default(), ..Sources::none() };
    Config::read(&sources)
        .map_err(|errors| StartError::Refused(errors.first().map(ToString::to_string).unwrap_or_default()))
}

fn authorizer(keys: &[ApiKey]) -> Arc<dyn Authorizer> {
    if keys.is_empty() { Arc::new(AllowAll) } else { Arc::new(rules(keys)) }
}

fn gateway_config(config: &Config, shared: bool, ack_secret: AckSecret) -> GatewayConfig {
    GatewayConfig {
        limits: config.limits.clone(),
        retry: config.delivery.retry.clone(),
        ring_messages: config.delivery.ring_messages,
        ring_bytes: config.delivery.ring_bytes,
        max_sessions: config.bounds.max_subscriptions,
        max_pattern_events: config.bounds.max_pattern_events,
        auto_register: config.delivery.auto_register,
        publish_timeout: config.delivery.publish_timeout,
        call_timeout: config.delivery.call_timeout,
        discovery_interval: config.delivery.discovery_interval,
        shared,
        ack_secret,
    }
}

fn app(
    gateway: Gateway,
    metrics: Metrics,
    config: &Config,
    keys: &[ApiKey],
    separate_admin: bool,
) -> Arc<App> {
    let authentication = Authentication::new(keys);
    Arc::new(App {
        gateway,
        origins: Origins::new(&config.allowed_origins, authentication.is_open()),
        metrics,
        doors: DoorOptions {
            heartbeat: config.heartbeat,
            max_payload_bytes: config.limits.max_payload_bytes,
            max_body_bytes: config.bounds.max_body_bytes,
            header_timeout: config.bounds.header_timeout,
            write_timeout: config.bounds.write_timeout,
            body_timeout: config.bounds.body_timeout,
            max_streams: config.bounds.max_streams_per_connection,
            separate_admin,
        },
        tasks: Tasks::new(),
        connections: Connections::new(&config.bounds),
        rate: PublishRate::new(&config.bounds, keys),
        authentication,
        probed: Mutex::new(None),
    })
}

async fn bind(
    address: Option<SocketAddr>,
    service: impl FnOnce() -> Service,
) -> Result<Option<Listener>, StartError> {
    let Some(address) = address else { return Ok(None) };
    let bound = Listener::bind(address, service()).await;
    bound.map(Some).map_err(|error| StartError::Listen(address, error))
}

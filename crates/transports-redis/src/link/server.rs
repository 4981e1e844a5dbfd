//! Finds a server and connects to it.

use busgate_core::{Error, Result};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, TlsCertificates, TlsMode, Value,
    aio::MultiplexedConnection,
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};

use crate::{
    config::{Credentials, RedisConfig, Tls, Topology},
    error,
};

/// The least version whose streams tell what was added to them.
const LEAST_VERSION: u32 = 7;

/// A connection that many calls share.
#[derive(Clone)]
pub(crate) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Connects.
///
/// # Errors
/// When nobody can be reached, or the server is not one that can be used.
pub(super) async fn connect(config: &RedisConfig) -> Result<Connection> {
    if config.tls.is_some() {
        // The driver takes the process's provider. If somebody has set one already, it is that one.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    }
    if config.topology == Topology::Cluster {
        let connection = cluster(config)?.get_async_connection().await.map_err(error::told)?;
        return Ok(Connection::Cluster(connection));
    }
    let mut last = None;
    for client in clients(config).await? {
        match open(config, &client).await {
            Ok(connection) => return Ok(Connection::Server(connection)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| error::unreachable("no redis server is known")))
}

/// Those who may be the server, in the order to try them.
pub(crate) async fn clients(config: &RedisConfig) -> Result<Vec<Client>> {
    match &config.topology {
        Topology::Sentinel { master } => {
            let mut sentinels = sentinels(config, master)?;
            Ok(vec![sentinels.async_get_client().await.map_err(error::told)?])
        }
        Topology::Single | Topology::Cluster => {
            config.hosts.iter().map(|host| client(config, host)).collect::<Result<_>>()
        }
    }
}

async fn open(config: &RedisConfig, client: &Client) -> Result<MultiplexedConnection> {
    let timeouts = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(Some(config.timeout));
    let opened = client.get_multiplexed_async_connection_with_config(&timeouts).await;
    let mut connection = opened.map_err(error::told)?;
    let info = redis::cmd("INFO").arg("server").query_async::<String>(&mut connection).await;
    match info {
        Ok(info) => check_version(&info)?,
        // A user that may not ask may be right all the same.
        Err(error) if error.kind() == redis::ServerErrorKind::NoPerm.into() => {}
        Err(error) => return Err(error::told(error)),
    }
    if config.hosts.len() > 1 {
        let role = redis::cmd("ROLE").query_async::<Value>(&mut connection).await.map_err(error::told)?;
        let master = matches!(&role, Value::Array(parts) if parts.first().is_some_and(is_master));
        if !master {
            return Err(error::unreachable("the redis server is a replica"));
        }
    }
    Ok(connection)
}

fn is_master(role: &Value) -> bool {
    matches!(role, Value::BulkString(role) if role == b"master")
}

fn check_version(info: &str) -> Result<()> {
    let version =
        info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or_default().trim();
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major < LEAST_VERSION) {
        return Err(Error::unsupported(format!(
            "redis {version} is too old: {LEAST_VERSION}.0 or newer is needed"
        )));
    }
    Ok(())
}

fn client(config: &RedisConfig, (host, port): &(String, u16)) -> Result<Client> {
    let info = info(config, host, *port)?;
    match &config.tls {
        Some(tls) => Client::build_with_tls(info, certificates(tls)?).map_err(error::told),
        None => Client::open(info).map_err(error::told),
    }
}

fn info(config: &RedisConfig, host: &str, port: u16) -> Result<ConnectionInfo> {
    let mut settings = RedisConnectionInfo::default()
        .set_db(config.database)
        .set_lib_name("busgate", env!("CARGO_PKG_VERSION"));
    if let Some(username) = &config.credentials.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &config.credentials.password {
        settings = settings.set_password(password);
    }
    let address = address(host, port, config.tls.is_some());
    Ok(address.into_connection_info().map_err(error::told)?.set_redis_settings(settings))
}

fn address(host: &str, port: u16, tls: bool) -> ConnectionAddr {
    let host = host.to_owned();
    if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn certificates(tls: &Tls) -> Result<TlsCertificates> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path)
            .map_err(|error| Error::invalid(format!("{} can't be read: {}", path.display(), error.kind())))
    };
    let client_tls = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        _ => None,
    };
    Ok(TlsCertificates { client_tls, root_cert: tls.ca.as_ref().map(read).transpose()? })
}

fn cluster(config: &RedisConfig) -> Result<redis::cluster::ClusterClient> {
    let nodes =
        config.hosts.iter().map(|(host, port)| info(config, host, *port)).collect::<Result<Vec<_>>>()?;
    let mut builder = ClusterClientBuilder::new(nodes)
        .connection_timeout(config.connect_timeout)
        .response_timeout(config.timeout)
        .overall_response_timeout(Some(config.timeout));
    let Credentials { username, password } = &config.credentials;
    if let Some(username) = username {
        builder = builder.username(username);
    }
    if let Some(password) = password {
        builder = builder.password(password);
    }
    if let Some(tls) = &config.tls {
        builder = builder.tls(TlsMode::Secure).certs(certificates(tls)?);
    }
    builder.build().map_err(error::told)
}

fn sentinels(config: &RedisConfig, master: &str) -> Result<redis::sentinel::SentinelClient> {
    let sentinels = config.hosts.iter().map(|(host, port)| address(host, *port, config.tls.is_some()));
    let build = || -> Result<_, RedisError> {
        let mut builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?
            .set_client_to_redis_db(config.database);
        let Credentials { username, password } = &config.credentials;
        if let Some(username) = username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = password {
            builder = builder.set_client_to_redis_password(password);
        }
        let Credentials { username, password } = &config.sentinel_credentials;
        if let Some(username) = username {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        Ok(builder)
    };
    let mut builder = build().map_err(error::told)?;
    if let Some(tls) = &config.tls {
        let certificates = certificates(tls)?;
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_certificates(certificates);
    }
    builder.build().map_err(error::told)
}

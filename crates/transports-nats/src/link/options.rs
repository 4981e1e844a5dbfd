//! How to connect: to which servers, as whom, and when again.

use std::{fmt, time::Duration};

use async_nats::{ConnectOptions, ServerAddr};
use busgate_core::{Error, Result};

use crate::config::{Credentials, NatsConfig, Secret};

/// How many commands may wait for the socket.
const COMMANDS: usize = 16_384;

/// How many deliveries may wait for their subscription; none asks for as many.
const DELIVERIES: usize = 65_536;

/// The addresses of its servers.
pub(super) fn servers(config: &NatsConfig) -> Result<Vec<ServerAddr>> {
    let scheme = if config.tls.required { "tls" } else { "nats" };
    let address = |server: &String| {
        let refused = |_| Error::invalid(format!("`{server}` is no address of a nats server"));
        format!("{scheme}://{server}").parse().map_err(refused)
    };
    config.servers.iter().map(address).collect()
}

/// Who we are, how we are protected, and how soon we come back.
pub(super) async fn of(config: &NatsConfig) -> Result<ConnectOptions> {
    let mut options = ConnectOptions::new()
        .name(&config.name)
        .connection_timeout(config.connect_timeout)
        .request_timeout(Some(config.request_timeout))
        .client_capacity(COMMANDS)
        .subscription_capacity(DELIVERIES)
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(reconnect_delay);
    if let Some(prefix) = &config.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    options = match &config.credentials {
        Credentials::None => options,
        Credentials::Password { user, password } => {
            options.user_and_password(user.clone(), read(password).await?)
        }
        Credentials::Token(token) => options.token(read(token).await?),
        Credentials::NKey(seed) => options.nkey(read(seed).await?),
        Credentials::File(path) => {
            let refused = |cause| unreadable(path.display(), cause);
            options.credentials_file(path).await.map_err(refused)?
        }
    };
    let tls = &config.tls;
    if let Some(authority) = &tls.ca {
        options = options.add_root_certificates(authority.clone());
    }
    if let Some((certificate, key)) = &tls.identity {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    if tls.first {
        options = options.tls_first();
    }
    Ok(options.require_tls(tls.required))
}

/// Soon at first, then less and less often, up to every 1.6 seconds: a server that restarts is found again quickly.
fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(5);
    Duration::from_millis(50 << doublings)
}

async fn read(secret: &Secret) -> Result<String> {
    match secret {
        Secret::Text(text) => Ok(text.clone()),
        Secret::File(path) => {
            let text = tokio::fs::read_to_string(path).await;
            let text = text.map_err(|cause| unreadable(path.display(), cause))?;
            Ok(text.lines().next().unwrap_or_default().trim().to_owned())
        }
    }
}

fn unreadable(path: impl fmt::Display, cause: std::io::Error) -> Error {
    Error::invalid(format!("`{path}` can't be read: {}", cause.kind())).with_source(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_looked_for_soon_and_then_less_often() {
        let delays = [0, 1, 2, 5, 6, 7, usize::MAX].map(|attempts| reconnect_delay(attempts).as_millis());
        assert_eq!(delays, [50, 50, 100, 800, 1600, 1600, 1600]);
    }

    #[tokio::test]
    async fn a_secret_is_the_first_line_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, " s3cret \nmore").unwrap();
        assert_eq!(read(&Secret::File(path.clone())).await.unwrap(), "s3cret");
        std::fs::remove_file(&path).unwrap();
        assert!(read(&Secret::File(path)).await.is_err());
    }
}

//! Dialling one endpoint: a byte stream, TLS where it is asked for, HTTP/2.

use std::{io, sync::Arc};

use busgate_core::{Error, Result};
use http::HeaderValue;
use tokio::time::timeout;

use super::link::Link;
use crate::{
    options::{Dialling, Options, Target},
    tls::{Handshake, Tls},
};

/// Dials endpoints.
#[derive(Debug)]
pub(super) struct Dialler {
    targets: Vec<Target>,
    dialling: Dialling,
    tls: Option<Handshake>,
    user_agent: HeaderValue,
}

impl Dialler {
    /// # Errors
    /// `invalid` for unusable TLS settings.
    pub(super) fn new(options: &Options) -> Result<Self> {
        let secure = options.endpoints.iter().any(Target::is_tls);
        let tls = options.dialling.tls.clone().or_else(|| secure.then(Tls::webpki));
        let user_agent = HeaderValue::from_str(&options.user_agent)
            .map_err(|error| Error::invalid("user_agent is no header value").with_source(error))?;
        Ok(Self {
            targets: options.endpoints.clone(),
            dialling: options.dialling.clone(),
            tls: tls.as_ref().map(Tls::read).transpose()?,
            user_agent,
        })
    }

    pub(super) const fn endpoints(&self) -> usize {
        self.targets.len()
    }

    /// A link to one endpoint.
    ///
    /// # Errors
    /// `unavailable`, with the cause; nothing was called.
    pub(super) async fn dial(&self, endpoint: usize) -> Result<Arc<Link>> {
        let Some(target) = self.targets.get(endpoint) else {
            return Err(Error::internal("there is no such endpoint"));
        };
        let refused = |why: &str| Error::unavailable(format!("can't reach a gateway at {target}: {why}"));
        match timeout(self.dialling.timeout, self.open(endpoint, target)).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(error)) => Err(refused(&error.to_string()).with_source(error)),
            Err(_) => Err(refused("it takes too long")),
        }
    }

    async fn open(&self, endpoint: usize, target: &Target) -> io::Result<Arc<Link>> {
        let io = self.dialling.connector.connect(target.host(), target.port()).await?;
        let io = match &self.tls {
            Some(tls) if target.is_tls() => Box::new(tls.over(target.host(), io).await?),
            _ => io,
        };
        Link::over(io, (endpoint, target), &self.dialling, self.user_agent.clone()).await
    }
}

//! TLS: whom to trust, who we are, and the handshake.

use std::{fmt, io, sync::Arc};

use busgate_core::{Error, Result};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use crate::connector::Io;

/// The protocol both sides must agree on.
const H2: &[u8] = b"h2";

/// TLS settings: the roots to trust, and what else differs from the usual.
#[derive(Clone)]
pub struct Tls {
    roots: Roots,
    identity: Option<Identity>,
    domain: Option<String>,
}

#[derive(Clone)]
enum Roots {
    Webpki,
    Native,
    Own(Vec<u8>),
}

/// A client certificate and its key, as PEM.
#[derive(Clone)]
struct Identity {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Trusts the roots of Mozilla, as they are built in. This is what `https://` means by itself.
    #[must_use]
    pub const fn webpki() -> Self {
        Self::trusting(Roots::Webpki)
    }

    /// Trusts the roots of the machine.
    #[must_use]
    pub const fn native() -> Self {
        Self::trusting(Roots::Native)
    }

    /// Trusts these certificates (PEM, one or more) and no others.
    #[must_use]
    pub fn ca_pem(pem: impl Into<Vec<u8>>) -> Self {
        Self::trusting(Roots::Own(pem.into()))
    }

    const fn trusting(roots: Roots) -> Self {
        Self { roots, identity: None, domain: None }
    }

    /// Shows this client certificate (PEM, with its chain) whose key is `key` (PEM).
    #[must_use]
    pub fn identity_pem(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some(Identity { certificate: certificate.into(), key: key.into() });
        self
    }

    /// Expects the certificate of this name instead of the URL's host.
    #[must_use]
    pub fn domain(mut self, name: impl Into<String>) -> Self {
        self.domain = Some(name.into());
        self
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// `invalid` for what is no PEM, and for a key that does not go with its certificate.
    pub(crate) fn read(&self) -> Result<Handshake> {
        let roots = self.roots.read()?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal("no TLS versions").with_source(error))?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.read()?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| bad("the client certificate does not go with its key", error))?
            }
        };
        config.alpn_protocols = vec![H2.to_vec()];
        let domain = self.domain.as_deref().map(server_name).transpose()?;
        Ok(Handshake { connector: TlsConnector::from(Arc::new(config)), domain })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roots = match self.roots {
            Roots::Webpki => "webpki",
            Roots::Native => "native",
            Roots::Own(_) => "own",
        };
        f.debug_struct("Tls")
            .field("roots", &roots)
            .field("identity", &self.identity.is_some())
            .field("domain", &self.domain)
            .finish()
    }
}

impl Roots {
    fn read(&self) -> Result<RootCertStore> {
        let mut store = RootCertStore::empty();
        match self {
            Self::Webpki => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Self::Native => {
                let found = rustls_native_certs::load_native_certs();
                let (added, _) = store.add_parsable_certificates(found.certs);
                if added == 0 {
                    return Err(Error::invalid("the machine has no root certificates"));
                }
            }
            Self::Own(pem) => {
                for certificate in certificates("the CA certificate", pem)? {
                    store.add(certificate).map_err(|error| bad("the CA certificate is unusable", error))?;
                }
            }
        }
        Ok(store)
    }
}

impl Identity {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = certificates("the client certificate", &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| bad("the key of the client certificate is no PEM", error))?;
        Ok((chain, key))
    }
}

/// TLS, ready to use.
#[derive(Clone)]
pub(crate) struct Handshake {
    connector: TlsConnector,
    domain: Option<ServerName<'static>>,
}

impl Handshake {
    /// Makes `io` secure, as far as `host` is who answers.
    pub(crate) async fn over(&self, host: &str, io: Box<dyn Io>) -> io::Result<TlsStream<Box<dyn Io>>> {
        let name = match &self.domain {
            Some(domain) => domain.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no name for a certificate"))?,
        };
        let stream = self.connector.connect(name, io).await?;
        if stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err(io::Error::other("the gateway does not speak HTTP/2 over TLS"));
        }
        Ok(stream)
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("domain", &self.domain).finish_non_exhaustive()
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let read: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| bad(&format!("{what} is no PEM"), error))?;
    match read.is_empty() {
        true => Err(Error::invalid(format!("{what} is no PEM"))),
        false => Ok(read),
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).map_err(|error| bad("the TLS domain is no name", error))
}

fn bad(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::invalid(what).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pem_is_refused() {
        for tls in [
            Tls::ca_pem("nonsense"),
            Tls::ca_pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            Tls::webpki().identity_pem("nonsense", "nonsense"),
            Tls::webpki().domain("not a name"),
        ] {
            assert!(tls.read().is_err(), "{tls:?}");
        }
        assert!(Tls::webpki().domain("bus.example.com").read().is_ok());
    }

    #[test]
    fn a_key_never_shows() {
        let tls = Tls::webpki().identity_pem("certificate", "hunter2");
        assert!(!format!("{tls:?}").contains("hunter2"));
    }
}

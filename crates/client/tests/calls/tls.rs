//! TLS: who is trusted, and who is shown.

use std::{net::SocketAddr, sync::Arc};

use busgate_client::{ErrorKind, Tls, Transport};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{io::copy_bidirectional, net::TcpListener, net::TcpStream, task::JoinSet};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};

use crate::stage::{Names, Staged, address, any, client, gateway, soon};

/// An authority of the test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
struct Certified {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn certify(&self, name: &str) -> Certified {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        Certified { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

/// A terminator in front of `behind`, for `host`; it wants certificates of `clients`, if anyone's.
async fn terminator(
    behind: SocketAddr,
    host: &Certified,
    clients: Option<&Authority>,
    protocols: &[&[u8]],
) -> (SocketAddr, JoinSet<()>) {
    let chain = vec![CertificateDer::from_pem_slice(host.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(host.key.as_bytes()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(any()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let mut secure = acceptor.accept(stream).await.ok()?;
                let mut plain = TcpStream::connect(behind).await.ok()?;
                copy_bidirectional(&mut secure, &mut plain).await.ok()
            });
        }
    });
    (address, tasks)
}

const H2: &[&[u8]] = &[b"h2"];

#[tokio::test]
async fn a_gateway_of_a_trusted_authority_is_called() {
    let server = gateway(&Staged::new()).await;
    let authority = Authority::new();
    let (front, _tasks) = terminator(address(&server), &authority.certify("bus.test"), None, H2).await;
    let builder =
        client("https://bus.test").connector(Names::lead_to(front)).tls(Tls::ca_pem(authority.pem()));
    let transport = soon(builder.connect()).await.unwrap();
    soon(transport.events()).await.unwrap();
}

#[tokio::test]
async fn a_gateway_of_an_unknown_authority_is_not() {
    let server = gateway(&Staged::new()).await;
    let host = Authority::new().certify("bus.test");
    let (front, _tasks) = terminator(address(&server), &host, None, H2).await;
    for tls in [Tls::webpki(), Tls::ca_pem(Authority::new().pem())] {
        let builder = client("https://bus.test").connector(Names::lead_to(front)).tls(tls);
        let error = soon(builder.connect()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused_unless_expected() {
    let server = gateway(&Staged::new()).await;
    let authority = Authority::new();
    let (front, _tasks) = terminator(address(&server), &authority.certify("bus.test"), None, H2).await;
    let url = format!("https://localhost:{}", front.port());
    let tls = Tls::ca_pem(authority.pem());
    assert!(soon(client(url.as_str()).tls(tls.clone()).connect()).await.is_err());
    soon(client(url.as_str()).tls(tls.domain("bus.test")).connect()).await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_wants_one() {
    let server = gateway(&Staged::new()).await;
    let (authority, staff) = (Authority::new(), Authority::new());
    let host = authority.certify("bus.test");
    let (front, _tasks) = terminator(address(&server), &host, Some(&staff), H2).await;
    let builder = |tls| client("https://bus.test").connector(Names::lead_to(front)).tls(tls);
    let tls = Tls::ca_pem(authority.pem());
    assert!(soon(builder(tls.clone()).connect()).await.is_err());
    let shop = staff.certify("shop");
    soon(builder(tls.identity_pem(shop.certificate, shop.key)).connect()).await.unwrap();
}

#[tokio::test]
async fn who_does_not_speak_http_2_is_told_apart() {
    let server = gateway(&Staged::new()).await;
    let authority = Authority::new();
    let host = authority.certify("bus.test");
    let (front, _tasks) = terminator(address(&server), &host, None, &[]).await;
    let builder =
        client("https://bus.test").connector(Names::lead_to(front)).tls(Tls::ca_pem(authority.pem()));
    let error = soon(builder.connect()).await.unwrap_err();
    assert!(error.message().contains("HTTP/2"), "{error}");
}

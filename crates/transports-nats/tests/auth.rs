//! Every way to show who we are, against servers that ask for it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use busgate_brokers::{Broker, Nats};
use busgate_core::{ErrorKind, EventConfig, EventName, HealthStatus, Message, MessageId, Transport};
use busgate_transports_nats::{NatsConfig, NatsTransport};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair as TlsKey};
use serde_json::{Value, json};

async fn works(url: &str) {
    let transport = NatsTransport::connect(url.parse().unwrap()).await.unwrap();
    let event = EventName::new("orders").unwrap();
    transport.register(&event, &EventConfig::default()).await.unwrap();
    let message = Message::new(MessageId::generate(), "x");
    transport.publish(&event, vec![message]).await.pop().unwrap().unwrap();
    let health = transport.health().await;
    assert_eq!(health.status, HealthStatus::Healthy, "{}", health.message);
    transport.close().await.unwrap();
}

async fn is_refused(url: &str, kind: ErrorKind) {
    let config: NatsConfig = url.parse().unwrap();
    let refused = NatsTransport::connect(config).await.unwrap_err();
    assert_eq!(refused.kind(), kind, "{refused}");
    assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{refused:?}");
}

fn at(server: &Broker, who: &str, query: &str) -> String {
    let url = server.url();
    let (scheme, address) = url.split_once("://").unwrap();
    format!("{scheme}://{who}{address}?connect_timeout=3s{query}")
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_user_with_a_password_comes_in() {
    let server = Nats::v2_15().line("authorization { user: me, password: \"p@ss\" }").start().unwrap();
    works(&at(&server, "me:p%40ss@", "")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), "password", "p@ss\n");
    works(&at(&server, "", &format!("&user=me&password_file={file}"))).await;
    is_refused(&at(&server, "me:hunter2@", ""), ErrorKind::Unauthenticated).await;
    is_refused(&at(&server, "", ""), ErrorKind::Unauthenticated).await;
}

#[tokio::test]
async fn a_token_comes_in() {
    let server = Nats::v2_15().line("authorization { token: \"s3cret\" }").start().unwrap();
    works(&at(&server, "s3cret@", "")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), "token", "s3cret");
    works(&at(&server, "", &format!("&token_file={file}"))).await;
    is_refused(&at(&server, "hunter2@", ""), ErrorKind::Unauthenticated).await;
}

#[tokio::test]
async fn an_nkey_comes_in() {
    let key = KeyPair::new_user();
    let line = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", key.public_key());
    let server = Nats::v2_15().line(&line).start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), "seed", &key.seed().unwrap());
    works(&at(&server, "", &format!("&nkey_file={file}"))).await;
    let other = written(folder.path(), "other", &KeyPair::new_user().seed().unwrap());
    is_refused(&at(&server, "", &format!("&nkey_file={other}")), ErrorKind::Unauthenticated).await;
}

/// A JWT as an operator's tools make it.
fn jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = part(&json!({
        "jti": name, "iat": 1_700_000_000, "iss": issuer.public_key(), "name": name, "sub": subject.public_key(), "nats": nats,
    }));
    let signed = format!("{head}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[tokio::test]
async fn the_credentials_of_an_operators_user_come_in() {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let system = KeyPair::new_account();
    let by_operator = jwt(&operator, &operator, "op", &json!({ "type": "operator", "version": 2 }));
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_account =
        jwt(&operator, &account, "acc", &json!({ "type": "account", "version": 2, "limits": limits }));
    let of_system = jwt(&operator, &system, "sys", &json!({ "type": "account", "version": 2 }));
    let of_user = jwt(
        &account,
        &user,
        "user",
        &json!({ "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 }),
    );
    let server = Nats::v2_15()
        .line(&format!("operator: {by_operator}"))
        .line(&format!("system_account: {}", system.public_key()))
        .line(&format!(
            "resolver: MEMORY\nresolver_preload: {{\n {}: {of_account}\n {}: {of_system}\n}}",
            account.public_key(),
            system.public_key()
        ))
        .start()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed().unwrap()
    );
    let file = written(folder.path(), "user.creds", &creds);
    works(&at(&server, "", &format!("&creds_file={file}"))).await;
    is_refused(&at(&server, "", ""), ErrorKind::Unauthenticated).await;
}

#[tokio::test]
async fn tls_is_spoken_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, TlsKey::generate().unwrap()).unwrap();
    let issued = |name: &str| {
        let key = TlsKey::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        (
            written(folder.path(), &format!("{name}.pem"), &certificate.pem()),
            written(folder.path(), &format!("{name}.key"), &key.serialize_pem()),
        )
    };
    let ca = written(folder.path(), "ca.pem", &authority.pem());
    let ((cert, key), (own_cert, own_key)) = (issued("127.0.0.1"), issued("client"));
    let server = Nats::v2_15().tls(cert.as_ref(), key.as_ref(), ca.as_ref(), true).start().unwrap();
    works(&at(&server, "", &format!("&tls_ca={ca}&tls_cert={own_cert}&tls_key={own_key}"))).await;
    is_refused(&at(&server, "", &format!("&tls_ca={ca}")), ErrorKind::Unavailable).await;
    is_refused(&at(&server, "", ""), ErrorKind::Unavailable).await;
}

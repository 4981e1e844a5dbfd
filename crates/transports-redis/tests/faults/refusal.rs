//! What can't be connected to, and what a server refuses.

use std::time::Duration;

use busgate_brokers::{Redis, free_port};
use busgate_core::{Effect, ErrorKind, Transport};
use busgate_transports_redis::{RedisConfig, RedisTransport};
use tokio::time::Instant;

use crate::support::{connect, message, next, publish, registered, work_on};

async fn refusal(url: &str) -> busgate_core::Error {
    RedisTransport::connect(url.parse::<RedisConfig>().unwrap()).await.unwrap_err()
}

#[tokio::test]
async fn nobody_there_is_unavailable_at_once() {
    let asked = Instant::now();
    let nobody = format!("redis://127.0.0.1:{}", free_port().unwrap());
    let error = refusal(&nobody).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let told = error.message();
    assert!(told.contains(&nobody) && told.contains("refused"), "neither where nor why: {told}");
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unavailable_in_time() {
    let server = Redis::v7_0().start().unwrap();
    server.pause().unwrap();
    let asked = Instant::now();
    let error = refusal(&format!("{}?connect_timeout=500ms", server.url())).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(asked.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_repeated() {
    let server =
        Redis::v7_0().line("requirepass secret").line("user ann on >hunter2 ~* &* +@all").start().unwrap();
    let at = |user: &str| format!("redis://{user}127.0.0.1:{}", server.address().port());
    for user in ["", ":wr0ng@", "ann:wr0ng@", "bob:hunter2@"] {
        let error = refusal(&at(user)).await;
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{user}: {error:?}");
        assert!(!format!("{error:?}").contains("wr0ng"), "{error:?}");
    }
    for user in [":secret@", "ann:hunter2@"] {
        connect(&at(user)).await;
    }
}

#[tokio::test]
async fn a_user_of_few_rights_can_do_its_work_below_its_prefix() {
    let rules = "user ann on >pw ~shop:* &shop:* +@all -@dangerous +info -@admin";
    let server = Redis::v7_0().line(rules).start().unwrap();
    let port = server.address().port();
    let transport = connect(&format!("redis://ann:pw@127.0.0.1:{port}?prefix=shop:")).await;
    let event = registered(&transport, "orders").await;
    let mut works = work_on(&transport, &event).await;
    publish(&transport, &event, "a").await;
    next(&mut works).await.ack().await.unwrap();
    let elsewhere = connect(&format!("redis://ann:pw@127.0.0.1:{port}?prefix=other:")).await;
    let error = elsewhere.register(&event, &busgate_core::EventConfig::default()).await.unwrap_err();
    assert!(!error.kind().is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_full_says_so() {
    let server = Redis::v7_0().start().unwrap();
    let transport = connect(&server.url()).await;
    let event = registered(&transport, "orders").await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut admin = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1).exec_async(&mut admin).await.unwrap();
    let error = transport.publish(&event, vec![message("a")]).await.pop().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Exhausted, Effect::None), "{error:?}");
    assert!(error.retry_after().is_some());
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(0).exec_async(&mut admin).await.unwrap();
    publish(&transport, &event, "a").await;
}

#[tokio::test]
async fn a_key_that_is_no_stream_is_no_event() {
    let server = Redis::v7_0().start().unwrap();
    let transport = connect(&server.url()).await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut admin = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("SET").arg("orders").arg("x").exec_async(&mut admin).await.unwrap();
    let answer =
        transport.register(&crate::support::event("orders"), &busgate_core::EventConfig::default()).await;
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
}

/// An authority with a certificate of the server and one of a client, as PEM files.
fn certificates(folder: &std::path::Path) -> [std::path::PathBuf; 5] {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params =
            rcgen::CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let ((server, server_key), (client, client_key)) = (issue("localhost"), issue("client"));
    let files = [
        ("ca", authority_pem),
        ("server", server),
        ("server-key", server_key),
        ("client", client),
        ("client-key", client_key),
    ];
    files.map(|(name, pem)| {
        let path = folder.join(format!("{name}.pem"));
        std::fs::write(&path, pem).unwrap();
        path
    })
}

#[tokio::test]
async fn connections_are_secured_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let [authority, certificate, key, client, client_key] = certificates(folder.path());
    let server = Redis::v7_0().tls(&certificate, &key, &authority, true).start().unwrap();
    let url = format!("rediss://127.0.0.1:{}", server.address().port());
    let trusting = format!("{url}?tls_ca={}", authority.display());
    for refused in [&url, &trusting, &url.replace("rediss", "redis")] {
        let error = refusal(refused).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{refused}: {error:?}");
    }
    let shown = format!("{trusting}&tls_cert={}&tls_key={}", client.display(), client_key.display());
    let transport = connect(&shown).await;
    let event = registered(&transport, "orders").await;
    let mut works = work_on(&transport, &event).await;
    publish(&transport, &event, "a").await;
    next(&mut works).await.ack().await.unwrap();
}

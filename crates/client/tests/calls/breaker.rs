//! The circuit breaker over real calls.

use std::{sync::atomic::Ordering, time::Duration};

use busgate_client::{Error, ErrorKind, Transport};

use crate::stage::{Staged, address, client, gateway, gateway_at, soon, until};

const ONCE: Duration = Duration::from_millis(1);

#[tokio::test]
async fn an_open_breaker_asks_nobody_and_a_probe_closes_it() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let builder = client(format!("http://{}", address(&server)))
        .retry(1, ONCE, ONCE)
        .circuit_breaker(2, Duration::from_millis(300));
    let transport = soon(builder.connect()).await.unwrap();
    *inner.unlisted.lock() = Some(Error::unavailable("no back end"));
    for _ in 0..2 {
        soon(transport.events()).await.unwrap_err();
    }
    for _ in 0..5 {
        let error = soon(transport.events()).await.unwrap_err();
        assert_eq!(error.message(), "the circuit breaker is open");
    }
    assert_eq!(inner.listed.load(Ordering::SeqCst), 2);
    *inner.unlisted.lock() = None;
    tokio::time::sleep(Duration::from_millis(350)).await;
    soon(transport.events()).await.unwrap();
    soon(transport.events()).await.unwrap();
}

#[tokio::test]
async fn rejections_never_open_it() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let builder = client(format!("http://{}", address(&server)))
        .retry(1, ONCE, ONCE)
        .circuit_breaker(1, Duration::from_secs(600));
    let transport = soon(builder.connect()).await.unwrap();
    for kind in [ErrorKind::Denied, ErrorKind::Exhausted, ErrorKind::Internal, ErrorKind::Invalid] {
        *inner.unlisted.lock() = Some(Error::new(kind, "no"));
        assert_eq!(soon(transport.events()).await.unwrap_err().kind(), kind);
    }
    *inner.unlisted.lock() = None;
    soon(transport.events()).await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_is_back_is_tried_before_the_time_is_up() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let home = address(&server);
    let builder = client(format!("http://{home}"))
        .retry(1, Duration::from_millis(20), Duration::from_millis(100))
        .circuit_breaker(1, Duration::from_secs(600));
    let transport = soon(builder.connect()).await.unwrap();
    soon(server.shutdown()).await.unwrap();
    until(|| !transport.is_ready()).await;
    soon(transport.events()).await.unwrap_err();
    let refused = soon(transport.events()).await.unwrap_err();
    assert_eq!(refused.message(), "the circuit breaker is open");
    let _server = gateway_at(home, &inner, "").await;
    soon(transport.ready()).await.unwrap();
    soon(transport.events()).await.unwrap();
}
